"""What Optuna's storage knows of a sweep's trials, read without changing or locking anything, so
that a sweep can be looked at while its driver runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from search import strict_yaml
from search.optimizer import BASELINE, DUPLICATE, FREE, REASON
from search.proposals.distributions import decoded
from search.runs.passwords import masked
from search.runs.run_store import RunFolder, read_json
from search.space import Value
from search.sweep_file import Sweep


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A trial as it was asked for.

    state     COMPLETE, PRUNED (stopped), FAIL, RUNNING or WAITING
    baseline  what enqueued it before any proposal ("ERK", "papers"); None for all others
    free      taken over from an earlier sweep, or ended before any training: does not count
    """

    values: Mapping[str, Value]
    state: str
    reason: str | None
    baseline: str | None
    free: bool
    started: datetime | None
    ended: datetime | None

    def seconds(self) -> float:
        """From its start to its end, on the clock."""
        if self.started is None or self.ended is None:
            return 0.0
        return (self.ended - self.started).total_seconds()


def read_asked(sweep: Sweep, run: RunFolder) -> dict[int, Asked]:
    """Trial id -> what was asked; empty, and a line on stderr, where Optuna cannot be read."""
    try:
        return {t.number: _asked(t) for t in _trials(sweep, run) if DUPLICATE not in t.user_attrs}
    except Exception as error:  # a database that is away, a journal of another Optuna
        reason = masked(" ".join(str(error).split()))[:120]
        print(f"{run.name}: Optuna's storage cannot be read ({reason})", file=sys.stderr)
        return {}


def _trials(sweep: Sweep, run: RunFolder) -> list[Any]:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    storage: Any
    if sweep.storage is not None:
        storage = RDBStorage(strict_yaml.expand(sweep.storage))
    elif run.storage.is_file():
        storage = JournalStorage(JournalFileBackend(str(run.storage)))
    else:
        raise ValueError(f"no {run.storage.name}")
    launched = read_json(run.launch_file) if run.launch_file.is_file() else {}
    study = storage.get_study_id_from_name(launched.get("study") or sweep.name)
    return list(storage.get_all_trials(study, deepcopy=False))


def _asked(trial: Any) -> Asked:
    attributes = trial.user_attrs
    return Asked(
        values={name: decoded(value) for name, value in trial.params.items()},
        state=trial.state.name,
        reason=attributes.get(REASON),
        baseline=attributes.get(BASELINE),
        free=bool(attributes.get(FREE)),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
    )
