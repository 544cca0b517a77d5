#!/usr/bin/env bash
# Runs one command on every host of a TPU pod slice, each in a checkout at ~/l2o with `pip install
# -e '.[run,tpu]'` done. The workdir must be on a file system that all hosts share (a mounted bucket).
#
#   launch/tpu_pod.sh NAME ZONE --config=configs/quickstart.py --workdir=/mnt/shared/runs/quickstart
#
# Give the same command again after a preemption: the run resumes from its last checkpoint.
set -euo pipefail

if (($# < 4)); then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
name=$1 zone=$2
shift 2

printf -v flags ' %q' "$@" # quoted once more, since ssh hands them to a shell
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="cd ~/l2o && python3 main.py --detect_processes$flags"
