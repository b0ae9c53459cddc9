"""Classes of one's own where a sweep file takes a name: what is read, and what is told."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from sparsefront import plugins
from sparsefront.errors import InputError
from sparsefront.plugins import KINDS, at_home, kind_of, plugin_class
from sparsefront.search.config import strict_yaml
from sparsefront.search.config.named_classes import NamedTask
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.config.trial_spec import TrialSpec
from sparsefront.search.trial.dense import dense_metrics
from sparsefront.search.trial.run_trial import run_trial
from tests.helpers import own_task

SMALLEST = "tests.helpers.own_task:Smallest"


def test_criterion_of_ones_own_scores_a_trial(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    """|w| of one's own is magnitude: the same masks."""
    spec = read_sweep(write_yaml(sweep_data)).trial
    sweep_data["trial"]["criterion"] = {"name": SMALLEST, "power": 2.0}
    sweep_data["space"]["criterion.power"] = {"low": 0.5, "high": 2.0}
    own = read_sweep(write_yaml(sweep_data)).trial
    assert kind_of(own.criterion) == "criterion" and kind_of(spec.criterion) is None
    plain = replace(spec, criterion=strict_yaml.from_data({"name": "magnitude"}, _any(), "x"))
    ours, theirs = run_trial(plain), run_trial(own)
    assert ours.result.per_layer_sparsity == theirs.result.per_layer_sparsity
    assert ours.result.metrics == theirs.result.metrics


def _any() -> Any:
    from sparsefront.search.config.named_classes import AnyCriterion

    return AnyCriterion


def test_instances_are_copied_pickled_and_compared(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["trial"]["criterion"] = {"name": SMALLEST, "power": 2.0}
    found: Any = read_sweep(write_yaml(sweep_data)).trial.criterion
    assert found == copy.deepcopy(found) == pickle.loads(pickle.dumps(found))
    assert found != replace(found, power=3.0)
    assert type(found).__name__ == "Smallest" and found.name == SMALLEST


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "nowhere.at_all:Thing"}, "No module named 'nowhere'"),
        ({"name": "tests.helpers.own_task:Smalest"}, "did you mean Smallest?"),
        ({"name": "tests.helpers.own_task:Senses"}, "is no frozen dataclass"),
        ({"name": "tests.helpers.own_task:Guess"}, "Guess has no statistics"),
        ({"name": SMALLEST, "powr": 2.0}, "powr: unknown key (did you mean power?)"),
        ({"name": SMALLEST, "power": "much"}, "power: value 'much'; allowed: a valid number"),
        ({"name": "magnitud"}, "did you mean magnitude?"),
        ({"name": 3}, "value 3 is unknown"),
    ],
)
def test_wrong_names_and_fields_are_told_in_one_line(
    sweep_data: dict[str, Any], write_yaml: Any, data: dict[str, Any], said: str
) -> None:
    sweep_data["trial"]["criterion"] = data
    with pytest.raises(InputError) as found:
        read_sweep(write_yaml(sweep_data))
    assert said in str(found.value) and "criterion" in str(found.value)
    assert "\n" not in str(found.value)


def test_module_that_fails_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails_here.py").write_text("import json\nraise RuntimeError('no such device')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="importing fails_here raised RuntimeError: no such dev"):
        plugin_class("task", "fails_here:Thing")


def test_entry_points_give_short_names(
    monkeypatch: pytest.MonkeyPatch, sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    group = KINDS["criterion"].entry_points
    given = [metadata.EntryPoint("smallest", SMALLEST, group)]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: given)
    plugins.entry_points.cache_clear()
    try:
        sweep_data["trial"]["criterion"] = {"name": "smallest"}
        assert read_sweep(write_yaml(sweep_data)).trial.criterion.name == "smallest"
        given.append(metadata.EntryPoint("smallest", "other:Smallest", group))
        plugins.entry_points.cache_clear()
        with pytest.raises(InputError, match="'smallest' is both"):
            read_sweep(write_yaml(sweep_data))
    finally:
        plugins.entry_points.cache_clear()


