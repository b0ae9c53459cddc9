"""Everything one looks at after a sweep, as files in its folder: charts, report, table."""

from __future__ import annotations

from pathlib import Path

from search.inspection.charts import CHARTS, FRONT
from search.inspection.charts.files import put, save_picture
from search.inspection.front_table import save_table
from search.inspection.pages.sweep_page import chart_page, sweep_page
from search.inspection.sweep_view import SweepView


def save_front_files(view: SweepView, folder: Path) -> None:
    """FOLDER/front.png and FOLDER/front.html, as far as the sweep has come."""
    save_picture(FRONT.picture(view), folder / "front.png")
    page = chart_page(view, FRONT)
    if page is not None:
        put(folder / "front.html", page.encode())


def save_all(view: SweepView, folder: Path) -> None:
    """front.png, front.html, report.html, front.parquet, and charts/NAME.png and .html for every
    chart that applies to the sweep.
    """
    save_front_files(view, folder)
    for chart in CHARTS:
        picture, page = chart.picture(view), chart_page(view, chart)
        if picture is not None:
            save_picture(picture, folder / "charts" / f"{chart.name}.png")
        if page is not None:
            put(folder / "charts" / f"{chart.name}.html", page.encode())
    put(folder / "report.html", sweep_page(view).encode())
    save_table(view, folder / "front.parquet")
