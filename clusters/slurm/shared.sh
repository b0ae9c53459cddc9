#!/usr/bin/env bash
#SBATCH --job-name=sparsefront
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --mem=128G
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=%x-%j.log
# Parts of nodes that others use as well, perhaps with a Ray of their own: this job's ports, its own
# temporary folder, told what it may use; its processes are ended by signal, never by `ray stop`.
# On TERM, two minutes before the time limit, the sweep stops in order; the same line goes on.
#
#   sbatch clusters/slurm/shared.sh SWEEP.yaml NAME RUNS         from the checkout, RUNS shared
set -euo pipefail

export PATH="${SPARSEFRONT_VENV:-$PWD/.venv}/bin:$PATH"
RAY_AUTH_TOKEN=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n') # this job's own
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${HEAD_IP:-$(hostname -I | cut -d' ' -f1)} # a job's script runs on its first node
first=$((10000 + SLURM_JOB_ID % 220 * 100)) # a hundred ports, below those that Linux hands out
address=$head:$first
store=${OBJECT_STORE_BYTES:-8000000000}
temporary=/tmp/ray-$SLURM_JOB_ID            # short: it holds sockets, whose paths have a limit

options=(
  --block
  --temp-dir="$temporary"
  --object-store-memory="$store"
  --node-manager-port=$((first + 1))
  --object-manager-port=$((first + 2))
  --runtime-env-agent-port=$((first + 3))
  --dashboard-agent-listen-port=$((first + 4))
  --dashboard-agent-grpc-port=$((first + 5))
  --metrics-export-port=$((first + 6))
  --min-worker-port=$((first + 10))
  --max-worker-port=$((first + 99))
)
if ((${SLURM_MEM_PER_NODE:-0} > 0)); then # MiB; where --mem was given
  options+=(--memory="$((SLURM_MEM_PER_NODE * 1024 * 1024 - store))")
fi
steps=()
driver=

ray_start() { # NODE OPTIONS...: in the background, with the CPUs and GPUs that the step has there
  # shellcheck disable=SC2016  # expanded over there
  srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --nodelist="$1" \
    bash -c 'exec ray start --num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" "$@"' \
    ray "${@:2}" "${options[@]}" &
  steps+=("$!")
}

clean() {
  kill "${steps[@]}" 2>/dev/null || true
  wait "${steps[@]}" 2>/dev/null || true
  srun --overlap --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
    rm -rf "$temporary" || true
}

stop() { # the driver first: it needs its cluster to end in order
  if [[ -n $driver ]]; then
    kill -TERM "$driver" 2>/dev/null || true
    wait "$driver" || true
  fi
  exit 143
}
trap clean EXIT
trap stop TERM

ray_start "${nodes[0]}" --head --node-ip-address="$head" --port="$first" \
  --ray-client-server-port=$((first + 7)) --include-dashboard=false
until (: >"/dev/tcp/$head/$first") 2>/dev/null; do
  if ((SECONDS > 120)) || ! kill -0 "${steps[0]}" 2>/dev/null; then
    echo "$0: Ray did not start on $address" >&2
    exit 1
  fi
  sleep 1
done
for node in "${nodes[@]:1}"; do
  ray_start "$node" --address="$address"
done

bash clusters/launch.sh "$@" "$address" & # or bash would hear of no signal before its end
driver=$!
wait "$driver"
