"""Pages hold everything they need, and say what the sweep was."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.reports.charts import CHARTS
from sparsefront.search.reports.front_table import table
from sparsefront.search.reports.overlay import overlay
from sparsefront.search.reports.pages.overlay_page import overlay_page
from sparsefront.search.reports.pages.sweep_page import chart_page, sweep_page
from sparsefront.search.reports.sweep_files import save_all
from sparsefront.search.reports.sweep_view import Ended, SweepView

LOADS = {"src", "href", "srcset", "data", "poster", "action"}
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


class Loaded(HTMLParser):
    """Addresses that a page would load, and its ids."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in LOADS]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def pages_of(made: SweepView) -> dict[str, str]:
    charts = {chart.name: chart_page(made, chart) or "" for chart in CHARTS}
    return {**charts, "report": sweep_page(made)}


def test_pages_load_nothing(made: SweepView) -> None:
    for name, page in pages_of(made).items():
        found = Loaded()
        found.feed(page)
        assert all(a.startswith(("#", "data:")) for a in found.addresses), name
        assert not re.search(r"url\(|@import|https?://", page), name
        assert len(found.ids) == len(set(found.ids)), name


def test_report_has_one_copy_of_the_script_and_every_chart(made: SweepView) -> None:
    page = sweep_page(made)
    assert page.count('id="plotly"') == 1 and len(page) < 3e6
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.S).group(1))  # type: ignore[union-attr]
    assert len(figures) == sum(len(chart.pages(made)) for chart in CHARTS) == 13
    for chart in CHARTS:
        assert f"<h2>{chart.heading}</h2>" in page


def test_report_says_what_the_sweep_was(made: SweepView, view_of: Any) -> None:
    endings = (
        *made.ends,
        Ended(trial_id=7, how="failed", seconds=1.0, cpu_s=0.0, reason="out of <memory>"),
        Ended(trial_id=8, how="stopped", seconds=1.0, cpu_s=0.0, reason="rung 1 of 1"),
        Ended(trial_id=9, how="stopped", seconds=1.0, cpu_s=0.0, reason="rung 1 of 1"),
    )
    view = SweepView(front=made.front, sweep=made.sweep, values=made.values, endings=endings)
    page = sweep_page(view)
    for text in (
        "mAP (max), NDS (max), GFLOPs (min)", "allocation.per_modality.camera", "0 to 0.9",
        "out of &lt;memory&gt;", "<td class=\"text\">8, 9</td>", "<dt>failed</dt><dd>1</dd>",
    ):  # fmt: skip
        assert text in page


def test_names_from_outside_are_escaped(view_of: Any) -> None:
    page = sweep_page(view_of([(0.8, 9.0, 0.5), (0.7, 5.0, 0.5)], name="</script><b>x"))
    assert "<b>x" not in page and "</script><" not in page.replace("</script>\n<", "")


def test_all_files_of_a_sweep(made: SweepView, tmp_path: Path) -> None:
    save_all(made, tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    names = {f"charts/{c.name}{suffix}" for c in CHARTS for suffix in (".png", ".html")}
    assert found == names | {
        "front.png", "front.html", "small.png", "report.html", "front.parquet",
    }  # fmt: skip


def test_table_has_a_row_a_trial_and_its_units(made: SweepView) -> None:
    found = table(made)
    rows = found.to_pylist()
    assert [r["trial"] for r in rows if r["on_front"]] == [p.trial_id for p in made.front.points]
    assert len(rows) == 7 and sum(r["knee"] for r in rows) == 1
    first = rows[0]
    assert (first["mAP"], first["GFLOPs"], first["removed.camera.backbone"]) == (0.8, 9.0, 0.875)
    assert first["field.allocation.per_modality.camera"] == pytest.approx(0.1)
    described = found.schema.metadata
    assert json.loads(described[b"objectives"]) == {"mAP": "max", "NDS": "max", "GFLOPs": "min"}
    assert "2 x MACs" in json.loads(described[b"units"])["GFLOPs"]


@pytest.mark.long
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_pages_open_without_a_network(made: SweepView, view_of: Any, tmp_path: Path) -> None:
    """Every page, in one browser each: drawn, and nothing on the console."""
    other = view_of([(0.75, 9.0, 0.5), (0.7, 4.0, 0.6)], name="other")
    pages = {"report": sweep_page(made), "overlay": overlay_page(overlay([made, other]))}
    for name, page in pages.items():
        file = tmp_path / f"{name}.html"
        file.write_text(page)
        done = subprocess.run(
            [
                CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
                "--enable-unsafe-swiftshader", "--enable-logging=stderr", "--v=0",
                "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / name}",
                "--virtual-time-budget=20000", "--window-size=390,800", file.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        wrong = [line for line in said if "rror" in line or "Uncaught" in line]
        assert not wrong, wrong
        for number in range(page.count('class="chart"')):
            part = done.stdout.split(f'id="chart-{number}"')[1].split('id="chart-')[0]
            assert "main-svg" in part, f"{name}: chart {number} is blank"
