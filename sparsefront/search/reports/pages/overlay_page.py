"""Several sweeps on one page: their hypervolumes on one reference, their fronts, their speed."""

from __future__ import annotations

from sparsefront.search.reports.charts import fronts_overlaid, on_page
from sparsefront.search.reports.overlay import Overlay, difference
from sparsefront.search.reports.pages.document import Section, document, paragraph, table
from sparsefront.search.reports.pages.sweep_page import GFLOPS, front_table


def overlay_page(found: Overlay) -> str:
    """The whole file."""
    sections = [
        Section(heading="Hypervolumes on one reference", body=_table(found)),
        Section(
            heading=fronts_overlaid.HEADING, figures=fronts_overlaid.pages(found),
            body=paragraph(fronts_overlaid.READING, "reading") + paragraph(GFLOPS, "reading"),
        ),
        Section(
            heading=fronts_overlaid.PROGRESS_HEADING,
            body=paragraph(fronts_overlaid.PROGRESS_READING, "reading"),
            figures=on_page.figures([fronts_overlaid.progress_panel(found)]),
        ),
        *(Section(heading=f"The front of {v.name}", body=front_table(v)) for v in found.views),
    ]  # fmt: skip
    names = ", ".join(o.name for o in found.objectives)
    lead = f"{len(found.views)} sweeps of {names}; all together reach {found.together:.4f} of 1."
    return document(f"Fronts of {found.name}", lead, sections)


def _table(found: Overlay) -> str:
    rows = [
        [
            view.name, str(len(view.trials)), str(len(view.front.points)), str(found.alone(at)),
            f"{found.hypervolumes[at]:.4f}", difference(found, at),
        ]
        for at, view in enumerate(found.views)
    ]  # fmt: skip
    head = ["sweep", "trials", "on its front", "unbeaten", "hypervolume", "difference to the first"]
    words = (
        "One reference for all: the worst value of each objective over these sweeps. Unbeaten: "
        "points of the front that no other sweep beats."
    )
    best = max(range(len(rows)), key=lambda at: found.hypervolumes[at])
    return table("The best one is marked", head, rows, frozenset({best})) + paragraph(
        words, "reading"
    )
