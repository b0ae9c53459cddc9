"""Everybody who hears how a trial went: the table on the terminal, MLflow, the front so far."""

from __future__ import annotations

from collections.abc import Mapping

from sparsefront.search.config.agreement import Agreement
from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.driver.dense import DenseEvaluation
from sparsefront.search.driver.finished import FinishedTrials
from sparsefront.search.driver.live import Live
from sparsefront.search.optimizer.ask_and_tell import Proposal
from sparsefront.search.reports.live_front import LiveFront
from sparsefront.search.reports.mlflow_logger import MlflowLogger


class Listeners:
    """finished: the trials on which front and hypervolume rest
    dense: the model that they are compared with
    """

    def __init__(
        self,
        finished: FinishedTrials,
        live: Live,
        logger: MlflowLogger,
        drawn: LiveFront,
        dense: DenseEvaluation,
    ) -> None:
        self.finished, self.dense = finished, dense
        self._live, self._logger, self._drawn = live, logger, drawn

    def started(self, proposal: Proposal) -> None:
        self._live.started(proposal.trial_id)

    def restarted(self, proposal: Proposal, reason: str) -> None:
        """A trial whose worker or node died, and which starts again."""
        self._live.restarted(proposal.trial_id, reason)

    def ended(self, proposal: Proposal, end: TrialEnd) -> None:
        self.dense.look()
        self._logger.log_end(end, proposal.values)
        front = self._live.ended(end)
        self._logger.log_hypervolume(front.hypervolume, self._live.done)
        self._drawn.ended(proposal.trial_id, proposal.values, front)

    def measured_agreement(self, agreement: Mapping[str, Agreement]) -> None:
        """How far the predicted losses turned out right, by quality."""
        for name, found in agreement.items():
            self._live.say(found.sentence(name))
        self._logger.log_agreement(agreement)
