"""Colours stand out from light and dark pages as WCAG AA asks; names of fields stay short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sparsefront.search.reports.charts import style
from sparsefront.search.reports.pages import document

CSS = (Path(document.__file__).parent / "page.css").read_text()


@pytest.mark.parametrize("colour", [*style.HUES, style.GREY])
@pytest.mark.parametrize("page", [style.PAPER, style.DARK])
def test_marks_stand_out_from_their_page(colour: str, page: dict[str, str]) -> None:
    assert style.contrast(colour, page["background"]) >= 3.0


def test_texts_can_be_read() -> None:
    for page in (style.PAPER, style.DARK):
        assert style.contrast(page["ink"], page["background"]) >= 7.0
        assert style.contrast(page["soft"], page["background"]) >= 4.5
    assert min(style.contrast(style.ON_REMOVED, c) for _, c in style.REMOVED) >= 4.5


def test_stylesheet_has_the_same_colours() -> None:
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+);", part))
        for part in CSS.split("prefers-color-scheme")[:2]
    )
    for found, page in ((light, style.PAPER), (dark, style.DARK)):
        assert {name: found[name] for name in page} == page
        assert style.contrast(found["ink"], found["mark"]) >= 4.5
        assert style.contrast(found["ink"], found["stripe"]) >= 4.5


def test_mixed_is_between_its_two_colours() -> None:
    assert style.mixed(((0.0, "#000000"), (1.0, "#ffffff")), 0.5) == "#808080"
    assert style.mixed(style.DENSE_TO_SPARSE, 2.0) == style.ORANGE


def test_short_names_stay_distinct() -> None:
    names = ["allocation.per_stage.camera.neck", "criterion.beta", "trade_off.saved"]
    assert list(style.short_names(names).values()) == ["camera.neck", "criterion.beta", "saved"]
    two = ["allocation.per_stage.camera", "allocation.per_modality.camera"]
    assert list(style.short_names(two).values()) == ["stage.camera", "modality.camera"]
