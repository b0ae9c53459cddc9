"""What Optuna's storage knows of a sweep's trials, read without changing or locking anything, so
that a sweep can be looked at while its driver runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sparsefront.errors import InputError, one_line
from sparsefront.files.atomic import read_json
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.passwords import mask_passwords
from sparsefront.search.config.space import Value
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.optimizer.ask_and_tell import BASELINE, DUPLICATE, REASON
from sparsefront.search.optimizer.distributions import decode
from sparsefront.search.optimizer.past import FREE
from sparsefront.search.runs.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class StudyTrial:
    """A trial as Optuna's study has it.

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


def read_study_trials(sweep: Sweep, run: RunFolder) -> dict[int, StudyTrial]:
    """Trial id -> the trial as requested; empty, with a line on stderr, where that fails."""
    try:
        return {t.number: _read(t) for t in _trials(sweep, run) if DUPLICATE not in t.user_attrs}
    except Exception as error:  # a database that is away, a journal of another Optuna
        reason = mask_passwords(one_line(error))[:120]
        print(f"{run.name}: Optuna's storage cannot be read ({reason})", file=sys.stderr)
        return {}


def _trials(sweep: Sweep, run: RunFolder) -> list[Any]:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    storage: Any
    if sweep.storage is not None:
        storage = RDBStorage(strict_yaml.expand(sweep.storage))
    elif run.journal.is_file():
        storage = JournalStorage(JournalFileBackend(str(run.journal)))
    else:
        raise InputError(f"no {run.journal.name}")
    launched = read_json(run.launch_file) if run.launch_file.is_file() else {}
    study = storage.get_study_id_from_name(launched.get("study") or sweep.name)
    return list(storage.get_all_trials(study, deepcopy=False))


def _read(trial: Any) -> StudyTrial:
    attributes = trial.user_attrs
    return StudyTrial(
        values={name: decode(value) for name, value in trial.params.items()},
        state=trial.state.name,
        reason=attributes.get(REASON),
        baseline=attributes.get(BASELINE),
        free=bool(attributes.get(FREE)),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
    )
