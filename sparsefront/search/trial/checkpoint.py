"""A trial between two rungs, on disk: what another process needs to go on, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsefront.errors import InputError, one_line
from sparsefront.files.atomic import read_json, write_json
from sparsefront.files.tensors import read_tensors, write_tensors
from sparsefront.pruning.channels.removal import kept_from_json, kept_to_json
from sparsefront.pruning.device import random_state, set_random_state
from sparsefront.pruning.mask import PruningMask
from sparsefront.search.config.trial_files import CHECKPOINT, PROMOTED
from sparsefront.search.config.trial_result import IntermediateResult
from sparsefront.search.training.fine_tune import FineTuner
from sparsefront.search.trial.timings import Timings

MASK, TIED, RANDOM, DEVICE_RANDOM = "mask.", "tied.", "random", "device_random"


class CorruptCheckpoint(Exception):
    """A checkpoint that cannot be read; the trial starts from its beginning."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """tensors: of the fine-tuning ("tuner."), the mask and the random states; data: the rest."""

    tensors: dict[str, Tensor]
    data: dict[str, Any]

    @staticmethod
    def capture(
        tuner: FineTuner,
        mask: PruningMask,
        admm: list[dict[str, float]],
        timings: Timings,
        left_out: set[str],
        notes: Sequence[str],
    ) -> Checkpoint:
        tensors = {f"tuner.{name}": tensor for name, tensor in tuner.tensors().items()}
        tensors |= {f"{MASK}{name}": kept for name, kept in mask.by_weight.items()}
        tensors |= {f"{TIED}{name}": kept for name, kept in mask.tied.items()}
        tensors[RANDOM] = torch.get_rng_state()
        if (own := random_state(tuner.device)) is not None:
            tensors[DEVICE_RANDOM] = own
        return Checkpoint(
            tensors=tensors,
            data={
                "losses": tuner.losses, "admm": admm, "timings": timings.with_total(),
                "channels": kept_to_json(mask.channels), "left_out": sorted(left_out),
                "notes": list(notes),
            },
        )  # fmt: skip

    @property
    def admm(self) -> list[dict[str, float]]:
        return list(self.data["admm"])

    @property
    def left_out(self) -> set[str]:
        """Training frames that could not be read so far."""
        return set(self.data["left_out"])

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the pruning; version 0.1 kept none."""
        return tuple(self.data.get("notes", ()))

    def mask(self) -> PruningMask:
        return PruningMask(
            self._below(MASK), self._below(TIED), kept_from_json(self.data["channels"])
        )

    def restore(self, tuner: FineTuner, timings: Timings) -> None:
        """CorruptCheckpoint where it belongs to another model."""
        try:
            tuner.load(self._below("tuner."), self.data["losses"])
            torch.set_rng_state(self.tensors[RANDOM])
            set_random_state(tuner.device, self.tensors.get(DEVICE_RANDOM))
            timings.add(self.data["timings"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CorruptCheckpoint(one_line(error)) from error

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}


def write_checkpoint(
    folder: Path, checkpoint: Checkpoint, results: list[IntermediateResult]
) -> None:
    """Replaces the folder's checkpoint; `results` are those of the rungs so far. The JSON file
    names the file of tensors that it belongs to and goes last, so that the two always fit.
    """
    tensors = f"checkpoint-{len(results)}.safetensors"
    write_tensors(folder / tensors, checkpoint.tensors)
    data = {**checkpoint.data, "intermediate_results": results, "tensors": tensors}
    write_json(folder / CHECKPOINT, data)
    _remove_tensors(folder, but=tensors)


def read_checkpoint(folder: Path) -> tuple[Checkpoint, list[IntermediateResult]] | None:
    """The checkpoint and the results so far; None where there is none. CorruptCheckpoint."""
    if not (folder / CHECKPOINT).is_file():
        return None
    try:
        data = read_json(folder / CHECKPOINT)
        results = _pop_results(data)
        tensors = read_tensors(folder / data.pop("tensors"))
        if any(name not in data for name in ("losses", "admm", "timings", "channels", "left_out")):
            raise InputError(f"{folder / CHECKPOINT}: fields are missing")
        return Checkpoint(tensors=tensors, data=data), results
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(one_line(error)) from error


def results_so_far(folder: Path) -> list[IntermediateResult]:
    """Of a trial under way; InputError where its checkpoint is not readable."""
    file = folder / CHECKPOINT
    return _pop_results(read_json(file)) if file.is_file() else []


def write_promoted(folder: Path, rungs: int) -> Path:
    """Notes that halving let a trial go on after so many rungs."""
    write_json(folder / PROMOTED, {"rungs": rungs})
    return folder / PROMOTED


def read_promoted(folder: Path) -> int:
    """After how many rungs halving let the trial go on; 0 where it has not yet."""
    if not (folder / PROMOTED).is_file():
        return 0
    found = read_json(folder / PROMOTED)
    return int(found["rungs"] if "rungs" in found else found["looks"])  # looks: version 0.1


def remove_checkpoint(folder: Path) -> None:
    (folder / CHECKPOINT).unlink(missing_ok=True)
    (folder / PROMOTED).unlink(missing_ok=True)
    _remove_tensors(folder)


def _pop_results(data: dict[str, Any]) -> list[IntermediateResult]:
    """`rungs` in version 0.1."""
    results = data.pop("intermediate_results" if "intermediate_results" in data else "rungs")
    return list(results)


def _remove_tensors(folder: Path, but: str | None = None) -> None:
    for file in folder.glob("checkpoint-*.safetensors"):
        if file.name != but:
            file.unlink(missing_ok=True)
