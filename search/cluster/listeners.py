"""Everybody who hears how a trial went: the table on the terminal, MLflow, the front so far."""

from __future__ import annotations

from collections.abc import Mapping

from search.cluster.finished import FinishedTrials
from search.cluster.live import Live
from search.inspection.live_front import LiveFront
from search.inspection.tracking import Tracking
from search.optimizer import Proposal
from search.proposals.prediction import Agreement
from search.runs.run_store import Ending


class Listeners:
    """finished: the trials on which front and hypervolume rest."""

    def __init__(
        self, finished: FinishedTrials, live: Live, tracking: Tracking, drawn: LiveFront
    ) -> None:
        self.finished = finished
        self._live, self._tracking, self._drawn = live, tracking, drawn

    def started(self, proposal: Proposal) -> None:
        self._live.started(proposal.trial_id)

    def lost(self, proposal: Proposal, reason: str) -> None:
        """A trial whose worker or node died, and which starts again."""
        self._live.lost(proposal.trial_id, reason)

    def ended(self, proposal: Proposal, how: Ending) -> None:
        """`how`: finished, stopped early, or the reason of a failure."""
        self._tracking.ended(proposal.trial_id, proposal.values, how)
        front = self._live.ended(proposal.trial_id, how)
        self._tracking.hypervolume(front.hypervolume, self._live.done)
        self._drawn.ended(proposal.trial_id, proposal.values, front)

    def agreed(self, agreement: Mapping[str, Agreement]) -> None:
        """How far the predicted losses turned out right, by quality."""
        for name, found in agreement.items():
            self._live.say(found.said(name))
        self._tracking.agreed(agreement)
