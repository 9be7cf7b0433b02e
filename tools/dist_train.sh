#!/usr/bin/env bash
# Trains CONFIG on GPUS devices of this machine, or of several machines: run it on each, with
# NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR and PORT set. MAX_RESTARTS is how often all processes
# are started again after one of them has died (default 0); it needs --resume auto.
set -euo pipefail

if (($# < 2)); then
  echo "Usage: ${0##*/} CONFIG GPUS [arguments of tools/train.py]: the number of arguments was" \
    "$#, and both the config and the number of devices on this machine are needed." >&2
  exit 2
fi
if [[ ! $2 =~ ^[1-9][0-9]*$ ]]; then
  echo "Usage: ${0##*/} CONFIG GPUS [...]: GPUS is '$2', which is not a whole number above 0;" \
    "say how many devices of this machine to use." >&2
  exit 2
fi
restarts=${MAX_RESTARTS:-0}
if [[ ! $restarts =~ ^[0-9]+$ ]]; then
  echo "Usage: MAX_RESTARTS is '$restarts', which is not a whole number; say how often to start" \
    "again after a process has died, or leave it out." >&2
  exit 2
fi
if ((restarts > 0)) && [[ ! " ${*:3} " =~ \ --resume[\ =]auto\  ]]; then
  echo "Usage: MAX_RESTARTS=$restarts would start anew after a process has died, and what was" \
    "trained would be lost; give --resume auto too." >&2
  exit 2
fi
config=$1
gpus=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:$root/.venv/bin # the environment in use first, then that of make setup

address=${MASTER_ADDR:-127.0.0.1}
port=${PORT:-29500}
meeting=(--node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" --master_addr="$address" --master_port="$port")
if ((restarts > 0)); then
  # processes that are started again must not meet in the store that still holds the dead ones'
  # addresses: torchrun keeps its own store, so the first process makes one each time
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  meeting=(--nproc_per_node="$gpus" --rdzv_backend=c10d --rdzv_endpoint="$address:$port"
    --rdzv_id="$port" --max_restarts="$restarts")
fi

exec torchrun \
  --nnodes="${NNODES:-1}" \
  "${meeting[@]}" \
  "$root/tools/train.py" "$config" --launcher pytorch "${@:3}"
