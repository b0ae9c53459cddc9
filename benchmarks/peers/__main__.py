"""How much of a known front each method finds, side by side: share of the exact hypervolume after
so many trials of one run, over 5 problems.

`python -m benchmarks.peers 12 50 --noise 0.02 tpe nehvi` (layers, trials; all methods where none
is named) prints a line each and writes benchmarks/results/METHOD-12x50-noise0.02.jsonl. With
--resume, seeds that are there, of the same version, are not measured again.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.allocation_problem import Problem, hypervolume
from benchmarks.peers import PEERS

SEEDS = 5
COUNTS = (20, 30, 50, 100, 200)
RESULTS = Path(__file__).parents[1] / "results"


def loaded(name: str) -> ModuleType | None:
    """The method, or None, said in one line, where its package is not installed."""
    try:
        return importlib.import_module(PEERS[name])
    except ModuleNotFoundError as missing:
        print(f"{name}: left out, package {missing.name} is not installed", flush=True)
        return None


def one_run(method: ModuleType, problem: Problem, trials: int, seed: int, noise: float) -> Any:
    """Shares of the exact hypervolume by number of trials; seconds a trial, and those of the CPU,
    which a busy machine does not change much.
    """
    started = np.array([time.perf_counter(), time.process_time()])
    found = method.search(problem, trials, seed, noise)
    ended = np.array([time.perf_counter(), time.process_time()])
    seconds, cpu_seconds = ((ended - started) / trials).round(4).tolist()
    exact = hypervolume(problem.front())
    counts = sorted({count for count in COUNTS if count < trials} | {trials})
    shares = {str(count): round(hypervolume(found[:count]) / exact, 4) for count in counts}
    return {
        "shares": shares,
        "seconds_per_trial": seconds,
        "cpu_seconds_per_trial": cpu_seconds,
    }


def measured(
    name: str, layers: int, trials: int, noise: float, results: Path, resume: bool = False
) -> list[Any]:
    """A method's runs, one a seed, also written to results; none where it cannot be loaded."""
    method = loaded(name)
    if method is None:
        return []
    about = {"method": name, "version": version(method.PACKAGE), "layers": layers, "noise": noise}
    file = results / f"{name}-{layers}x{trials}-noise{noise:g}.jsonl"
    runs = measured_before(file, about) if resume else []
    for seed in range(len(runs), SEEDS):
        run = one_run(method, Problem.drawn(layers, seed), trials, seed, noise)
        runs.append(about | {"seed": seed} | run)
        write(file, runs)
    return runs


def measured_before(file: Path, about: dict[str, Any]) -> list[Any]:
    """Runs of the same method and version in a file that was left unfinished, by seed."""
    rows = [json.loads(text) for text in file.read_text().splitlines()] if file.is_file() else []
    return [row for row in rows if about.items() <= row.items()]


def version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"


def write(path: Path, runs: list[Any]) -> None:
    """One line a run; the file is whole at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(run) + "\n" for run in runs))
    os.replace(partial, path)


def line(runs: list[Any]) -> str:
    """Mean share at each count, the worst seed's at the last, mean seconds a trial."""
    last = list(runs[0]["shares"])[-1]
    means = [
        f"{np.mean([run['shares'][count] for run in runs]):.3f} at {count}"
        for count in runs[0]["shares"]
    ]
    worst = min(run["shares"][last] for run in runs)
    seconds = np.mean([run["seconds_per_trial"] for run in runs])
    cpu = np.mean([run["cpu_seconds_per_trial"] for run in runs])
    return (
        f"{runs[0]['layers']} layers, noise {runs[0]['noise']:g}, {runs[0]['method']}: "
        f"{', '.join(means)} (worst {worst:.3f}; {seconds:.3f} s a trial, {cpu:.3f} of the CPU)"
    )


def wrong_in(options: argparse.Namespace) -> list[str]:
    wrong = [
        f"{field}: value {getattr(options, field)}; allowed: 1 and above"
        for field in ("layers", "trials")
        if getattr(options, field) < 1
    ]
    wrong += [
        f"names: value {name!r}; allowed: {', '.join(PEERS)}"
        for name in options.names
        if name not in PEERS
    ]
    if not 0 <= options.noise < float("inf"):
        wrong.append(f"--noise: value {options.noise}; allowed: 0 and above")
    return wrong


def arguments() -> argparse.Namespace:
    """What was asked for. Exits with 2 and one line where it is no benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("layers", type=int)
    parser.add_argument("trials", type=int)
    parser.add_argument("names", nargs="*", help=", ".join(PEERS))
    parser.add_argument("--noise", type=float, default=0.0, help="of the loss told")
    parser.add_argument("--resume", action="store_true", help="keep the seeds that are there")
    options = parser.parse_intermixed_args()
    wrong = wrong_in(options)
    if wrong:
        print(wrong[0], file=sys.stderr)
        sys.exit(2)
    return options


def main() -> None:
    torch.set_num_threads(1)
    options = arguments()
    for name in options.names or PEERS:
        runs = measured(
            name, options.layers, options.trials, options.noise, RESULTS, options.resume
        )
        if runs:
            print(line(runs), flush=True)


if __name__ == "__main__":
    main()
