#!/usr/bin/env bash
# Trains CONFIG on GPUS devices of this machine, or of several machines: run it on each, with
# NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR and PORT set.
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
config=$1
gpus=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:$root/.venv/bin # the environment in use first, then that of make setup

exec torchrun \
  --nnodes="${NNODES:-1}" \
  --node_rank="${NODE_RANK:-0}" \
  --nproc_per_node="$gpus" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" \
  --master_port="${PORT:-29500}" \
  "$root/tools/train.py" "$config" --launcher pytorch "${@:3}"
