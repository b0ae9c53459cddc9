"""Proposals: the initial grid first, nothing twice, and the journal survives whoever wrote it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sparsefront.errors import InputError
from sparsefront.search.config.space import Choices, Range
from sparsefront.search.config.sweep_file import Sweep, read_sweep
from sparsefront.search.config.trial_result import TrialEnd, TrialResult
from sparsefront.search.optimizer.ask_and_tell import Optimizer, Proposal
from sparsefront.search.optimizer.for_sweep import initial_grid, optimizer_of, tell_end
from sparsefront.search.optimizer.study_storage import StudyLost
from tests.helpers import paths


def finished(proposal: Proposal) -> TrialEnd:
    """A smooth stand-in for a trial: sparser is cheaper and worse."""
    sparsity = sum(v for v in proposal.values.values() if isinstance(v, float)) / 3
    metrics = {"mAP": 0.5 - 0.4 * sparsity**2, "NDS": 0.6 - 0.3 * sparsity**2}
    metrics |= {"GFLOPs": 10 * (1 - sparsity), "GMACs": 5 * (1 - sparsity), "GMACs_dense": 5.0}
    result = TrialResult(
        metrics={**metrics, "sparsity": sparsity}, per_modality_sparsity={}, per_modality_GMACs={},
        per_class={}, tp_errors={}, per_layer_sparsity={}, cost={}, timings={},
    )  # fmt: skip
    return TrialEnd.finished(proposal.trial_id, result)


def make(data: dict[str, Any], write_yaml: Any, **changes: Any) -> Sweep:
    return read_sweep(write_yaml({**data, **changes}))


def drive(sweep: Sweep, optimizer: Optimizer, trials: int) -> list[Proposal]:
    requested = []
    for _ in range(trials):
        proposal = optimizer.ask()
        assert proposal is not None
        tell_end(optimizer, sweep, finished(proposal))
        requested.append(proposal)
    return requested


@pytest.mark.parametrize("kind", ["sqlite:///", ""])
def test_trial_cut_off_while_it_was_requested_is_forgotten_and_its_values_come_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A storage that goes between two values of a trial: nobody is told of that one, and its values
    are the next ones.
    """
    space = {"camera": (0.0, 0.9), "lidar": (0.0, 0.9)}

    def open_optimizer() -> Optimizer:
        storage = f"{kind}{tmp_path / 'study'}"
        return Optimizer(space, {"mAP": "max", "GFLOPs": "min"}, storage, first=[])

    first = open_optimizer()
    stores: Any = type(first._study._storage)
    real, calls = stores.set_trial_param, []

    def cut(self: Any, *given: Any) -> None:
        calls.append(given)
        if len(calls) == 2:
            raise StudyLost("gone")
        real(self, *given)

    monkeypatch.setattr(stores, "set_trial_param", cut)
    with pytest.raises(StudyLost):
        first.ask()
    monkeypatch.undo()
    again = open_optimizer()
    assert again.running() == [] and again.num_finished() == 0
    requested = again.ask()
    assert requested is not None and requested.values["camera"] == calls[0][2]
    assert open_optimizer().running() == [requested]
    again.tell(requested.trial_id, {"mAP": 0.5, "GFLOPs": 1.0})
    assert again.num_finished() == 1


def test_initial_grid_goes_from_dense_to_sparse(
    sweep_data: dict[str, Any], write_yaml: Any
) -> None:
    sweep = make(sweep_data, write_yaml, trials=24)
    grid = initial_grid(sweep)
    assert len(grid) == 4
    assert set(grid[0].values()) == {0.0}
    assert set(grid[-1].values()) == {0.9}
    for point in grid:
        assert len(set(point.values())) == 1
    assert [p.popitem()[1] for p in grid] == sorted(p.popitem()[1] for p in initial_grid(sweep))


@pytest.mark.parametrize("sampler", ["gp", "tpe", "nsga2", "random"])
def test_reopened_study_proposes_the_same(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path, sampler: str
) -> None:
    """14 trials in one go, and in three openings of the journal: the same proposals."""
    sweep = make(sweep_data, write_yaml, trials=14, sampler=sampler)
    whole = drive(sweep, optimizer_of(sweep, tmp_path / "a.log"), 14)
    parts = []
    for count in (5, 6, 3):
        parts += drive(sweep, optimizer_of(sweep, tmp_path / "b.log"), count)
    assert parts == whole
    assert optimizer_of(sweep, tmp_path / "b.log").num_finished() == 14


