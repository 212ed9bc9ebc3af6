#!/usr/bin/env bash
# Llama-2 13B teaches 7B on a Slurm cluster: one task a machine, torchrun starts one process a GPU.
#
#   sbatch slurm_13b_to_7b.sh runs/13b_to_7b
#   sbatch slurm_13b_to_7b.sh runs/13b_to_7b model.path=/scratch/7b dataset.batch_tokens=4096
#
# What follows the run's folder replaces settings of the recipe. The folder, the models and the data
# must be on a file system that all machines share. Started again with the same words, it goes on
# where it stopped: so does Slurm itself after a machine has failed (--requeue).
#
# RECIPE names another recipe; GPUS_PER_NODE another number than 8; VENV a virtual environment.

#SBATCH --job-name=sekd-13b-to-7b
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=48:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -euo pipefail

if [ "$#" -lt 1 ]; then
    echo "usage: sbatch slurm_13b_to_7b.sh OUT [section.key=value ...]" >&2
    exit 2
fi
out=$1
shift
settings=()
if [ "$#" -gt 0 ]; then
    settings=(--config "$@")
fi

# Slurm runs a copy of this file, so the recipe is looked for where sbatch was called.
recipe=${RECIPE:-${SLURM_SUBMIT_DIR:-.}/llama_13b_to_7b.yaml}
gpus=${GPUS_PER_NODE:-8}
if [ -n "${VENV:-}" ]; then
    # shellcheck disable=SC1091
    source "$VENV/bin/activate"
fi

# All of its output is read: closing a pipe early would end scontrol, and with it this script.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_node=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000))    # two jobs on one machine do not meet
threads=$((${SLURM_CPUS_PER_TASK:-$gpus} / gpus))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}

# One process that dies takes its machine's others along, and srun those of the other machines.
exec srun --kill-on-bad-exit=1 --ntasks-per-node=1 \
    torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc-per-node "$gpus" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$head_node:$port" \
    --rdzv-id "$SLURM_JOB_ID" \
    -m sekd_plugin train "$out" --config-file "$recipe" "${settings[@]}"
