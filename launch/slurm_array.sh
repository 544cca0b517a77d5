#!/usr/bin/env bash
# A sweep as a job array, one run for each task. First print how many runs there are, then submit as
# many tasks, and give the first command without --sweep_row at the end, for the table:
#
#   python3 main.py --config=configs/my_sweep.py --workdir=/shared/runs/sweep --sweep_row=list
#   sbatch --array=1-24 launch/slurm_array.sh --config=configs/my_sweep.py --workdir=/shared/runs/sweep
#   python3 main.py --config=configs/my_sweep.py --workdir=/shared/runs/sweep
#
#SBATCH --job-name=l2o-sweep
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
set -euo pipefail

if (($# < 2)); then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

exec python3 main.py --sweep_row="$SLURM_ARRAY_TASK_ID" "$@"