def test_running_trials_are_found_again_and_end_once(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    sweep = make(sweep_data, write_yaml)
    optimizer = optimizer_of(sweep, tmp_path / "s.log")
    first, second = optimizer.ask(), optimizer.ask()
    assert first is not None
    assert second is not None
    tell_end(optimizer, sweep, finished(first))
    again = optimizer_of(sweep, tmp_path / "s.log")
    assert again.running() == [second]
    assert again.values(first.trial_id) == first.values
    again.tell_failed(second.trial_id, "killed for memory")
    again.tell_failed(first.trial_id, "too late to fail")
    tell_end(again, sweep, finished(second))
    assert again.states() == {first.trial_id: "COMPLETE", second.trial_id: "FAIL"}
    assert again.reason(second.trial_id) == "killed for memory"
    assert again.num_finished() == 2


def test_finite_space_is_walked_once(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    space = {"fine_tune.steps": {"choices": [0, 1, 2]}, "seed": {"choices": [0, 1]}}
    sweep = make(sweep_data, write_yaml, space=space)
    optimizer = optimizer_of(sweep, tmp_path / "s.log")
    requested = drive(sweep, optimizer, 6)
    assert len({tuple(p.values.items()) for p in requested}) == 6
    assert optimizer.ask() is None
    assert optimizer.num_finished() == 6


def test_constraints_reach_the_sampler(
    sweep_data: dict[str, Any], write_yaml: Any, tmp_path: Path
) -> None:
    sweep = make(sweep_data, write_yaml, constraints={"GFLOPs": {"max": 4.0}}, trials=12)
    optimizer = optimizer_of(sweep, tmp_path / "s.log")
    drive(sweep, optimizer, 12)
    best = optimizer._study.best_trials
    assert best
    assert all(t.values[2] <= 4.0 for t in best)


@pytest.mark.parametrize("storage", [None, "journal.log", "sqlite:///{folder}/study.db"])
def test_any_function_can_be_searched(storage: str | None, tmp_path: Path) -> None:
    """No sweep, no Ray: two objectives of a plain function, from a file, a database or memory."""
    space = {"x": Range(low=0.0, high=1.0), "n": Range(low=1, high=3), "k": Choices(choices=["a"])}
    if storage == "journal.log":
        storage = str(tmp_path / storage)
    elif storage is not None:
        storage = storage.format(folder=tmp_path)
    first = [{"x": 0.25, "n": 2, "k": "a"}]
    optimizer = Optimizer(
        space, {"loss": "min", "gain": "max"}, storage, seed=1, sampler="random", first=first
    )
    for number in range(8):
        trial_id, values = optimizer.ask()  # type: ignore[misc]
        assert trial_id == number
        assert isinstance(values["n"], int) and isinstance(values["x"], float)
        if number == 0:
            assert values == first[0]
        optimizer.tell(trial_id, {"loss": values["x"], "gain": values["n"]})
    assert optimizer.num_finished() == 8
    if storage is not None:
        again = Optimizer(space, {"loss": "min", "gain": "max"}, storage, seed=1, sampler="random")
        assert again.num_finished() == 8


def test_front_trials_and_table_tell_how_each_trial_stands() -> None:
    """(gain, cost): (1, 1) and (2, 2) beat nobody and are beaten by nobody; (1, 3) is beaten; one
    failed, one is under way.
    """
    optimizer = Optimizer({"x": (0.0, 1.0)}, {"gain": "max", "cost": "min"}, sampler="random")
    for gain, cost in ((1.0, 1.0), (2.0, 2.0), (1.0, 3.0)):
        optimizer.tell(optimizer.ask().trial_id, {"gain": gain, "cost": cost})  # type: ignore[union-attr]
    optimizer.tell_failed(optimizer.ask().trial_id, "out of luck")  # type: ignore[union-attr]
    optimizer.ask()
    assert [told.trial_id for told in optimizer.front()] == [0, 1]
    assert optimizer.front()[1].objectives == {"gain": 2.0, "cost": 2.0}
    states = [told.state for told in optimizer.trials()]
    assert states == ["COMPLETE"] * 3 + ["FAIL", "RUNNING"]
    assert optimizer.trials()[3].reason == "out of luck"
    table = optimizer.to_pandas()
    assert list(table.columns) == ["trial", "state", "x", "gain", "cost", "front", "reason"]
    assert list(table["front"]) == [True, True, False, False, False]
    assert table["gain"].isna().sum() == 2


def test_values_that_are_no_numbers_fail_the_trial() -> None:
    optimizer = Optimizer({"x": Range(low=0.0, high=1.0)}, {"loss": "min"}, sampler="random")
    for outcome, reason in (
        ({"loss": float("nan")}, "loss: value nan; allowed: a finite number"),
        ({"lost": 1.0}, "loss: value None; allowed: a finite number"),
        (None, "killed"),
    ):
        proposal = optimizer.ask()
        assert proposal is not None
        if outcome is None:
            optimizer.tell_failed(proposal.trial_id, reason)
        else:
            optimizer.tell(proposal.trial_id, outcome)
        assert optimizer.reason(proposal.trial_id) == reason
    assert set(optimizer.states().values()) == {"FAIL"}


def test_space_may_be_written_as_in_a_sweep_file() -> None:
    space = {
        "pair": (0.0, 1.0),
        "whole": (1, 3),
        "log": {"low": 1e-4, "high": 1e-1, "log": True},
        "word": {"choices": ["a", {"name": "b"}, None]},
        "own": Range(low=0.0, high=1.0),
    }
    first = [{"pair": 1.0, "whole": 3, "log": 1e-4, "word": {"name": "b"}, "own": 0.5}]
    optimizer = Optimizer(space, {"loss": "min"}, sampler="random", first=first)
    requested = [optimizer.ask() for _ in range(6)]
    assert requested[0] is not None and requested[0].values == first[0]
    for proposal in requested:
        assert proposal is not None
        values = proposal.values
        assert isinstance(values["whole"], int) and 1 <= values["whole"] <= 3
        assert isinstance(values["pair"], float) and 0.0 <= values["pair"] <= 1.0
        assert isinstance(values["log"], float) and 1e-4 <= values["log"] <= 1e-1
        assert values["word"] in ("a", {"name": "b"}, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objectives": {"loss": "minimize"}}, "objectives.loss: value 'minimize'; allowed: max"),
        ({"objectives": ["loss"]}, "objectives: value ['loss']; allowed: {name: "),
        ({"objectives": {}}, "objectives: value {}; allowed: {name"),
        ({"sampler": "gpp"}, "sampler: value 'gpp' (did you mean gp?); allowed: auto, gp, tpe, "),
        ({"seed": "one"}, "seed: value 'one'; allowed: a whole number"),
        ({"space": {}}, "space: value {}; allowed: field names, each with {low: X, high: Y"),
        ({"space": {"x": (0, 1, 2)}}, "space.x: value (0, 1, 2); allowed: {low: X, high: Y"),
        ({"space": {"x": (1.0, 0.0)}}, "space.x: field high: value 0.0; allowed: above low (1.0)"),
        ({"space": {"x": ("a", "b")}}, "space.x: field low: value 'a'; allowed: "),
        ({"space": {"x": {"low": 0, "hihg": 1}}}, "space.x: field hihg: unknown key (did you mean"),
        ({"space": {"x": {"choices": []}}}, "choices: value []; allowed: at least one value"),
        ({"space": {"x": (0.0, float("inf"))}}, "space.x: "),
        ({"first": [{"y": 0.5}]}, "first: no field 'y'; allowed: x"),
        ({"first": [{"x": 2.0}]}, "first.x: value 2.0; allowed: FloatDistribution(high=1.0"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_in_one_line(fields: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"space": {"x": (0.0, 1.0)}, "objectives": {"loss": "min"}, **fields}
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        Optimizer(**given)
    assert "\n" not in str(raised.value)


def test_telling_what_was_never_requested_is_refused() -> None:
    optimizer = Optimizer({"x": (0.0, 1.0)}, {"loss": "min"}, sampler="random")
    with pytest.raises(InputError, match=r"trial id: value 0; .* ask\(\) gave, none yet"):
        optimizer.tell(0, {"loss": 1.0})
    requested = optimizer.ask()
    assert requested is not None
    for wrong in (99, -1):
        message = f"trial id: value {wrong}; allowed: those that ask() gave, 0 to 0"
        for use in (lambda i: optimizer.tell(i, {"loss": 1.0}), optimizer.values, optimizer.reason):
            with pytest.raises(InputError, match=re.escape(message)):
                use(wrong)
    with pytest.raises(
        InputError, match=r"tell: value 0.5; allowed: a number for each of loss; tell_failed"
    ):
        optimizer.tell(requested.trial_id, 0.5)  # type: ignore[arg-type]
    optimizer.tell(requested.trial_id, {"loss": 0.5})
    assert optimizer.states() == {0: "COMPLETE"}


def test_search_of_other_objectives_is_refused(tmp_path: Path) -> None:
    Optimizer({"x": (0.0, 1.0)}, {"loss": "min"}, tmp_path / "s.log")
    with pytest.raises(InputError, match="its search 'search' has other objectives: loss; allowed"):
        Optimizer({"x": (0.0, 1.0)}, {"loss": "min", "gain": "max"}, tmp_path / "s.log")


def test_programs_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/search.md has two programs that run as they stand there."""
    page = (paths.CHECKOUT / "docs" / "search.md").read_text()
    plain, guided = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert plain.count("\n") <= 10
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(plain, found)
    assert found["optimizer"].num_finished() == 20
    assert (tmp_path / "search.log").is_file()
    exec(guided, found)
    assert found["optimizer"].num_finished() == 8
    assert found["optimizer"].agreement()["mAP"].recalibrated > 0.9


def test_space_without_real_numbers_is_walked_to_its_end() -> None:
    """100 trials of 10 x 10, though draws at random miss the last ones."""
    space = {"x": {"choices": list(range(10))}, "y": {"low": 1, "high": 10}}
    optimizer = Optimizer(space, {"loss": "min"}, sampler="random")
    seen = set()
    while (requested := optimizer.ask()) is not None:
        seen.add((requested.values["x"], requested.values["y"]))
        optimizer.tell(requested.trial_id, {"loss": 0.5})
    assert len(seen) == optimizer.num_finished() == 100


def test_constraint_unknown_of_skipped_trials_still_counts() -> None:
    """Of trials that never were trained only costs are known: the sampler goes on, and the known
    constraint counts.
    """
    optimizer = Optimizer({"x": (0.0, 1.0)}, {"gain": "max", "cost": "min"}, sampler="gp")
    for number in range(12):
        requested = optimizer.ask()
        assert requested is not None
        x = float(requested.values["x"])  # type: ignore[arg-type]
        values = {"gain": x, "cost": x}
        if number % 3 == 2:
            excess = {"cost<=0.5": x - 0.5} if x > 0.5 else {}
            optimizer.tell_stopped(requested.trial_id, "dominated", values, excess, free=True)
        else:
            optimizer.tell(requested.trial_id, values, {"gain>=0.1": 0.1 - x, "cost<=0.5": x - 0.5})
    assert {"gain>=0.1", "cost<=0.5"} == optimizer._past()[2].constraints.keys()


def test_estimate_that_is_no_number_is_left_out() -> None:
    optimizer = Optimizer({"x": (0.0, 1.0)}, {"gain": "max", "cost": "min"}, first=[])
    for _ in range(10):
        requested = optimizer.ask()
        assert requested is not None
        estimate = {"gain": float("nan"), "cost": 1.0}
        optimizer.tell_stopped(requested.trial_id, "not among the best", estimate)
    assert optimizer.num_finished() == 10


def test_adopted_results_count_for_nothing_and_are_not_tried_again() -> None:
    """What is adopted is not asked for again and counts for nothing, equal to a first one or not;
    one that was never told is adopted anew.
    """
    first = [{"x": 0.0}, {"x": 0.5}, {"x": 1.0}]
    optimizer = Optimizer({"x": (0.0, 1.0)}, {"loss": "min"}, first=first, sampler="random")
    for x in (0.3, 0.5):
        number = optimizer.adopt({"x": x})
        assert number is not None and optimizer.adopt({"x": x}) == number
        optimizer.tell(number, {"loss": x})
        assert optimizer.adopt({"x": x}) is None
    assert optimizer.num_finished() == 0
    requested = [optimizer.ask() for _ in range(2)]
    assert [a.values["x"] for a in requested if a is not None] == [0.0, 1.0]


def test_search_of_another_space_is_refused(tmp_path: Path) -> None:
    """Its trials would not be those of the new one; the same space is opened again."""
    log, objectives = tmp_path / "s.log", {"loss": "min"}
    Optimizer({"x": (0.0, 0.5)}, objectives, log)  # type: ignore[arg-type]
    Optimizer({"x": (0.0, 0.5)}, objectives, log)  # type: ignore[arg-type]
    for space in ({"x": (0.0, 0.9)}, {"x": (0.0, 0.5), "y": (0, 1)}, {"y": (0, 1)}):
        with pytest.raises(InputError, match=r"its search 'search' has another space, with [xy] "):
            Optimizer(space, objectives, log)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="other objectives: loss; allowed"):
        Optimizer({"x": (0.0, 0.5)}, {"cost": "min"}, log)


def test_search_of_an_earlier_version_is_opened_by_its_trials(tmp_path: Path) -> None:
    """Its trials say what the space was; a wrong call leaves nothing behind that refuses the right
    one.
    """
    log, space = tmp_path / "s.log", {"x": (0.0, 0.5)}
    old = optuna.create_study(
        study_name="search", directions=["minimize"],
        storage=JournalStorage(JournalFileBackend(str(log))),
    )  # fmt: skip
    old.add_trial(
        optuna.trial.create_trial(
            values=[1.0], params={"x": 0.2}, distributions={"x": FloatDistribution(0.0, 0.5)}
        )
    )
    with pytest.raises(InputError, match="other objectives: min; allowed"):
        Optimizer(space, {"loss": "min", "gain": "max"}, log)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="another space, with x"):
        Optimizer({"x": (0.0, 0.9)}, {"loss": "min"}, log)
    assert Optimizer(space, {"loss": "min"}, log).num_finished() == 1  # type: ignore[arg-type]
    assert Optimizer(space, {"loss": "min"}, log).num_finished() == 1  # type: ignore[arg-type]
