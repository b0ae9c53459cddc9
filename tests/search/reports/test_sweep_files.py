"""Everything one looks at after a sweep, as files in its folder."""

from __future__ import annotations

from pathlib import Path

from sparsefront.search.reports.charts import CHARTS
from sparsefront.search.reports.sweep_files import save_all
from sparsefront.search.reports.sweep_view import SweepView


def test_save_all_writes_front_report_table_and_every_chart(
    view: SweepView, tmp_path: Path
) -> None:
    save_all(view, tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    names = {f"charts/{c.name}{suffix}" for c in CHARTS for suffix in (".png", ".html")}
    assert found == names | {
        "front.png", "front.html", "small.png", "report.html", "front.parquet",
    }  # fmt: skip
