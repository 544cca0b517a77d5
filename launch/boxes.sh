#!/usr/bin/env bash
# Runs one process of a run on several machines with GPUs. On machine I of N, all within the same
# minute, with the address of machine 0 and a free port there:
#
#   launch/boxes.sh I N 10.0.0.1:8476 --config=configs/quickstart.py --workdir=/mnt/shared/runs/quickstart
#
# The process takes all GPUs of its machine. The workdir must be on a file system that all share.
set -euo pipefail
cd "$(dirname "$0")/.."

if (($# < 5)); then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
process=$1 processes=$2 coordinator=$3
shift 3

exec python3 main.py --coordinator="$coordinator" --num_processes="$processes" \
  --process_id="$process" "$@"
