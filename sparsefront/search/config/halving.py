"""Early stopping as a sweep file says it: rungs, and how many trials go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsefront.errors import InputError

Spread = Literal["epsilon_net", "crowding"]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A cheaper fidelity: after `steps` fine-tuning steps, on a share of the evaluation frames."""

    steps: int
    frames: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"steps: value {self.steps!r}; allowed: 0 and above")
        if not 0.0 < self.frames <= 1.0:
            raise InputError(f"frames: value {self.frames!r}; allowed: 0 < x <= 1")


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Early stopping: trials are measured at rungs, and about 1 / `reduction` of them go on.

    rungs    below full fidelity, in order; steps: 0 is before any training
    spread   who comes first among equals of a front: "epsilon_net" (farthest from those already
             chosen) or "crowding" (NSGA-II's crowding distance)
    safe     while a rung has seen fewer trials than this, its first front always goes on
    """

    rungs: list[Rung]
    reduction: float = 3.0
    spread: Spread = "epsilon_net"
    safe: int = 6

    def __post_init__(self) -> None:
        if not self.rungs:
            raise InputError("rungs: value []; allowed: at least one rung below full fidelity")
        for before, after in zip(self.rungs, self.rungs[1:], strict=False):
            if after.steps < before.steps or after.frames < before.frames or after == before:
                raise InputError(
                    f"rungs: {after} after {before}; allowed: steps and frames never fall, and one "
                    "of the two rises"
                )
        if self.reduction <= 1.0:
            raise InputError(f"reduction: value {self.reduction!r}; allowed: above 1")
        if self.safe < 0:
            raise InputError(f"safe: value {self.safe!r}; allowed: 0 and above")
