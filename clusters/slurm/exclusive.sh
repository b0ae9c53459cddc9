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
# Whole nodes, as many as the sweep's `workers` fill: here 8 with half a GPU each.
# `ray symmetric-run` makes a cluster of them, runs the sweep on the first, and ends
# with `ray stop`, which stops every Ray of yours on a node. On parts of nodes: shared.sh.
# On TERM, two minutes before the time limit, the sweep stops in order; the same line goes on.
#
#   sbatch clusters/slurm/exclusive.sh SWEEP.yaml NAME RUNS      from the checkout, RUNS shared
set -euo pipefail

export PATH="${SPARSEFRONT_VENV:-$PWD/.venv}/bin:$PATH"
RAY_AUTH_TOKEN=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n') # this job's own
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
head=${HEAD_IP:-$(hostname -I | cut -d' ' -f1)} # a job's script runs on its first node
driver=$(mktemp) # its process id: launch.sh becomes the sweep, on this node
trap 'rm -f "$driver"' EXIT

# shellcheck disable=SC2016  # expanded over there
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
  --cpus-per-task="$SLURM_CPUS_ON_NODE" \
  ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
  bash -c 'echo $$ > "$0"; exec bash clusters/launch.sh "$@"' "$driver" "$@" "$head:6379" &
step=$!

stop() { # the driver alone, then symmetric-run ends its Ray; before there is one, the step
  kill -TERM "$(cat "$driver")" 2>/dev/null || kill -TERM "$step" 2>/dev/null || true
  wait "$step" || true
  exit 143
}
trap stop TERM
wait "$step"
if [[ ! -s $driver ]]; then # symmetric-run ends well, too, where it could not start Ray
  echo "exclusive.sh: Ray did not start on $head:6379 (the port may be taken), so no sweep ran" >&2
  exit 1
fi
