"""The verb that looks at one trial closely."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from sparsefront.errors import InputError
from sparsefront.search.cli.output import computing_on, require_new, require_sweep
from sparsefront.search.runs.run_folder import RUNS


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Draw one trial: its layers, its BEV feature maps and its boxes, dense against pruned."""

    name: Positional[str]
    """Name of the sweep."""
    pick: str = "knee"
    """knee, best:METRIC, trial:ID or 'max:METRIC,METRIC<=X'."""
    out: Path
    """Folder to write; open its index.html."""
    samples: tuple[str, ...] = ("0",)
    """Evaluation frames to draw, by number or sample token."""
    score: float = 0.3
    """Least score of boxes that are drawn."""
    data: str | None = None
    """Where the data lie on this machine; default: where the sweep found them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: the GPU that this process may see, else the CPU."""
    runs: str = RUNS
    """Folder of all runs, or a URI."""

    def run(self) -> str:
        require_sweep(self.name, self.runs)
        require_new(self.out)
        if not 0 <= self.score <= 1:
            raise InputError(f"--score: value {self.score:g}; allowed: 0..1")
        from sparsefront.search.reports.trial_page.inspect_trial import inspect_trial

        folder = inspect_trial(
            self.name, self.runs, self.pick, self.out, samples=self.samples,
            least_score=self.score, data_root=self.data,
            device=computing_on(self.device),
        )  # fmt: skip
        return str(folder / "index.html")
