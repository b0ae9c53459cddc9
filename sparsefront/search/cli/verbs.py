"""The verbs of the command line: one class a verb, its fields are options, `run` gives the answer.

Heavy imports wait until a verb runs, so that --help is quick.
"""

from __future__ import annotations

from typing import Annotated

from tyro.conf import subcommand

from sparsefront.search.cli.exports import Apply, Export
from sparsefront.search.cli.front import Front, Ui
from sparsefront.search.cli.inspect import Inspect
from sparsefront.search.cli.models import Model
from sparsefront.search.cli.scenes import Scenes
from sparsefront.search.cli.sweeps import Check, Cost, Evaluate, Resume, SweepVerb, Train, Trial

Verb = (
    Annotated[Check, subcommand("check")]
    | Annotated[SweepVerb, subcommand("sweep")]
    | Annotated[Resume, subcommand("resume")]
    | Annotated[Front, subcommand("front")]
    | Annotated[Ui, subcommand("ui")]
    | Annotated[Inspect, subcommand("inspect")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Apply, subcommand("apply")]
    | Annotated[Trial, subcommand("trial")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Cost, subcommand("cost")]
    | Annotated[Model, subcommand("model")]
    | Annotated[Scenes, subcommand("scenes")]
)
