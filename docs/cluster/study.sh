#!/bin/bash
# A study on preemptible nodes: sbatch docs/cluster/study.sh
# This job only submits and waits. Each run is a job of its own, which is queued again and resumed when it is preempted,
# reaches its limit, or loses its node. If this job is stopped, submit it again: finished runs are skipped.
#SBATCH --job-name=study
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=7-00:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=study.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}" # a shared disk, with data/coloring, data/monet and data/comic
source .venv/bin/activate
python -m image_translation.train experiment=study launcher=slurm checkpoint.every_minutes=5 \
    hydra.launcher.partition="${PARTITION:-preempt}" hydra.launcher.timeout_min=120 "$@"
