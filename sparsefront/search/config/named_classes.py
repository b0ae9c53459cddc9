"""What a field may hold: a catalogue's class by its name, or one's own by its import path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from sparsefront.models import ModelSpec
from sparsefront.plugins import Plugin
from sparsefront.pruning.criteria import Criterion
from sparsefront.scenes.scoring.tracker import Tracker, TrackerSpec
from sparsefront.search.config.data import DataSpec
from sparsefront.search.config.task import Metric, Task

if TYPE_CHECKING:

    class NamedTask(Task, Protocol):
        """A task as a sweep file named it."""

        name: str

    AnyCriterion = Criterion
    AnyModel = ModelSpec
    AnyData = DataSpec
    AnyTracker = TrackerSpec | Tracker

    class OwnMetric(Protocol):
        """A metric that follows from others, as a sweep file names it among its objectives."""

        name: str
        metric: Metric

        def value(self, metrics: Mapping[str, float]) -> float: ...

else:
    NamedTask = Annotated[Any, Plugin("task")]
    AnyCriterion = Criterion | Annotated[Any, Plugin("criterion")]
    AnyModel = ModelSpec | Annotated[Any, Plugin("model")]
    AnyData = DataSpec | Annotated[Any, Plugin("data")]
    AnyTracker = TrackerSpec | Annotated[Any, Plugin("tracker")]
    OwnMetric = Annotated[Any, Plugin("objective")]

Architecture = ModelSpec | NamedTask
