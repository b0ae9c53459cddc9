"""Trials as they were told, and a table of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sparsefront.search.config.space import Value

if TYPE_CHECKING:
    import pandas as pd


class Told(NamedTuple):
    """A trial as it stands: COMPLETE, PRUNED (stopped), FAIL, RUNNING or WAITING; the objectives'
    values by name once it is complete, why it ended where it is not.
    """

    trial_id: int
    state: str
    values: dict[str, Value]
    objectives: dict[str, float]
    reason: str | None


def as_table(
    trials: Sequence[Told], front: Sequence[Told], objectives: Sequence[str]
) -> pd.DataFrame:
    """A row a trial; objectives that it has not are not a number."""
    import pandas as pd

    best = {told.trial_id for told in front}
    rows = [
        {
            "trial": told.trial_id, "state": told.state, **told.values,
            **{name: told.objectives.get(name, math.nan) for name in objectives},
            "front": told.trial_id in best, "reason": told.reason,
        }
        for told in trials
    ]  # fmt: skip
    return pd.DataFrame(rows)
