#!/usr/bin/env bash
# Trains CONFIG by Slurm's srun, one task a device. Settings, by environment:
#   GPUS           devices in all (default 8)
#   GPUS_PER_NODE  devices on each machine (default: GPUS, at most 8)
#   CPUS_PER_TASK  cores for each device's data loading (default 5)
#   SRUN_ARGS      more options for srun, split at spaces
#   PYTHON         interpreter (default: of the active environment, else of make setup)
set -euo pipefail

if (($# < 4)); then
  echo "Usage: [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] ${0##*/} PARTITION" \
    "JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]: the number of arguments was $#," \
    "and the first four are needed." >&2
  exit 2
fi
partition=$1
job_name=$2
config=$3
work_dir=$4
gpus=${GPUS:-8}
number='^[1-9][0-9]*$'
if [[ ! $gpus =~ $number || ! ${GPUS_PER_NODE:-1} =~ $number ]]; then
  echo "Usage: GPUS='$gpus' and GPUS_PER_NODE='${GPUS_PER_NODE:-}' must be whole numbers above 0;" \
    "leave them out for 8 devices on one machine." >&2
  exit 2
fi
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
if ((gpus % gpus_per_node != 0)); then
  echo "Usage: GPUS=$gpus devices cannot be had as whole machines of GPUS_PER_NODE=$gpus_per_node;" \
    "choose GPUS as a multiple of GPUS_PER_NODE." >&2
  exit 2
fi
read -r -a srun_args <<<"${SRUN_ARGS:-}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python}
if [[ -z ${PYTHON:-}${VIRTUAL_ENV:-}${CONDA_PREFIX:-} && -x $root/.venv/bin/python ]]; then
  python=$root/.venv/bin/python
fi

exec srun \
  --partition="$partition" \
  --job-name="$job_name" \
  --gres="gpu:$gpus_per_node" \
  --ntasks="$gpus" \
  --ntasks-per-node="$gpus_per_node" \
  --cpus-per-task="${CPUS_PER_TASK:-5}" \
  --kill-on-bad-exit=1 \
  ${srun_args[@]+"${srun_args[@]}"} \
  "$python" -u "$root/tools/train.py" "$config" --work-dir "$work_dir" --launcher slurm "${@:5}"
