"""sparsefront finds how much of each branch of a camera-LiDAR fusion model can be pruned.

What a script or a notebook calls; each name is imported when it is first used, so that
`import sparsefront` loads neither torch nor Ray:

    prune, shrink, profile                       score, mask, cut and count any torch model
    SparsityAllocation, ModalityGroups, PruningMask
    second_moments, refit_least_squares          mend what a cut breaks, without training
    reestimate_norms
    search                                       the front of a plain function
    Optimizer                                    ask and tell, without a sweep
    read_sweep, run_sweep, resume_sweep          a sweep file to a Pareto front
    load_front, export, load_export, load_small  what a sweep found, and what is exported
    Task, Metric                                 a model, data and metrics of one's own
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsefront import search as search
    from sparsefront.pruning.allocation import SparsityAllocation
    from sparsefront.pruning.channels.removal import shrink
    from sparsefront.pruning.cost import profile
    from sparsefront.pruning.groups import ModalityGroups
    from sparsefront.pruning.mask import PruningMask
    from sparsefront.pruning.prune import prune
    from sparsefront.pruning.repair.least_squares import refit_least_squares
    from sparsefront.pruning.repair.moments import second_moments
    from sparsefront.pruning.repair.norms import reestimate_norms
    from sparsefront.search.config.sweep_file import read_sweep
    from sparsefront.search.config.task import Metric, Task
    from sparsefront.search.driver.sweep import resume_sweep, run_sweep
    from sparsefront.search.exports.export import export_point as export
    from sparsefront.search.exports.export import load_export, load_small
    from sparsefront.search.optimizer.ask_and_tell import Optimizer
    from sparsefront.search.runs.front import load_front

    __version__: str

_HOMES = {
    "Metric": "sparsefront.search.config.task",
    "Task": "sparsefront.search.config.task",
    "ModalityGroups": "sparsefront.pruning.groups",
    "Optimizer": "sparsefront.search.optimizer.ask_and_tell",
    "PruningMask": "sparsefront.pruning.mask",
    "SparsityAllocation": "sparsefront.pruning.allocation",
    "export": "sparsefront.search.exports.export:export_point",
    "load_export": "sparsefront.search.exports.export",
    "load_front": "sparsefront.search.runs.front",
    "load_small": "sparsefront.search.exports.export",
    "profile": "sparsefront.pruning.cost",
    "prune": "sparsefront.pruning.prune",
    "read_sweep": "sparsefront.search.config.sweep_file",
    "reestimate_norms": "sparsefront.pruning.repair.norms",
    "refit_least_squares": "sparsefront.pruning.repair.least_squares",
    "resume_sweep": "sparsefront.search.driver.sweep",
    "run_sweep": "sparsefront.search.driver.sweep",
    "search": "sparsefront.search",
    "second_moments": "sparsefront.pruning.repair.moments",
    "shrink": "sparsefront.pruning.channels.removal",
}

__all__ = [
    "Metric",
    "ModalityGroups",
    "Optimizer",
    "PruningMask",
    "SparsityAllocation",
    "Task",
    "__version__",
    "export",
    "load_export",
    "load_front",
    "load_small",
    "profile",
    "prune",
    "read_sweep",
    "reestimate_norms",
    "refit_least_squares",
    "resume_sweep",
    "run_sweep",
    "search",
    "second_moments",
    "shrink",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("sparsefront")
    if name not in _HOMES:
        raise AttributeError(f"module 'sparsefront' has no attribute {name!r}")
    if name == "search":
        return import_module("sparsefront.search")
    home, _, other = _HOMES[name].partition(":")
    return getattr(import_module(home), other or name)


def __dir__() -> list[str]:
    return __all__