def test_model_of_ones_own(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    name = sweep_data["trial"]["model"]["name"]
    own = {**sweep_data["trial"]["model"], "name": f"{OWN}:Wrapped"}
    assert name == "bevfusion-small"
    spec = read_sweep(write_yaml(sweep_data)).trial
    sweep_data["trial"]["model"] = own
    wrapped: TrialSpec = read_sweep(write_yaml(sweep_data)).trial
    assert run_trial(wrapped).result.metrics == run_trial(spec).result.metrics


OWN = "tests.helpers.own_model"


def test_fuser_of_ones_own_by_its_name_alone_or_with_options(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    """It starts from the checkpoint's concat as it says; a search chooses between it and ours."""
    for given in (f"{OWN}:MeanFuser", {"name": f"{OWN}:MeanFuser"}):
        sweep_data["trial"]["model"]["fuser"] = given
        result = run_trial(read_sweep(write_yaml(sweep_data)).trial).result
        assert "fusion.fuser.each.0.weight" in result.per_layer_sparsity
    sweep_data["space"]["model.fuser"] = {"choices": ["concat", f"{OWN}:MeanFuser"]}
    assert "model.fuser" in read_sweep(write_yaml(sweep_data)).space


def test_tracker_of_ones_own(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep_data["trial"]["tracker"] = {"name": "greedy_velocity", "max_age": 5}
    ours = run_trial(read_sweep(write_yaml(sweep_data)).trial).result.metrics
    sweep_data["trial"]["tracker"] = {"name": f"{OWN}:Patient"}
    assert run_trial(read_sweep(write_yaml(sweep_data)).trial).result.metrics == ours


def test_data_of_ones_own(sweep_data: dict[str, Any], write_yaml: Any) -> None:
    sweep_data["trial"]["val"] = {**sweep_data["trial"]["val"], "name": f"{OWN}:First"}
    spec = read_sweep(write_yaml(sweep_data)).trial
    assert len(spec.val_scenes().tokens) == 1
    assert "mAP" in run_trial(spec).result.metrics
    sweep_data["trial"]["val"] = {"name": f"{OWN}:Other"}
    with pytest.raises(InputError, match="Other is no NuScenesSpec or KittiSpec"):
        read_sweep(write_yaml(sweep_data))


def test_objective_of_ones_own_is_a_metric_of_the_trial(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["objectives"] = ["mAP", f"{OWN}:Energy"]
    sweep = read_sweep(write_yaml(sweep_data))
    assert sweep.objectives == ["mAP", "Energy"] and sweep.metrics["Energy"].unit == "J"
    metrics = run_trial(sweep.trial).result.metrics
    assert metrics["Energy"] == 0.5 * metrics["GFLOPs"]
    again = strict_yaml.from_data(strict_yaml.to_plain(asdict(sweep)), Sweep, "again")
    assert again == sweep


def test_a_front_over_an_objective_of_ones_own_is_shown_with_the_dense_model(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep_data["objectives"] = ["mAP", f"{OWN}:Energy"]
    sweep = read_sweep(write_yaml(sweep_data))
    metrics = dense_metrics(sweep.trial)
    assert metrics["Energy"] == 0.5 * metrics["GFLOPs"]


def test_modules_of_one_name_in_two_folders_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(own_task.__file__).read_text()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same_name.py").write_text(text)
    monkeypatch.chdir(tmp_path / "a")
    first = plugin_class("task", "same_name:Guess")
    assert plugin_class("task", "same_name:Guess") is first
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(InputError, match=r"same_name was imported from .*/a/same_name\.py before"):
        plugin_class("task", "same_name:Guess")
    with at_home(str(tmp_path / "a")):
        assert plugin_class("task", "same_name:Guess") is first


ODD = """
import enum
from dataclasses import dataclass, field
from sparsefront import Task
from tests.helpers.own_task import Guess

class Mode(enum.Enum):
    SLOW = "slow"

@dataclass(frozen=True)
class Odd(Guess):
    mode: Mode = Mode.SLOW
    kinds: frozenset[str] = frozenset({"b", "a"})

@dataclass(frozen=True)
class Cached(Guess):
    cache: int = field(default=1, init=False)

@dataclass(frozen=True)
class Named(Guess):
    name: str = "mine"

@dataclass(frozen=True)
class Raises(Guess):
    def __post_init__(self):
        raise FileNotFoundError("no such list")

@dataclass(frozen=True)
class Nothing(Task):
    pass
"""


def test_options_of_other_types_are_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_options.py").write_text(ODD)
    monkeypatch.chdir(tmp_path)
    kind: Any = NamedTask
    odd = strict_yaml.from_data({"name": "odd_options:Odd", "mode": "slow"}, kind, "x")
    written = strict_yaml.to_plain(asdict(odd))
    assert written["mode"] == "slow" and written["kinds"] == ["a", "b"]
    assert strict_yaml.from_data(written, kind, "x") == odd
    for name, said in (
        ("Cached", "field cache of Cached has init=False"),
        ("Named", "Named has a field `name`, which the import path takes"),
        ("Raises", "Raises raised FileNotFoundError: no such list"),
        ("Nothing", "Nothing has no metrics"),
    ):
        with pytest.raises(InputError, match=said):
            strict_yaml.from_data({"name": f"odd_options:{name}"}, kind, "x")
