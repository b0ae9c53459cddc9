"""A trial between two rungs, on disk: what another process needs to go on, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pruning.channels.removal import kept_from_json, kept_to_json
from pruning.mask import PruningMask
from search.runs.run_store import RunFolder, load_tensors, read_json, write_json, write_tensors
from search.training.fine_tune import FineTuner
from search.trials.spec import Look
from search.trials.timings import Timings

DATA = "checkpoint.json"
PROMOTED = "checkpoint-promoted.json"
"""Of a trial under way: after how many looks it went on."""
MASK, TIED, RANDOM = "mask.", "tied.", "random"


class CorruptCheckpoint(Exception):
    """A checkpoint that cannot be read; the trial starts from its beginning."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """tensors: of the fine-tuning ("tuner."), the mask and torch's random state; data: the rest."""

    tensors: dict[str, Tensor]
    data: dict[str, Any]

    @staticmethod
    def taken(
        tuner: FineTuner,
        mask: PruningMask,
        admm: list[dict[str, float]],
        timings: Timings,
        left_out: set[str],
    ) -> Checkpoint:
        tensors = {f"tuner.{name}": tensor for name, tensor in tuner.tensors().items()}
        tensors |= {f"{MASK}{name}": kept for name, kept in mask.by_weight.items()}
        tensors |= {f"{TIED}{name}": kept for name, kept in mask.tied.items()}
        return Checkpoint(
            tensors={**tensors, RANDOM: torch.get_rng_state()},
            data={
                "losses": tuner.losses, "admm": admm, "timings": timings.with_total(),
                "channels": kept_to_json(mask.channels), "left_out": sorted(left_out),
            },
        )  # fmt: skip

    @property
    def admm(self) -> list[dict[str, float]]:
        return list(self.data["admm"])

    @property
    def left_out(self) -> set[str]:
        """Training frames that could not be read so far."""
        return set(self.data["left_out"])

    def mask(self) -> PruningMask:
        return PruningMask(
            self._below(MASK), self._below(TIED), kept_from_json(self.data["channels"])
        )

    def restore(self, tuner: FineTuner, timings: Timings) -> None:
        """CorruptCheckpoint where it belongs to another model."""
        try:
            tuner.load(self._below("tuner."), self.data["losses"])
            torch.set_rng_state(self.tensors[RANDOM])
            timings.add(self.data["timings"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise CorruptCheckpoint(" ".join(str(error).split())) from error

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}


def write_checkpoint(folder: Path, checkpoint: Checkpoint, rungs: list[Look]) -> None:
    """Replaces the folder's checkpoint; `rungs` are the looks so far. The JSON file names the file
    of tensors that it belongs to and goes last, so that the two always fit.
    """
    tensors = f"checkpoint-{len(rungs)}.safetensors"
    write_tensors(folder / tensors, checkpoint.tensors)
    write_json(folder / DATA, {**checkpoint.data, "rungs": rungs, "tensors": tensors})
    _remove_tensors(folder, but=tensors)


def read_checkpoint(folder: Path) -> tuple[Checkpoint, list[Look]] | None:
    """The checkpoint and the looks so far; None where there is none. CorruptCheckpoint."""
    if not (folder / DATA).is_file():
        return None
    try:
        data = read_json(folder / DATA)
        rungs = data.pop("rungs")
        tensors = load_tensors(folder / data.pop("tensors"))
        if any(name not in data for name in ("losses", "admm", "timings", "channels", "left_out")):
            raise ValueError(f"{folder / DATA}: fields are missing")
        return Checkpoint(tensors=tensors, data=data), rungs
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(" ".join(str(error).split())) from error


def looks_of(folder: Path) -> list[Look]:
    """The looks so far of a trial under way; ValueError where its checkpoint is not readable."""
    file = folder / DATA
    return list(read_json(file)["rungs"]) if file.is_file() else []


def remove_checkpoint(folder: Path) -> None:
    (folder / DATA).unlink(missing_ok=True)
    (folder / PROMOTED).unlink(missing_ok=True)
    _remove_tensors(folder)


def tidy(run: RunFolder, trial_id: int) -> None:
    """Removes what a trial that ended needs no more: its checkpoint, and what processes that were
    killed had half-written.
    """
    folder = run.trial_dir(trial_id)
    if (folder / DATA).is_file():
        run.publish(trial_id)  # its worker died before it could remove it for all
    remove_checkpoint(folder)
    for file in folder.glob(".*"):
        file.unlink(missing_ok=True)


def _remove_tensors(folder: Path, but: str | None = None) -> None:
    for file in folder.glob("checkpoint-*.safetensors"):
        if file.name != but:
            file.unlink(missing_ok=True)
