"""CPU seconds that a trial takes before its own work: model built, dense weights loaded, pruned,
counted. `python -m benchmarks.trial_start` after `make demo-data`.
"""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sparsefront.search.config.sweep_file import read_sweep
from sparsefront.search.trial.run_trial import TrialRun
from sparsefront.search.trial.shared import prepare_all

TRIALS = 20


def main() -> None:
    torch.set_num_threads(1)
    spec = read_sweep(Path("examples/demo.yaml")).trial
    shared = pickle.loads(pickle.dumps(prepare_all([spec], [])))  # as a worker gets it
    seconds = []
    for number in range(TRIALS + 1):
        share = 0.9 * number / TRIALS
        sparsities = dict.fromkeys(spec.allocation.per_modality, share)
        started = time.process_time()
        TrialRun(
            replace(spec, allocation=replace(spec.allocation, per_modality=sparsities)), shared
        )
        seconds.append(time.process_time() - started)
    first, *others = seconds
    print(
        f"first trial of a process {first:.2f} s, {TRIALS} others {np.median(others):.3f} s "
        f"(median; most {max(others):.3f} s) of CPU"
    )


if __name__ == "__main__":
    main()
