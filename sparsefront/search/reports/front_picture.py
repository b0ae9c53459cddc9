"""The front as a picture (PNG) or as a page (HTML with all its script inside)."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

from sparsefront.files.atomic import write_bytes
from sparsefront.files.outputs import check_suffix
from sparsefront.search.reports.charts import FRONT
from sparsefront.search.reports.charts.files import save_picture
from sparsefront.search.reports.pages.sweep_page import chart_page
from sparsefront.search.reports.sweep_view import SweepView
from sparsefront.search.runs.front import ParetoFront
from sparsefront.search.runs.trial_reader import StoredTrial


def save_front(front: ParetoFront, path: Path, marked: StoredTrial | None = None) -> None:
    """Writes PATH, .png or .html by its suffix; `marked` (default: the knee) gets a ring."""
    save_view(SweepView(front=front, marked=marked), path)


def figure_of(front: ParetoFront) -> Any:
    """A matplotlib figure of the front, the knee ringed; a notebook shows it as it is."""
    figure = FRONT.picture(SweepView(front=front))
    figure._repr_png_ = partial(_png, figure)  # what notebooks ask an object for
    return figure


def _png(figure: Any) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=90, bbox_inches="tight")
    return held.getvalue()


def save_view(view: SweepView, path: Path) -> None:
    """The same of a sweep with its constraints, baselines and searched values."""
    path = Path(path)
    check_suffix("plot", path, (".png", ".html"))
    if path.suffix.lower() == ".png":
        save_picture(FRONT.picture(view), path)
    else:
        write_bytes(path, (chart_page(view, FRONT) or "").encode())
