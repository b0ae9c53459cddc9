"""Half precision up to float32 where sums and exponentials need it; float64 stays as it is."""

from __future__ import annotations

from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, anything else unchanged."""
    return x.float() if x.element_size() < 4 else x
