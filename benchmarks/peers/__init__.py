"""Ours and other methods on the allocation problem, each as its own package runs it, a file each:
`search(problem, trials, seed, noise)` gives the true values [trials, 2] of what it tried.
"""

from __future__ import annotations

PEERS = {
    "one_knob": "benchmarks.peers.one_knob",
    "random": "benchmarks.peers.optuna_random",
    "nsga2": "benchmarks.peers.optuna_nsga2",
    "tpe": "benchmarks.peers.optuna_tpe",
    "gp": "benchmarks.peers.optuna_gp",
    "nehvi": "benchmarks.peers.botorch_nehvi",
    "morea": "benchmarks.peers.syne_morea",
    "morea_ranked": "benchmarks.peers.syne_morea_ranked",
    "ehvi": "benchmarks.peers.syne_ehvi",
    "sparsefront": "benchmarks.peers.sparsefront",
    "sparsefront_predicted": "benchmarks.peers.sparsefront_predicted",
    "sparsefront_misled": "benchmarks.peers.sparsefront_misled",
}
