"""How gradient steps are taken, in dense training and in a trial's fine-tuning alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sparsefront.errors import InputError


@dataclass(frozen=True, kw_only=True)
class GradientStepsSpec:
    """AdamW with gradient clipping under a schedule of the learning rate.

    batch_size    frames a forward pass
    accumulate    forward passes a step, whose gradients' mean is taken: a larger batch in the
                  memory of one; losses and batch norms see each pass alone
    lr            highest learning rate
    weight_decay  of matrices and kernels; biases and norms have none
    schedule      "cosine": linear warm-up, then cosine to 0; "one_cycle": cosine from 1/25 up, then
                  cosine down to 1e-4
    warmup        steps until the highest rate; below 1 a share of all steps
    clip          highest norm of all gradients together
    precision     "bfloat16": mixed precision by autocast, for GPUs
    ema           decay of the moving average that is kept instead of the last weights; 0: off
    batch_norm    "train": running statistics move with the steps; "eval": they stay; a number: they
                  move for that share of the steps, then stay
    """

    batch_size: int
    accumulate: int = 1
    lr: float
    weight_decay: float = 0.01
    schedule: Literal["cosine", "one_cycle"]
    warmup: int | float
    clip: float
    precision: Literal["float32", "bfloat16"] = "float32"
    ema: float = 0.0
    batch_norm: Literal["train", "eval"] | float = "train"

    def __post_init__(self) -> None:
        lowest = {"batch_size": 1, "accumulate": 1, "lr": 0, "weight_decay": 0, "warmup": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise InputError(f"{name}: value {getattr(self, name)!r}; allowed: {low} and above")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema: value {self.ema!r}; allowed: 0 <= x < 1")
        if self.clip <= 0:
            raise InputError(f"clip: value {self.clip!r}; allowed: above 0")
        if not isinstance(self.batch_norm, str) and not 0 <= self.batch_norm <= 1:
            raise InputError(f"batch_norm: value {self.batch_norm!r}; allowed: train, eval, 0 to 1")

    def warmup_share(self, steps: int) -> float:
        """The warm-up as a share of all steps."""
        return self.warmup if 0 < self.warmup < 1 else self.warmup / steps

    def norms_move(self, step: int, steps: int) -> bool:
        """Whether batch norms still move their running statistics at a step."""
        if isinstance(self.batch_norm, str):
            return self.batch_norm == "train"
        return step / steps < self.batch_norm
