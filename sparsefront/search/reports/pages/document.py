"""One HTML file that needs no network: style, figures, and one copy of plotly.js inside."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page: a heading, HTML below it, and plotly figures side by side below that."""

    heading: str
    body: str = ""
    figures: Sequence[Any] = field(default_factory=tuple)


def document(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole file. `title` and `lead` are plain text; its contents are listed by heading."""
    figures = [figure for section in sections for figure in section.figures]
    parts = []
    first = 0
    for at, section in enumerate(sections):
        parts.append(_section(section, f"part-{at}", first))
        first += len(section.figures)
    links = [f'<a href="#part-{at}">{escape(s.heading)}</a>' for at, s in enumerate(sections)]
    contents = f"<nav aria-label='contents'>{''.join(links)}</nav>" if len(links) > 1 else ""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">',
            f"<style>\n{_file('page.css')}</style>\n</head>\n<body>",
            f"<header><h1>{escape(title)}</h1>{paragraph(lead, 'lead')}{contents}</header>",
            f"<main>{''.join(parts)}</main>",
            *(_scripts(figures) if figures else []),
            "</body>\n</html>\n",
        ]
    )


def paragraph(text: str, kind: str = "") -> str:
    """Plain text as a paragraph."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Names with what they mean, plain text."""
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f"<dl>{cells}</dl>"


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]],
    marked: frozenset[int] = frozenset(), words: frozenset[str] = frozenset(),
) -> str:  # fmt: skip
    """A table that scrolls by itself on a narrow page. marked: numbers of the rows that stand out;
    words: columns of text rather than numbers.
    """
    header = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    kinds = [' class="text"' if name in words else "" for name in head]
    body = []
    for at, row in enumerate(rows):
        cells = "".join(f"<td{k}>{escape(c)}</td>" for k, c in zip(kinds, row, strict=True))
        kind = ' class="mark"' if at in marked else ""
        body.append(f"<tr{kind}>{cells}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{header}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _section(section: Section, anchor: str, first: int) -> str:
    charts = "".join(
        f'<div class="scroll"><div class="chart" id="chart-{first + at}" role="img" '
        f'aria-label="{escape(section.heading)}"></div></div>'
        for at in range(len(section.figures))
    )
    kind = "charts one" if len(section.figures) == 1 else "charts"
    grid = f'<div class="{kind}">{charts}</div>' if charts else ""
    return (
        f'<section id="{anchor}"><h2>{escape(section.heading)}</h2>{section.body}{grid}</section>'
    )


def _scripts(figures: Sequence[Any]) -> list[str]:
    data = json.dumps([json.loads(figure.to_json()) for figure in figures]).replace("</", "<\\/")
    return [
        "<noscript><p>The charts need JavaScript; all of it is inside this file.</p></noscript>",
        f'<script type="application/json" id="figures">{data}</script>',
        f'<script type="text/plain" id="plotly">{_plotly()}</script>',
        f"<script>\n{_file('page.js')}</script>",
    ]


@cache
def _plotly() -> str:
    """plotly.js, gzip in base64: 2 MB a page instead of 5."""
    from plotly.offline import get_plotlyjs

    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode()


@cache
def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
