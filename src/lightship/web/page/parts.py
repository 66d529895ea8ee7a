"""The pieces that the pages share: the frame, tables, states, times, values. Pure; ``views`` calls me."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from lightship.web.page.html import Child, Markup, document, link, tag

VALUE_LIMIT_CHARACTERS = 200
_GOOD = {"SUCCEEDED", "CACHED", "Ready", "LIVE"}
_BAD = {"FAILED", "Not ready"}
_MOVING = {"RUNNING", "PENDING", "CANCELING"}


def frame(title: str, *content: Child, home: bool = False) -> Markup:
    """A page: the header, ``content`` as its main part, and a line for what the script says."""
    name = tag("span", "Lightship") if home else link("/", "Lightship")
    header = tag("header", tag("p", name, class_="brand"),
                 tag("form", tag("button", "Log out"), method="post", action="/logout"))
    return document(f"{title} · Lightship" if not home else title, header, tag("main", *content, id="main"),
                    tag("p", "", id="live", role="status"))


def table(headings: Sequence[str], rows: Iterable[Sequence[Child]], *, empty: Child, label: str) -> Markup:
    """A table with a name for those who do not see it, or ``empty`` where there are no rows."""
    made = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    if not made:
        return tag("p", empty, class_="empty")
    head = tag("thead", tag("tr", *(tag("th", heading, scope="col") for heading in headings)))
    return tag("div", tag("table", head, tag("tbody", *made), aria_label=label), class_="scroll")


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names and values; those without a value are left out."""
    return tag("dl", *((tag("dt", name), tag("dd", value)) for name, value in pairs if value))


def state(name: str) -> Markup:
    """A state as a word with a colour."""
    kind = "good" if name in _GOOD else "bad" if name in _BAD else "moving" if name in _MOVING else "plain"
    return tag("span", name.capitalize() if name.isupper() else name, class_=f"state {kind}")


def time(moment: datetime | None) -> Child:
    if moment is None:
        return None
    utc = moment.astimezone(UTC)
    return tag("time", utc.strftime("%Y-%m-%d %H:%M:%S UTC"), datetime=utc.isoformat())


def took(start: datetime | None, end: datetime | None, now: datetime) -> str:
    """How long something took, or has been going on."""
    if start is None:
        return ""
    seconds = max(0.0, ((end or now) - start).total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def value(content: Any) -> Markup:
    """A parameter's value, cut where it is long."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    short = text[:VALUE_LIMIT_CHARACTERS] + "…" if len(text) > VALUE_LIMIT_CHARACTERS else text
    return tag("code", short)


def size(count: int) -> str:
    amount = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
