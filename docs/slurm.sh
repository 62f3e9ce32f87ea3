#!/bin/bash
#SBATCH --job-name=mtlsearch
#SBATCH --array=0-7
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# Every task of the array is a driver of the same study: they share its total, and no trial is trained twice.
#
#   export MTLSEARCH_STORAGE=postgresql+psycopg://HOST/DATABASE    # its password lies in ~/.pgpass
#   export MTLSEARCH_ARTIFACTS=/shared/artifacts                   # a folder that all nodes reach
#   sbatch docs/slurm.sh my_study.py --trials 1000
#
# Two minutes before the time is over, Slurm ends a task in order: its trials in training go on in another one.
set -euo pipefail
: "${MTLSEARCH_STORAGE:?it must be a PostgreSQL URL, since SQLite serves the processes of one machine alone}"
: "${MTLSEARCH_ARTIFACTS:?it must be a folder that all nodes reach}"
# exec, so that the signal reaches the search itself.
exec mtlsearch run "$@" --artifacts "$MTLSEARCH_ARTIFACTS"
