"""The front as a picture and as a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsefront.errors import InputError
from sparsefront.search.reports.front_picture import save_front
from sparsefront.search.reports.sweep_view import SweepView


def test_front_is_saved_as_picture_or_page_by_its_suffix(view: SweepView, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    save_front(view.front, folder / "front.png")
    save_front(view.front, folder / "front.html")
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "front.html").read_text()
    assert "cdn.plot.ly" not in page.split("plotly.js v")[0]
    assert "trial 3" in page
    with pytest.raises(InputError, match=r"\.png or \.html"):
        save_front(view.front, folder / "front.gif")
    assert sorted(p.name for p in folder.iterdir()) == ["front.html", "front.png"]
