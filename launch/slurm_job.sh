#!/usr/bin/env bash
# One run on several nodes, one process for each GPU (what JAX's detection of SLURM expects). Change
# the numbers to your cluster's and submit it from the checkout:
#
#   sbatch launch/slurm_job.sh --config=configs/quickstart.py --workdir=/shared/runs/quickstart
#
# SLURM sends SIGTERM two minutes before the time limit: the run saves, ends with 143 and is put back
# into the queue, where it resumes from what it saved.
#SBATCH --job-name=l2o
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

if (($# < 2)); then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

code=0
srun --kill-on-bad-exit=0 python3 main.py --detect_processes "$@" || code=$?
# 143: ended by SIGTERM, saved. 5: a process was lost; the others have ended.
if ((code == 143 || code == 5)); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
