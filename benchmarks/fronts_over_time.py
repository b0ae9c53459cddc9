"""Hypervolume over the seconds that trials took, added up in the order in which they ended.

`python -m benchmarks.fronts_over_time runs/demo benchmarks/results/by_hand-2026-11-21.jsonl`
reads run folders and records of benchmarks.by_hand. Shares are of the hypervolume of all that these
found together, unless --reference gives another.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import moocore
import numpy as np

from sparsefront.errors import InputError
from sparsefront.files.atomic import read_json
from sparsefront.search.config.objectives import OBJECTIVES
from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.runs.run_folder import RunFolder

NAMES = ("mAP", "NDS", "GFLOPs")
SHARES = (0.9, 0.95)
CLOCKS = ("cpu", "wall")


@dataclass(frozen=True)
class Ended:
    """A trial that has ended: what it took, and its metrics; None where it measured nothing."""

    seconds: float
    metrics: Mapping[str, float] | None


@dataclass(frozen=True)
class Search:
    """Trials of one search in the order in which they ended; clock: "cpu" or "wall"."""

    name: str
    clock: str
    trials: tuple[Ended, ...]


def hypervolume(found: Sequence[Mapping[str, float]]) -> float:
    """Share of the box from the objectives' worst to their best values, as of a sweep's front."""
    if not found:
        return 0.0
    gains = [[OBJECTIVES[name].gain(_result(metrics)) for name in NAMES] for metrics in found]
    return float(moocore.hypervolume(1 - np.array(gains), ref=[1.0] * len(NAMES)))


def curve(trials: Sequence[Ended], before_s: float = 0.0) -> list[tuple[float, float]]:
    """(seconds of all trials so far, hypervolume) after each trial; before_s is spent by then."""
    seconds, found, points = before_s, [], []
    for trial in trials:
        seconds += trial.seconds
        if trial.metrics is not None:
            found.append(trial.metrics)
        points.append((seconds, hypervolume(found)))
    return points


def seconds_to(points: Sequence[tuple[float, float]], wanted: float) -> float | None:
    """Seconds after which the hypervolume is at least this; None where it never is."""
    return next((seconds for seconds, volume in points if volume >= wanted), None)


def read_records(path: Path, clock: str = "cpu", startup: bool = False) -> Search:
    """Records of benchmarks.by_hand; startup: what each process took to start counts (CPU)."""
    trials = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        try:
            line = json.loads(text)
            if "metrics" in line:
                seconds = line["seconds"]
                more = seconds["startup_cpu_s"] if startup else 0.0
                trials.append(Ended(seconds[f"total_{clock}_s"] + more, line["metrics"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: line {number}: {error}; allowed: a record of benchmarks.by_hand"
            ) from error
    return Search(path.stem, clock, tuple(trials))


def read_run(folder: Path, clock: str = "cpu") -> Search:
    """A sweep's run folder, trials by the time of their result. Its trials' CPU seconds are used
    where all have them (timings.cpu_s), else seconds on the clock (timings.total_s).
    """
    run = RunFolder(runs=folder.parent, name=folder.name).require()
    files = [run.trial_dir(number) / "result.json" for number in run.finished()]
    files.sort(key=lambda file: file.stat().st_mtime_ns)
    results = [read_json(file) for file in files]
    if not all("cpu_s" in result["timings"] for result in results):
        clock = "wall"
    field = {"cpu": "cpu_s", "wall": "total_s"}[clock]
    trials = tuple(Ended(result["timings"][field], result["metrics"]) for result in results)
    return Search(folder.name, clock, trials)


def pooled(searches: Sequence[Search]) -> float:
    """Hypervolume of all that the searches found together."""
    every = [t.metrics for s in searches for t in s.trials if t.metrics is not None]
    return hypervolume(every)


def line_of(search: Search, reference: float, before_s: float = 0.0) -> str:
    """One line: hypervolume and seconds at the end, and the seconds to shares of the reference."""
    points = curve(search.trials, before_s)
    seconds, volume = points[-1] if points else (before_s, 0.0)
    line = (
        f"{search.name}: {len(points)} trials, hypervolume {volume:.4f} "
        f"({volume / reference:.1%} of {reference:.4f}) after {seconds:.0f} s ({search.clock})"
    )
    for share in SHARES:
        reached = seconds_to(points, share * reference)
        line += f"; {share:.0%} " + ("never" if reached is None else f"after {reached:.0f} s")
    return line


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fronts_over_time", description=__doc__
    )
    parser.add_argument("source", type=Path, nargs="+", help="run folders, or files of records")
    parser.add_argument("--reference", type=float, help="hypervolume that shares are of")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    parser.add_argument("--startup", action="store_true", help="count starts of processes too")
    parser.add_argument("--before", type=float, default=0.0, help="seconds before the first trial")
    parser.add_argument("--curve", action="store_true", help="also print every point")
    options = parser.parse_args()
    try:
        if options.startup and options.clock == "wall":
            raise InputError("--startup: known in CPU seconds; allowed with --clock cpu")
        searches = [_read(source, options.clock, options.startup) for source in options.source]
    except InputError as error:
        print(f"fronts_over_time: {error}", file=sys.stderr)
        return 2
    reference = options.reference or pooled(searches)
    for search in searches:
        print(line_of(search, reference, options.before))
        if options.curve:
            for count, point in enumerate(curve(search.trials, options.before), 1):
                print(f"{count:>5}  {point[0]:>9.1f} s  {point[1]:.4f}")
    return 0


def _read(source: Path, clock: str, startup: bool) -> Search:
    if source.is_dir():
        return read_run(source, clock)
    if not source.is_file():
        raise InputError(f"{source}: not found; allowed: a run folder or a file of records")
    return read_records(source, clock, startup)


def _result(metrics: Mapping[str, float]) -> TrialResult:
    """What objectives read."""
    return TrialResult(
        metrics=dict(metrics), per_modality_sparsity={}, per_modality_GMACs={}, per_class={},
        tp_errors={}, per_layer_sparsity={}, cost={}, timings={},
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
