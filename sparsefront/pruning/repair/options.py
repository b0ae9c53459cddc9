"""How a cut model's weights are repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsefront.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Repair:
    """method   "least_squares": kept weights are refitted so that each layer answers as before the
             cut; "none": they stay as they are
    frames   training frames, not augmented, that layers' inputs are collected on
    damping  lambda as a share of the mean squared input
    refine   once more with the inputs that the repaired model itself has
    """

    method: Literal["none", "least_squares"] = "least_squares"
    frames: int = 16
    damping: float = 0.01
    refine: bool = False

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise InputError(f"frames: value {self.frames!r}; allowed: 1 and above")
        if not self.damping >= 0:
            raise InputError(f"damping: value {self.damping!r}; allowed: 0 and above")
        if self.refine and self.method == "none":
            raise InputError("refine: value true; allowed with method none: false")
