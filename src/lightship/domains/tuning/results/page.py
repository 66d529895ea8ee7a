"""Results as one HTML file that needs nothing else: no script, no font, no network. Pure; ``commands`` calls me.

The plots are SVG: the values over time with the best so far, and the Trials as lines across the parameters' axes, from
blue (best) to grey. A line or dot tells its Trial when the pointer rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from lightship.domains.tuning.results import table
from lightship.domains.tuning.results.table import Results, Row

LIMIT_LINES = 2000
"""Trials that the plot of parallel coordinates shows, the best ones: beyond that nobody sees more, and files grow."""

_WIDTH, _HEIGHT, _EDGE = 960, 320, 60
_STYLE = """
:root { color-scheme: light dark; --line: #c8ccd2; --soft: #6b7280; --best: #1d6fd8; --even: #b9bec6; }
@media (prefers-color-scheme: dark) { :root { --line: #3c4149; --soft: #9aa1ab; --best: #6aa9f7; --even: #555b64; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p.soft, figcaption { color: var(--soft); }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; } svg text { fill: var(--soft); }
.axis { stroke: var(--line); } .dot { fill: var(--even); } .best { stroke: var(--best); fill: none; stroke-width: 2; }
.trial { fill: none; stroke-width: 1.4; stroke-opacity: .7; }
.trial:hover { stroke-width: 4; stroke-opacity: 1; } .dot:hover { fill: var(--best); r: 6; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr.first { font-weight: 600; color: var(--best); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; }
"""


def html(results: Results) -> str:
    """The whole page."""
    lead = results.objectives[0]
    title = f"{results.name}: {lead.goal_type} {lead.metric}"
    parts = [
        f"<h1>{escape(title)}</h1>", f'<p class="soft">{escape(_summary(results))}</p>',
        *_best(results),
        f"<h2>{escape(lead.metric)} over the trials</h2>", _history(results),
        "<h2>Parameters</h2>", _parallel(results),
        "<h2>Trials</h2>", *_table(results),
    ]
    return ("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width\">"
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts)
            + "\n</body></html>\n")


def _summary(results: Results) -> str:
    counts: dict[str, int] = {}
    for row in results.rows:
        counts[row.view.state] = counts.get(row.view.state, 0) + 1
    said = ", ".join(f"{count} {state.lower()}" for state, count in sorted(counts.items()))
    reason = f" ({results.reason})" if results.reason else ""
    return (f"{results.namespace}/{results.name}, {results.search.algorithm}, {results.state}{reason}; "
            f"{len(results.rows)} trials: {said or 'none yet'}")


def _best(results: Results) -> Iterator[str]:
    best = results.best
    if best is None:
        yield "<p>No trial has a value of the objective yet.</p>"
        return
    pairs = [("trial", best.view.name), *((name, best.view.texts.get(name, "")) for name in results.metrics),
             *((name, best.view.assignments.get(name, "")) for name in results.parameters)]
    yield "<h2>Best trial</h2><dl>" + "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs) + "</dl>"
    if results.front:
        yield (f'<p class="soft">On the Pareto front of {escape(", ".join(one.metric for one in results.objectives))}: '
               f"{escape(', '.join(results.front))}</p>")


# --- the plots


def _history(results: Results) -> str:
    points = table.history(results)
    if not points:
        return "<p>Nothing to show yet.</p>"
    low, high = min(one["value"] for one in points), max(one["value"] for one in points)
    last = max(one["number"] for one in points)
    numbers = [1 + round((last - 1) * share / 4) for share in range(5)]
    marks = [_text(_x(_share(number, 1, last)), _HEIGHT - 12, str(number)) for number in dict.fromkeys(numbers)]
    for share in range(5):
        value = low + (high - low) * share / 4
        height = _y(share / 4)
        marks.append(f'<line class="axis" x1="{_EDGE}" x2="{_WIDTH - _EDGE}" y1="{height:.1f}" y2="{height:.1f}"/>')
        marks.append(_text(_EDGE - 6, height + 4, f"{value:.4g}", "end"))
    dots = [f'<circle class="dot" r="3.5" cx="{_x(_share(one["number"], 1, last)):.1f}" '
            f'cy="{_y(_share(one["value"], low, high)):.1f}"><title>{escape(one["trial"])}: {one["value"]:g}</title>'
            "</circle>" for one in points]
    path = " ".join(f"{'M' if not number else 'L'}{_x(_share(one['number'], 1, last)):.1f} "
                    f"{_y(_share(one['best'], low, high)):.1f}" for number, one in enumerate(points))
    return _figure([*marks, *dots, f'<path class="best" d="{path}"/>'], "Each trial's value, and the best so far.")


def _parallel(results: Results) -> str:
    plot = table.coordinates(results)
    axes: Sequence[dict[str, Any]] = plot["axes"]
    lines: Sequence[dict[str, Any]] = plot["lines"][:LIMIT_LINES]
    if not axes or not lines:
        return "<p>Nothing to show yet.</p>"
    low, high = min(one["value"] for one in lines), max(one["value"] for one in lines)
    columns = [_x(_share(number, 0, len(axes))) for number in range(len(axes) + 1)]
    marks = []
    value_ticks = [{"text": f"{low + (high - low) * share / 4:.4g}", "at": share / 4} for share in range(5)]
    for at, axis in zip(columns, [*axes, {"parameter": results.objectives[0].metric, "ticks": value_ticks}],
                        strict=True):
        marks.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{_y(0):.1f}" y2="{_y(1):.1f}"/>')
        marks.append(_text(at, 16, axis["parameter"]))
        marks += [_text(at + 5, _y(tick["at"]) + 4, tick["text"], "start") for tick in axis["ticks"]]
    drawn = []
    for order, one in reversed(list(enumerate(lines))):  # the best last, on top
        places = [*one["at"], _share(one["value"], low, high)]
        path = " ".join(f"{'M' if not number else 'L'}{at:.1f} {_y(place):.1f}"
                        for number, (at, place) in enumerate(zip(columns, places, strict=True)))
        blue = 100 - 100 * math.sqrt(order / max(len(lines) - 1, 1))
        drawn.append(f'<path class="trial" style="stroke: color-mix(in oklab, var(--best) {blue:.0f}%, var(--even))" '
                     f'd="{path}"><title>{escape(one["trial"])}: {one["value"]:g}</title></path>')
    return _figure([*marks, *drawn], "Each line is a trial: blue ones are the best.")


def _figure(parts: Sequence[str], caption: str) -> str:
    return (f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'
            f"<figcaption>{caption}</figcaption></figure>")


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _x(share: float) -> float:
    return _EDGE + share * (_WIDTH - 2 * _EDGE)


def _y(share: float) -> float:
    return _HEIGHT - 32 - share * (_HEIGHT - 64)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


# --- the table


def _table(results: Results) -> Iterator[str]:
    headings = ["", "trial", "state", *results.metrics, *results.parameters, "seconds"]
    yield ('<div class="scroll"><table><tr>' + "".join(f"<th>{escape(one)}</th>" for one in headings) + "</tr>")
    for row in results.rows:
        yield _line(results, row)
    yield "</table></div>"


def _line(results: Results, row: Row) -> str:
    cells = [str(row.rank or ""), row.view.name, row.view.state,
             *(row.view.texts.get(name, "") for name in results.metrics),
             *(row.view.assignments.get(name, "") for name in results.parameters),
             "" if row.seconds is None else f"{row.seconds:.1f}"]
    first = ' class="first"' if row.rank == 1 else ""
    return f"<tr{first}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
