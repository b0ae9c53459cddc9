"""The verbs that show what a sweep found: its front, in a terminal, as files, in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from search.answers import as_json, require_sweep
from search.verbs.sweeps import RUNS

if TYPE_CHECKING:
    from search.inspection.sweep_view import SweepView


@dataclass(frozen=True, kw_only=True)
class Front:
    """Print the Pareto front of a sweep, or of several over one another; save pictures, a report,
    a table.
    """

    names: Positional[tuple[str, ...]]
    """Name of the sweep; of several, to lay them over one another."""
    json: bool = False
    """One JSON document on stdout."""
    sketch: bool = False
    """Also a small picture of characters."""
    plot: Path | None = None
    """Also save the picture: FILE.png, or FILE.html to hover over."""
    html: Path | None = None
    """Also save the whole report as one HTML file that needs no network."""
    table: Path | None = None
    """Also save all finished trials as a table: FILE.parquet (one sweep)."""
    charts: Path | None = None
    """Also save every chart, as PNG and HTML, with report and table, in a folder (one sweep)."""
    out: str = RUNS
    """Folder of all runs, or a URI."""

    def run(self) -> str:
        self._check()
        from search.inspection.sweep_view import read_view

        views = [read_view(name, self.out) for name in self.names]
        return self._one(views[0]) if len(views) == 1 else self._several(views)

    def _check(self) -> None:
        """ValueError for a wrong option, before anything heavy is imported."""
        from search.inspection.charts.files import check_suffix

        for option, path, allowed in (
            ("--plot", self.plot, (".png", ".html")),
            ("--html", self.html, (".html",)),
            ("--table", self.table, (".parquet",)),
        ):
            if path is not None:
                check_suffix(option, path, allowed)
        if not self.names:
            from search.runs.run_store import list_sweeps

            known = ", ".join(list_sweeps(self.out)) or "none yet"
            raise ValueError(f"front: no sweep named; known in {self.out}: {known}")
        for name in self.names:
            require_sweep(name, self.out)
        for option, given in (("--table", self.table), ("--charts", self.charts)):
            if given is not None and len(self.names) > 1:
                raise ValueError(f"{option}: is of one sweep; allowed with several: --plot, --html")

    def _one(self, view: SweepView) -> str:
        from search.inspection.files_of_sweep import save_all
        from search.inspection.front_table import save_table
        from search.inspection.pages.sweep_page import sweep_page
        from search.inspection.plots import save_view
        from search.inspection.sweep_view import require_finished
        from search.inspection.terminal import scatter
        from search.runs.run_store import write_bytes

        if self.plot or self.html or self.table or self.charts:
            require_finished(view)
        _saved("--plot", self.plot, lambda path: save_view(view, path))
        _saved("--html", self.html, lambda path: write_bytes(path, sweep_page(view).encode()))
        _saved("--table", self.table, lambda path: save_table(view, path))
        _saved("--charts", self.charts, lambda path: save_all(view, path))
        if self.json:
            agreement = {name: asdict(found) for name, found in view.agreement.items()}
            return as_json({**view.front.to_dict(), "agreement": agreement})
        table = "\n".join(
            [view.front.table(), *(found.said(name) for name, found in view.agreement.items())]
        )
        sketch = scatter([view]) if self.sketch else ""
        return "\n\n".join(part for part in (table, sketch) if part)

    def _several(self, views: list[SweepView]) -> str:
        from search.inspection.charts import fronts_overlaid
        from search.inspection.charts.files import save_picture
        from search.inspection.overlay import overlay, text_table, to_dict
        from search.inspection.pages.overlay_page import overlay_page
        from search.inspection.terminal import scatter
        from search.runs.run_store import write_bytes

        found = overlay(views)

        def page(path: Path) -> None:
            write_bytes(path, overlay_page(found).encode())

        def plot(path: Path) -> None:
            if path.suffix.lower() == ".html":
                page(path)
            else:
                save_picture(fronts_overlaid.picture(found), path)

        _saved("--plot", self.plot, plot)
        _saved("--html", self.html, page)
        if self.json:
            return as_json(to_dict(found))
        sketch = scatter(views) if self.sketch else ""
        return "\n\n".join(part for part in (text_table(found), sketch) if part)


def _saved(option: str, path: Path | None, save: Callable[[Path], None]) -> None:
    """Saves to the path of an option, if given, and says so."""
    from search.inspection.charts.files import writable

    if path is not None:
        with writable(option, path):
            save(path)
        print(f"saved {path}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Ui:
    """Show a sweep in MLflow: starts its server on this machine alone, until Ctrl-C."""

    name: Positional[str]
    """Name of the sweep."""
    port: int | None = None
    """Port of the server; default: a free one."""
    out: str = RUNS
    """Folder of all runs, or a URI."""

    def run(self) -> str:
        from search.inspection.mlflow_page import HOST, free_port, look_of, served, until_told
        from search.runs.passwords import masked
        from search.runs.run_store import run_folder

        look = look_of(run_folder(self.out, self.name).pulled())
        if look.served:
            return f"{masked(look.tracking_uri).rstrip('/')}/{look.page}"
        port = free_port(self.port)
        print("starting MLflow ...", file=sys.stderr, flush=True)
        with until_told(), served(look, port) as server:
            link = f"http://{HOST}:{port}/{look.page}"
            print(link, file=sys.__stdout__, flush=True)
            print("Ctrl-C ends it", file=sys.stderr, flush=True)
            server.wait()
        return "MLflow's server has ended"
