"""Everything one looks at after a sweep, as files in its folder: charts, report, table."""

from __future__ import annotations

import sys
from pathlib import Path

from sparsefront.errors import one_line_with_type
from sparsefront.files.atomic import write_bytes
from sparsefront.search.reports.charts import CHARTS, FRONT, Chart
from sparsefront.search.reports.charts.files import save_picture
from sparsefront.search.reports.charts.front_pairs import small_picture
from sparsefront.search.reports.front_table import save_table
from sparsefront.search.reports.pages.sweep_page import chart_page, sweep_page
from sparsefront.search.reports.sweep_view import SweepView

FRONT_FILES = ("front.png", "front.html", "small.png")
REPORT_FILES = ("report.html", "front.parquet")


def save_front_files(view: SweepView, folder: Path) -> None:
    """FOLDER/front.png, front.html and small.png, as far as the sweep has come."""
    save_picture(FRONT.picture(view), folder / "front.png")
    save_picture(small_picture(view), folder / "small.png")
    write_bytes(folder / "front.html", (chart_page(view, FRONT) or "").encode())


def save_all(view: SweepView, folder: Path) -> None:
    """The files of the front, report.html, front.parquet, and charts/NAME.png and .html for every
    chart that applies to the sweep. A chart that cannot be drawn is told on stderr: the sweep's
    results are worth more than its pictures.
    """
    save_front_files(view, folder)
    save_table(view, folder / "front.parquet")
    if not view.trials:
        return
    drawn = []
    for chart in CHARTS:
        try:
            _save(view, chart, folder / "charts")
            drawn.append(chart)
        except OSError:
            raise
        except Exception as error:
            reason = one_line_with_type(error, 200)
            print(f"chart {chart.name!r} cannot be drawn: {reason}", file=sys.stderr)
    write_bytes(folder / "report.html", sweep_page(view, drawn).encode())


def files_in(folder: Path) -> list[Path]:
    """All of these files that a sweep's folder has."""
    named = [folder / name for name in (*FRONT_FILES, *REPORT_FILES)]
    return [*named, *sorted((folder / "charts").glob("*"))]


def _save(view: SweepView, chart: Chart, folder: Path) -> None:
    picture, page = chart.picture(view), chart_page(view, chart)
    if picture is not None:
        save_picture(picture, folder / f"{chart.name}.png")
    if page is not None:
        write_bytes(folder / f"{chart.name}.html", page.encode())
