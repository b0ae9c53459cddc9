"""Pages hold everything they need, and say what the sweep was."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sparsefront.search.config.trial_result import TrialEnd
from sparsefront.search.reports.charts import CHARTS
from sparsefront.search.reports.overlay import overlay
from sparsefront.search.reports.pages.overlay_page import overlay_page
from sparsefront.search.reports.pages.sweep_page import chart_page, sweep_page
from sparsefront.search.reports.sweep_view import SweepView

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


def pages_of(view: SweepView) -> dict[str, str]:
    charts = {chart.name: chart_page(view, chart) or "" for chart in CHARTS}
    return {**charts, "report": sweep_page(view)}


def test_pages_load_nothing(view: SweepView) -> None:
    for name, page in pages_of(view).items():
        found = Loaded()
        found.feed(page)
        assert all(a.startswith(("#", "data:")) for a in found.addresses), name
        assert not re.search(r"url\(|@import|https?://", page), name
        assert len(found.ids) == len(set(found.ids)), name


def test_report_has_one_copy_of_the_script_and_every_chart(view: SweepView) -> None:
    page = sweep_page(view)
    assert page.count('id="plotly"') == 1 and len(page) < 3e6
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.S).group(1))  # type: ignore[union-attr]
    assert len(figures) == sum(len(chart.pages(view)) for chart in CHARTS) == 13
    for chart in CHARTS:
        assert f"<h2>{chart.heading}</h2>" in page


def test_report_says_what_the_sweep_was(view: SweepView) -> None:
    ends = (
        *view.ends,
        TrialEnd.failed(7, "out of <memory>"),
        TrialEnd.stopped(8, "rung 1 of 1", {}),
        TrialEnd.stopped(9, "rung 1 of 1", {}),
    )
    page = sweep_page(replace(view, ends=ends))
    for text in (
        "mAP (max), NDS (max), GFLOPs (min)", "allocation.per_modality.camera", "0 to 0.9",
        "out of &lt;memory&gt;", "<td class=\"text\">8, 9</td>", "<dt>failed</dt><dd>1</dd>",
    ):  # fmt: skip
        assert text in page


def test_names_from_outside_are_escaped(view_of: Any) -> None:
    page = sweep_page(view_of([(0.8, 9.0, 0.5), (0.7, 5.0, 0.5)], name="</script><b>x"))
    assert "<b>x" not in page and "</script><" not in page.replace("</script>\n<", "")


@pytest.mark.long
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_pages_open_without_a_network(view: SweepView, view_of: Any, tmp_path: Path) -> None:
    """Every page, in one browser each: drawn, and nothing on the console."""
    other = view_of([(0.75, 9.0, 0.5), (0.7, 4.0, 0.6)], name="other")
    pages = {"report": sweep_page(view), "overlay": overlay_page(overlay([view, other]))}
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
