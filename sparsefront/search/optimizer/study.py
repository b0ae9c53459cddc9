"""Optuna's study of a search: new, or as it was left by whoever searched the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from sparsefront.errors import InputError
from sparsefront.search.optimizer.study_storage import in_one_line, open_storage

Direction = Literal["max", "min"]
DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
OBJECTIVES, SPACE = "objectives", "space"
"""Attributes of a study: what it was made for."""


def open_study(
    storage: str | Path | None,
    name: str,
    objectives: Mapping[str, Direction],
    fields: Mapping[str, BaseDistribution],
) -> optuna.Study:
    """InputError, in one line, for a storage that cannot be opened, or whose search of this name
    has other objectives or another space.
    """
    directions = [DIRECTIONS[direction] for direction in objectives.values()]
    base = open_storage(storage)
    with in_one_line(storage):
        study = optuna.create_study(
            study_name=name, storage=base, directions=directions, load_if_exists=True
        )
        known = dict(study.user_attrs)
        tried = [] if SPACE in known else study.get_trials(deepcopy=False)
    space = {name: distribution_to_json(field) for name, field in fields.items()}
    own = {OBJECTIVES: list(objectives), SPACE: space}
    same = known.get(OBJECTIVES, own[OBJECTIVES]) == own[OBJECTIVES]
    if study.directions != directions or not same:
        names = known.get(OBJECTIVES, [_word(d) for d in study.directions])
        raise InputError(
            f"storage: its search {name!r} has other objectives: {', '.join(names)}; allowed: the "
            "same, or another name"
        )
    theirs = known.get(SPACE) or _seen(tried) or space  # earlier versions did not say
    _same_space(name, theirs, space)
    with in_one_line(storage):
        for what in own.keys() - known.keys():
            study.set_user_attr(what, own[what])
    return study


def _seen(trials: list[FrozenTrial]) -> dict[str, str]:
    """The space as the trials had it."""
    return {
        name: distribution_to_json(field)
        for trial in trials
        for name, field in trial.distributions.items()
    }


def _same_space(name: str, theirs: Mapping[str, str], own: Mapping[str, str]) -> None:
    for field in sorted(theirs.keys() | own.keys()):
        if theirs.get(field) != own.get(field):
            raise InputError(
                f"storage: its search {name!r} has another space, with {field} "
                f"{theirs.get(field, 'not in it')}; allowed: the same, or another name"
            )


def _word(direction: StudyDirection) -> str:
    return next(word for word, known in DIRECTIONS.items() if known == direction)
