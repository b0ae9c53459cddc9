"""Whether the cluster has what a trial asks for: Ray itself would wait for ever, in silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from sparsefront.errors import InputError
from sparsefront.search.config.sweep_file import Sweep

POLL_S = 2.0
FIELDS = {"CPU": "cpus_per_trial", "GPU": "gpus_per_trial"}


def check_gpus(sweep: Sweep) -> None:
    """InputError for trials on GPUs that they do not ask for. Not part of reading a sweep: run
    folders of earlier versions have such files.
    """
    if sweep.trial.device == "cuda" and sweep.gpus_per_trial == 0:
        raise InputError(
            "field gpus_per_trial: value 0 with trial.device 'cuda': every worker would take the "
            "first GPU; allowed: above 0, such as 1 for a GPU each"
        )


def require_resources(sweep: Sweep, wait_s: float = 0.0) -> None:
    """Returns once a node has room for one trial. InputError as in check_gpus, and where none has
    within `wait_s`, in which an autoscaler is asked for one.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    check_gpus(sweep)
    wanted = {"CPU": sweep.cpus_per_trial, "GPU": sweep.gpus_per_trial}
    deadline = time.monotonic() + wait_s
    asked = False
    while missing := lacking(wanted, ray.nodes()):
        if time.monotonic() >= deadline:
            raise InputError(missing)
        if not asked:
            print(f"waiting for a node, at most {wait_s:g} s: {missing}", file=sys.stderr)
            request_resources(bundles=[{k: v for k, v in wanted.items() if v > 0}])
            asked = True
        time.sleep(POLL_S)
    if asked:
        request_resources(bundles=[])


def lacking(wanted: Mapping[str, float], nodes: list[Mapping[str, Any]]) -> str | None:
    """What no living node has enough of, in one line that names what there is."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(node.get(kind, 0) >= n for kind, n in wanted.items()) for node in alive):
        return None
    short = [k for k, n in wanted.items() if all(node.get(k, 0) < n for node in alive)]
    there = ", ".join(
        " + ".join(f"{node.get(kind, 0):g} {kind}s" for kind in wanted) for node in alive
    )
    named = [f"{FIELDS[kind]}: value {wanted[kind]:g}" for kind in short or wanted]
    return (
        f"{', '.join(named)}; the cluster's nodes have {there or 'nothing'}; allowed: what one "
        "node has, or --wait-for-nodes SECONDS where more are starting"
    )


def idle_gpus(sweep: Sweep) -> str | None:
    """A line where trials run on CPUs beside GPUs that nobody asked for."""
    import ray

    there = ray.cluster_resources().get("GPU", 0)
    if not there or sweep.gpus_per_trial or sweep.trial.device == "cpu":
        return None
    return (
        f"gpus_per_trial is 0: trials run on the CPU, and {there:g} GPUs stay idle; "
        "`gpus_per_trial: 1` gives each trial one"
    )
