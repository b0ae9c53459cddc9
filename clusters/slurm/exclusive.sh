#!/usr/bin/env bash
#SBATCH --job-name=sparsefront
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=%x-%j.log
# Whole nodes, as many as the sweep's `workers` fill: here 8 with half a GPU each. As shared.sh, with
# every CPU and all memory of the nodes.
#
#   sbatch clusters/slurm/exclusive.sh SWEEP.yaml NAME RUNS      from the checkout, RUNS shared
set -euo pipefail

export SLURM_CPUS_PER_TASK=$SLURM_CPUS_ON_NODE
exec bash clusters/slurm/shared.sh "$@"
