"""What a sweep optimises and within which bounds, read from its file alone: a front is drawn
without the models, criteria and data that the rest of the file names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sparsefront.search.config import strict_yaml
from sparsefront.search.config.objectives import DEFAULT_OBJECTIVES, Bound
from sparsefront.search.config.task import Metric


@dataclass(frozen=True, kw_only=True)
class Goals:
    """Fields of a sweep file: objectives, constraint by metric, what a task's own metrics mean."""

    objectives: list[str] = field(default_factory=lambda: list(DEFAULT_OBJECTIVES))
    constraints: dict[str, Bound] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)


def read_goals(path: str | Path) -> Goals:
    """Of a sweep file. InputError in one line."""
    data = strict_yaml.read_yaml(path)
    if not isinstance(data, dict):
        raise strict_yaml.no_mapping(path, data)
    fields = {name: data[name] for name in ("objectives", "constraints", "metrics") if name in data}
    return strict_yaml.from_data(fields, Goals, path)
