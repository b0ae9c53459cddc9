"""A trial's page: one HTML file, readable on a phone and in the dark, with its pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from sparsefront.search.reports.trial_page.layers import LayerRow

STYLE = """
:root { color-scheme: light dark; --text: #111827; --back: #ffffff; --line: #d1d5db }
@media (prefers-color-scheme: dark) {
  :root { --text: #f3f4f6; --back: #111827; --line: #374151 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 70rem; margin: 0 auto; padding: 1rem }
h1, h2 { overflow-wrap: anywhere; line-height: 1.25 }
img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem }
th, td { padding: 0.2rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
tr.modality td { font-weight: 600 }
"""
HEAD = ("weight", "parameters", "removed", "score mass removed", "MMACs", "dense MMACs")


def page(title: str, facts: Sequence[str], rows: Sequence[LayerRow], pictures: Mapping[str, bytes],
         heading: Mapping[str, str]) -> str:  # fmt: skip
    """facts: lines under the title; pictures: name -> PNG, with a heading each."""
    shown = "\n".join(
        f'<h2>{escape(heading[name])}</h2>\n<img alt="{escape(heading[name])}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for name, png in pictures.items()
    )
    lines = "\n".join(f"<p>{escape(fact)}</p>" for fact in facts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{lines}\n{shown}\n<h2>All layers</h2>\n{_table(rows)}\n"
        "</body></html>\n"
    )


def _table(rows: Sequence[LayerRow]) -> str:
    """Every layer, with a line of sums before each modality's."""
    lines = []
    for modality in dict.fromkeys(row.modality for row in rows):
        own = [row for row in rows if row.modality == modality]
        lines.append(_line(modality, own, 'class="modality"'))
        lines += [_line(row.weight, [row]) for row in own]
    head = "".join(f"<th>{name}</th>" for name in HEAD)
    body = "\n".join(lines)
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _line(name: str, rows: Sequence[LayerRow], attribute: str = "") -> str:
    size = sum(row.parameters for row in rows)
    removed = sum(row.removed * row.parameters for row in rows) / size
    mass = rows[0].mass_removed if len(rows) == 1 else None
    cells = (
        f"{size:,}",
        f"{removed:.1%}",
        "" if mass is None else f"{mass:.1%}",
        f"{sum(row.macs for row in rows) / 1e6:,.3f}",
        f"{sum(row.macs_dense for row in rows) / 1e6:,.3f}",
    )
    return f"<tr {attribute}><td>{escape(name)}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"
