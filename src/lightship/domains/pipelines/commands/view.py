"""Shows a run: a live tree on a terminal, a line a change elsewhere, the whole tree at the end.

``run`` and ``runs`` feed me; I write to the stream that I was given and know nothing of servers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from lightship.domains.pipelines.commands import tree
from lightship.domains.pipelines.commands.tree import Node

if TYPE_CHECKING:
    from rich.text import Text

MARKS = {"PENDING": ("·", "dim"), "RUNNING": ("▶", "cyan"), "SUCCEEDED": ("✓", "green"), "CACHED": ("✓", "green"),
         "SKIPPED": ("–", "dim"), "FAILED": ("✗", "bold red"), "CANCELED": ("✗", "red"), "CANCELING": ("▶", "red")}
SAID = {"PENDING": "waiting", "CACHED": "from the cache"}
LIMIT_LINES = 500
LIMIT_NOTE_CHARACTERS = 100
SPARE_LINES = 3
LABEL_COLUMNS = 44
Show = Callable[[Node, datetime], None]


def said(state: str) -> str:
    return SAID.get(state) or state.lower()


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def shown(stream: TextIO) -> Iterator[Show]:
    """A function that shows the run as it is now; leaving the context leaves the last picture standing."""
    if not stream.isatty():
        yield _Changes(stream).show
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream, highlight=False)
    with Live(console=console, refresh_per_second=8, vertical_overflow="crop") as live:
        yield lambda root, now: live.update(_text(root, now, max(3, console.height - SPARE_LINES)))


def write(root: Node, now: datetime, stream: TextIO) -> None:
    """The whole tree, once."""
    from rich.console import Console

    Console(file=stream, highlight=False, soft_wrap=True, no_color=not has_colour(stream),
            force_terminal=has_colour(stream)).print(_text(root, now, LIMIT_LINES))


class _Changes:
    """One line whenever a step changes its state."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._states: dict[str, str] = {}

    def show(self, root: Node, now: datetime) -> None:
        for step in root.steps():
            if step.state in ("PENDING", self._states.get(step.path)):
                continue
            self._states[step.path] = step.state
            took = step.seconds(now)
            time = f"  {duration(took)}" if took is not None and step.done else ""
            self._stream.write(f"{step.path:<{LABEL_COLUMNS}} {said(step.state)}{time}\n")
        self._stream.flush()


def _text(root: Node, now: datetime, limit: int) -> Text:
    from rich.text import Text

    text = Text()
    for line in tree.lines(root, limit):
        node, (mark, style) = line.node, MARKS.get(line.node.state, ("?", ""))
        label = "  " * line.depth + f"{mark} {node.label}"
        text.append(f"{label:<{LABEL_COLUMNS}} ", style if node.state in ("FAILED", "CANCELED") else "")
        text.stylize(style, len(text) - LABEL_COLUMNS - 1, len(text))
        took = node.seconds(now)
        text.append(f"{said(node.state):<15}{duration(took) if took is not None else '':>8}", style)
        if node.attempt:
            text.append(f"  attempt {node.attempt + 1}", "yellow")
        if line.folded:
            text.append(f"  {line.folded}", "dim")
        if node.message and node.is_step:
            text.append(f"  {short(node.message)}", "dim" if node.state != "FAILED" else "red")
        text.append("\n")
    steps = list(root.steps())
    done = sum(step.done for step in steps)
    took = root.seconds(now)
    text.append(f"{root.label}: {said(root.state)}, {done} of {len(steps)} steps so far"
                if not root.done else f"{root.label}: {said(root.state)}, {len(steps)} steps", "bold")
    text.append(f"  {duration(took)}" if took is not None else "", "dim")
    return text


def short(message: str) -> str:
    first = message.strip().partition("\n")[0]
    return first if len(first) <= LIMIT_NOTE_CHARACTERS else first[:LIMIT_NOTE_CHARACTERS - 3] + "..."


def duration(seconds: float) -> str:
    """As people say it: 0.4 s, 12 s, 3m05s, 2h10m."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"
