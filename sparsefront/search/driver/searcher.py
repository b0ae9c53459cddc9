"""Between Ray Tune and the optimizer: Tune asks when a slot is free and says how a trial ended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from sparsefront.errors import ExecutionError
from sparsefront.search.config.sweep_file import Sweep
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.driver.listeners import Listeners
from sparsefront.search.driver.live import Live
from sparsefront.search.driver.tidy import tidy
from sparsefront.search.driver.worker import NO_SPACE, NO_STORAGE
from sparsefront.search.optimizer.ask_and_tell import Optimizer, Proposal
from sparsefront.search.optimizer.for_sweep import tell_end
from sparsefront.search.optimizer.skipping import (
    MOST_IN_A_ROW,
    Costs,
    comparable,
    dominating_costs,
    give_up_reason,
)
from sparsefront.search.optimizer.study_storage import StudyLost, connection_error_message
from sparsefront.search.runs.one_driver import Lease
from sparsefront.search.runs.run_folder import RunFolder, has_ended
from sparsefront.search.runs.shared_storage import StorageLost
from sparsefront.search.runs.trial_reader import read_end
from sparsefront.search.runs.trial_writer import write_end


class TrialWatcher(Callback):
    """Sees Tune's own trials: why Ray lost one, and when to redraw the table."""

    def __init__(self, live: Live, lease: Lease | None = None) -> None:
        self._live, self._lease = live, lease
        self._trials: list[Any] = []
        self.stop: str | None = None
        """Why the sweep has to end now; Tune takes errors of a searcher for those of a trial."""

    def has_to_stop(self) -> bool:
        if self.stop is None and self._lease is not None:
            self.stop = self._lease.lost_because
        return self.stop is not None

    def reason(self, trial_id: str) -> str:
        """Why a trial's process ended: killed, out of memory, node gone."""
        for trial in self._trials:
            if trial.trial_id == trial_id and trial.error_file is not None:
                # Trial.get_error looks where Tune copies this file to, later
                last = Path(trial.error_file).read_text().rpartition("Failure # ")[2]
                _when, *lines = last.splitlines()
                return " ".join(" ".join(lines).split())
        return "the worker ended without a result"

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its set-up for a restore of its own, which we never use."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._trials = trials

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune keeps its trials to the end; what it noted of each metric nobody reads."""
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()
        trial.run_metadata.last_result = {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.has_to_stop():
            raise ExecutionError(self.stop)
        self._live.refresh()


class OptunaSearcher(Searcher):
    """Tune's Searcher over an Optimizer. It holds no state worth saving: the journal has it."""

    def __init__(
        self,
        sweep: Sweep,
        optimizer: Optimizer,
        run: RunFolder,
        listeners: Listeners,
        watcher: TrialWatcher,
        again: list[Proposal],
    ) -> None:
        super().__init__()
        self._sweep, self._optimizer, self._run = sweep, optimizer, run
        self._listeners, self._watcher = listeners, watcher
        self._again = list(again)
        self._requested: dict[str, Proposal] = {}
        self._running: set[str] = set()
        self._lost: Counter[int] = Counter()
        self._skipped: list[TrialEnd] = []

    def __getstate__(self) -> dict[str, Any]:
        """As above: a resumed sweep makes a new one over the same journal."""
        return {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Nothing to take over: the sweep says what is optimised."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """None while only running trials can tell whether another one is needed: those that are
        skipped for their cost do not count.
        """
        try:
            return self._suggested(trial_id)
        except StudyLost as error:
            self._watcher.stop = self._goes_on_after(
                connection_error_message(self._sweep.storage, error)
            )
            return str(Searcher.FINISHED)

    def _suggested(self, trial_id: str) -> Any:
        if trial_id not in self._requested:
            if self._watcher.has_to_stop():
                return str(Searcher.FINISHED)
            left = self._sweep.trials - self._optimizer.num_finished() - len(self._running)
            if left <= 0:
                return None if self._running else str(Searcher.FINISHED)
            if len(self._skipped) >= MOST_IN_A_ROW and not self._again:
                return None if self._running else self._gives_up()
            proposal = self._again.pop(0) if self._again else self._optimizer.ask()
            if proposal is None:
                return None if self._running else self._all_tried()
            if not self._publish_requests():
                return str(Searcher.FINISHED)
            self._requested[trial_id] = proposal
            self._running.add(trial_id)
            self._listeners.started(proposal)
        requested = self._requested[trial_id]
        return {
            "trial_id": requested.trial_id, "values": requested.values,
            "beaten_by": self._beaten_by(),
        }  # fmt: skip

    def _beaten_by(self) -> list[Costs]:
        """Costs from which on a trial need not be trained."""
        if not comparable(self._sweep.space):
            return []
        finished = self._listeners.finished.results()
        return dominating_costs(
            self._sweep.objectives,
            finished,
            self._sweep.constraints,
            self._sweep.known_objectives(),
        )

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        proposal = self._requested.pop(trial_id)
        self._running.discard(trial_id)
        number = proposal.trial_id
        if result is not None and NO_SPACE in result:
            self._watcher.stop = self._run.disk_full_message(result[NO_SPACE])
            return
        if result is not None and NO_STORAGE in result:
            self._watcher.stop = self._goes_on_after(result[NO_STORAGE])
            return
        try:
            self._run.pull_trial(number)
            self._ended(trial_id, proposal)
        except StorageLost as error:
            self._watcher.stop = self._goes_on_after(error)
        except StudyLost as error:
            self._watcher.stop = self._goes_on_after(
                connection_error_message(self._sweep.storage, error)
            )

    def _ended(self, trial_id: str, proposal: Proposal) -> None:
        number = proposal.trial_id
        if self._restarts(trial_id, proposal):
            return
        tidy(self._run, number)
        end = read_end(self._run, number) or self._failed_without_a_word(trial_id, number)
        self._skipped = [*self._skipped, end] if end.is_free else []
        finished = self._listeners.finished
        if end.status == "finished":
            finished.add(number)
        tell_end(self._optimizer, self._sweep, end, finished.results())
        self._listeners.ended(proposal, end)

    def _all_tried(self) -> str:
        """A space of choices alone has an end."""
        if self._skipped and self._optimizer.num_finished() == 0:
            return self._gives_up()
        return str(Searcher.FINISHED)

    def _gives_up(self) -> str:
        """So many trials in a row cost nothing that nothing else is to be expected."""
        why = give_up_reason(self._skipped, self._sweep.constraints)
        self._watcher.stop = (
            f"sweep {self._run.name!r}: {len(self._skipped)} trials in a row ended before any "
            f"training, so it stops: {why}"
        )
        return str(Searcher.FINISHED)

    def _publish_requests(self) -> bool:
        """Lets shared storage know what is requested before a worker writes anything about it
        there: nothing of a trial is then found under another one's values.
        """
        try:
            self._run.push(self._run.journal)
        except StorageLost as error:
            self._watcher.stop = self._goes_on_after(error)
        return self._watcher.stop is None

    def _goes_on_after(self, what: object) -> str:
        return f"{what}; {self._run.resume_command()} goes on with the sweep"

    def _restarts(self, trial_id: str, proposal: Proposal) -> bool:
        """A trial that did not end, as its worker or node died: as often as the sweep allows it
        goes on from its last rung. Tune's own restarts leave out a worker that was starting.
        """
        number = proposal.trial_id
        if has_ended(self._run.trial_dir(number)):
            return False
        self._lost[number] += 1
        if self._lost[number] > self._sweep.max_restarts:
            return False
        self._again.append(proposal)
        self._listeners.restarted(proposal, self._watcher.reason(trial_id))
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""

    def _failed_without_a_word(self, trial_id: str, number: int) -> TrialEnd:
        """Of a worker that was killed only Ray knows the reason."""
        end = TrialEnd.failed(number, self._watcher.reason(trial_id))
        write_end(self._run, end)
        return end
