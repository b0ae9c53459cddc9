#!/usr/bin/env bash
# Starts a sweep on the cluster this runs on, or goes on with it where its folder exists: a job
# that is tried again, on a new cluster too, repeats no finished trial.
#
#   launch.sh SWEEP.yaml NAME RUNS [ADDRESS]      RUNS: a path or a URI; ADDRESS: auto (default) or HOST:PORT
#
# WAIT_FOR_NODES: seconds (1800) until a node must be there that has room for a trial.
set -euo pipefail

if (($# < 3 || $# > 4)); then
  echo "usage: launch.sh SWEEP.yaml NAME RUNS [ADDRESS]" >&2
  exit 2
fi
sweep=$1 name=$2 runs=$3 address=${4:-auto}

exists() { # ends the script where that cannot be known: storage that fails is not an empty one
  if [[ $runs != *://* ]]; then
    [[ -f $runs/$name/sweep.yaml ]]
    return
  fi
  local said status=0
  said=$(sparsefront front "$name" --runs "$runs" 2>&1 > /dev/null) || status=$?
  if ((status == 0)); then return 0; fi
  if ((status == 2)) && [[ $said == *"sweep name: value "*" not found in "* ]]; then return 1; fi
  echo "$said" >&2
  exit "$status"
}

where=(--runs "$runs" --address "$address" --wait-for-nodes "${WAIT_FOR_NODES:-1800}")
if exists; then
  exec sparsefront resume "$name" "${where[@]}"
fi
exec sparsefront sweep "$sweep" --name "$name" "${where[@]}"
