"""The bird's-eye-view grid that both modalities are brought to.

Cells are indexed [X, Y] (x slow), as in the published BEVFusion.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BevGrid:
    """A square grid around the LiDAR: half side (m), cell size (m) and height limits (m)."""

    half_side_m: float = 38.4
    cell_m: float = 1.2
    z_min_m: float = -2.8
    z_max_m: float = 3.6

    @property
    def cells(self) -> int:
        return round(2 * self.half_side_m / self.cell_m)
