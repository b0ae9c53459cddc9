"""What MLflow's page of a sweep shows of its front: files, and the run's description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparsefront.search.config.trial_result import TrialResult
from sparsefront.search.reports.sweep_files import FRONT_FILES, REPORT_FILES
from sparsefront.search.runs.front import ParetoFront, format_value

NOTE = "mlflow.note.content"
LONGEST_NOTE = 7500  # MLflow takes tags of 8000 characters


def log_front(client: Any, experiment: str, run: str, front: ParetoFront, folder: Path) -> None:
    """The front so far: its page and pictures under `front/`, and the description."""
    _log(client, run, [folder / name for name in FRONT_FILES], "front")
    client.set_tag(run, NOTE, note(front, experiment, run, finished=False))


def log_all(client: Any, experiment: str, run: str, front: ParetoFront, folder: Path) -> None:
    """At the end: also report and table under `front/`, every chart under `charts/`."""
    _log(client, run, [folder / name for name in (*FRONT_FILES, *REPORT_FILES)], "front")
    _log(client, run, sorted((folder / "charts").glob("*.*")), "charts")
    client.set_tag(run, NOTE, note(front, experiment, run, finished=True))


def note(front: ParetoFront, experiment: str, run: str, *, finished: bool) -> str:
    """Markdown: the front in a sentence, where the pages are, its picture and its table. MLflow
    shows pictures by relative address only, never data URIs, and the first lines until one asks for
    more.
    """
    pages = {"interactive front": "front/front.html"}
    pages |= {"full report": "front/report.html"} if finished else {}
    links = ", ".join(f"[{name}]({_page(experiment, run, path)})" for name, path in pages.items())
    text = "\n\n".join(
        [
            _sentence(front),
            f"Pages: {links}{'; every chart: artifacts, folder `charts`' if finished else ''}.",
            f"![front](get-artifact?path=front%2Fsmall.png&run_uuid={run})",
            f"```\n{_table(front)}\n```",
            f"Export a point: `sparsefront export {front.name} --pick knee --out DIR`",
        ]
    )
    return text


def _sentence(front: ParetoFront) -> str:
    tried = len(front.points) + len(front.others)
    text = (
        f"**{len(front.points)} of {tried} trials on the Pareto front** of "
        f"{', '.join(o.name for o in front.objectives)}, hypervolume {front.hypervolume:.4f}."
    )
    if front.dense is not None:
        text += f" Dense model: {_values(front, front.dense)}."
    if not front.points:
        return text
    knee = front.knee()
    values = _values(front, knee.result)
    removed = knee.result.metrics["sparsity"]
    return (
        f"{text} Knee: trial {knee.trial_id}, {values}, {100 * removed:.0f} % of weights removed."
    )


def _values(front: ParetoFront, result: TrialResult) -> str:
    return ", ".join(f"{o.name} {format_value(o.function(result))}" for o in front.objectives)


def _table(front: ParetoFront) -> str:
    """As many rows as fit, evenly over the front."""
    head, *rows, last = front.table().splitlines()
    fitting = max(2, LONGEST_NOTE * 3 // 4 // (len(head) + 8))
    if len(rows) > fitting:
        step = (len(rows) - 1) / (fitting - 1)
        rows = [rows[round(step * at)] for at in range(fitting)]
        rows.append(f"... {fitting} of {len(front.points)} points; all: artifact front/front.json")
    return "\n".join([head, *rows, last])


def _page(experiment: str, run: str, path: str) -> str:
    return f"#/experiments/{experiment}/runs/{run}/artifacts/{path}?workflowType=machine_learning"


def _log(client: Any, run: str, files: list[Path], folder: str) -> None:
    for file in files:
        if file.is_file():
            client.log_artifact(run, str(file), folder)
