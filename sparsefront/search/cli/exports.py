"""The verbs that hand results over: export a trial, apply its allocation elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from sparsefront.search.cli.output import computing_on, require_new, require_sweep
from sparsefront.search.exports.format_names import Format
from sparsefront.search.runs.run_folder import RUNS


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the allocation, masks, pruned weights and report of one point of the front."""

    name: Positional[str]
    """Name of the sweep."""
    pick: str
    """knee, best:METRIC, trial:ID or 'max:METRIC,METRIC<=X'."""
    out: Path
    """Folder to write."""
    format: Annotated[UseAppendAction[tuple[Format, ...]], arg(metavar="FORMAT")] = ()
    """Also: original (the model's own code base's .pth), onnx, pt2 (torch.export), aotinductor.
    Repeat it for more."""
    register: str | None = None
    """Also as a new version of this registered model in the sweep's MLflow."""
    alias: str = "champion"
    """The alias that the registered version gets; it moves there."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where torch computes what the files of onnx, pt2 and aotinductor are compared with."""
    runs: str = RUNS
    """Folder of all runs, or a URI."""

    def run(self) -> str:
        require_sweep(self.name, self.runs)
        require_new(self.out)
        compared = any(name != "original" for name in self.format)
        device = computing_on(self.device) if compared else "cpu"
        from sparsefront.search.exports.export import export

        if self.register is not None:
            from sparsefront.search.exports.registry import check_names

            check_names(self.register, self.alias)
        export(self.name, self.runs, self.pick, self.out, self.format, _to_stderr, device)
        if self.register is None:
            return str(self.out)
        from sparsefront.search.exports.registry import register

        version = register(self.out, self.name, self.runs, self.register, self.alias)
        return f"{self.out}\n{version}"


@dataclass(frozen=True, kw_only=True)
class Apply:
    """Prune a checkpoint by an allocation.json: its sparsity in every layer, chosen anew."""

    allocation: Positional[Path]
    """allocation.json of an export."""
    checkpoint: Path
    """Weights of the same architecture: our .safetensors, or the .pth of the original code base."""
    out: Path
    """Folder to write, or FILE.safetensors (ours) or FILE.pth (as the original code base's)."""
    model: str | None = None
    """Model name, where neither the checkpoint nor the allocation tells it."""
    criterion: str | None = None
    """Criterion that chooses the weights, with its defaults; default: the allocation's own. All but
    magnitude, lamp and random need --data."""
    data: str | None = None
    """Root of the frames that the criterion scores on, and on which the model is repaired after the
    cut; the allocation says which data set."""
    repair: Literal["least_squares", "none"] = "least_squares"
    """Of the kept weights, where --data is given."""
    norm_frames: int = 16
    """Frames on which batch norms are measured again, where --data is given; 0: they stay."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: the GPU that this process may see, else the CPU."""

    def run(self) -> str:
        require_new(self.out)
        from sparsefront.pruning.repair.options import Repair
        from sparsefront.search.exports.apply import apply_allocation

        return apply_allocation(
            self.allocation, self.checkpoint, self.out,
            model_name=self.model, criterion_name=self.criterion, data_root=self.data,
            repair=Repair(method=self.repair), norm_frames=self.norm_frames,
            device=partial(computing_on, self.device),
        )  # fmt: skip


def _to_stderr(line: str) -> None:
    print(f"writing {line}", file=sys.stderr, flush=True)
