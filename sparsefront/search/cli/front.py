"""The verbs that show what a sweep found: its front, in a terminal, as files, in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from sparsefront.errors import InputError
from sparsefront.files.atomic import write_bytes
from sparsefront.files.outputs import check_suffix, writable
from sparsefront.search.cli.output import as_json, require_sweep
from sparsefront.search.runs.run_folder import RUNS, RunFolder, list_sweeps, run_folder

if TYPE_CHECKING:
    from sparsefront.search.reports.sweep_view import SweepView


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
    runs: str = RUNS
    """Folder of all runs, or a URI."""

    def run(self) -> str:
        self._check()
        if len(self.names) > 1:
            from sparsefront.search.reports.sweep_view import read_view

            return self._several([read_view(name, self.runs) for name in self.names])
        run = run_folder(self.runs, self.names[0]).require().pull()
        drawn = self._drawn(run)
        return self._printed(run, drawn)

    def _check(self) -> None:
        """InputError for a wrong option, before anything heavy is imported."""
        for option, path, allowed in (
            ("--plot", self.plot, (".png", ".html")),
            ("--html", self.html, (".html",)),
            ("--table", self.table, (".parquet",)),
        ):
            if path is not None:
                check_suffix(option, path, allowed)
        if not self.names:
            known = ", ".join(list_sweeps(self.runs)) or "none yet"
            raise InputError(f"front: no sweep named; known in {self.runs}: {known}")
        for name in self.names:
            require_sweep(name, self.runs)
        for option, given in (("--table", self.table), ("--charts", self.charts)):
            if given is not None and len(self.names) > 1:
                raise InputError(f"{option}: is of one sweep; allowed with several: --plot, --html")

    def _printed(self, run: RunFolder, sketch: str) -> str:
        """From what the folder says of finished trials alone: no model, no chart is loaded."""
        from sparsefront.search.runs.agreement_file import read_agreement
        from sparsefront.search.runs.front import front_of

        front, agreement = front_of(run), read_agreement(run)
        if self.json:
            found = {name: asdict(values) for name, values in agreement.items()}
            return as_json({**front.to_dict(), "agreement": found})
        lines = [front.table(), *(found.sentence(name) for name, found in agreement.items())]
        return "\n\n".join(part for part in ("\n".join(lines), sketch) if part)

    def _drawn(self, run: RunFolder) -> str:
        """Saves the files asked for; returns the sketch, if asked for."""
        wants_files = self.plot or self.html or self.table or self.charts
        if not wants_files and not self.sketch:
            return ""
        from sparsefront.search.reports.front_picture import save_view
        from sparsefront.search.reports.front_table import save_table
        from sparsefront.search.reports.pages.sweep_page import sweep_page
        from sparsefront.search.reports.sweep_files import save_all
        from sparsefront.search.reports.sweep_view import require_finished, view_of
        from sparsefront.search.reports.terminal import scatter

        view = view_of(run)
        if wants_files:
            require_finished(view)
        _saved("--plot", self.plot, lambda path: save_view(view, path))
        _saved("--html", self.html, lambda path: write_bytes(path, sweep_page(view).encode()))
        _saved("--table", self.table, lambda path: save_table(view, path))
        _saved("--charts", self.charts, lambda path: save_all(view, path))
        return scatter([view]) if self.sketch and not self.json else ""

    def _several(self, views: list[SweepView]) -> str:
        from sparsefront.search.reports.charts import fronts_overlaid
        from sparsefront.search.reports.charts.files import save_picture
        from sparsefront.search.reports.overlay import overlay, text_table, to_dict
        from sparsefront.search.reports.pages.overlay_page import overlay_page
        from sparsefront.search.reports.terminal import scatter

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
    runs: str = RUNS
    """Folder of all runs, or a URI."""

    def run(self) -> str:
        from sparsefront.search.config.passwords import mask_passwords
        from sparsefront.search.reports.mlflow_page import (
            HOST,
            free_port,
            mlflow_page,
            serve,
        )
        from sparsefront.search.runs.interrupts import interruptible

        page = mlflow_page(run_folder(self.runs, self.name).pull())
        if page.has_server:
            return f"{mask_passwords(page.tracking_uri).rstrip('/')}/{page.page}"
        port = free_port(self.port)
        print("starting MLflow ...", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt), interruptible(), serve(page, port) as server:
            link = f"http://{HOST}:{port}/{page.page}"
            print(link, file=sys.__stdout__, flush=True)
            print("Ctrl-C ends it", file=sys.stderr, flush=True)
            server.wait()
        return "MLflow's server has ended"
