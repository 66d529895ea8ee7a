"""Shows a run while it goes on: a live table on a terminal, a line a change elsewhere.

``command`` feeds me steps; I write to the stream I was given and know nothing of servers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TextIO

from lightship.demo import progress
from lightship.demo.progress import Step

MARKS = {progress.WAITING: ("·", "dim"), progress.RUNNING: ("▶", "cyan"), progress.SUCCEEDED: ("✓", "green"),
         progress.CACHED: ("✓", "green"), progress.SKIPPED: ("–", "dim"), progress.FAILED: ("✗", "bold red"),
         progress.CANCELED: ("✗", "red")}
Show = Callable[[Sequence[Step], datetime], None]


@contextlib.contextmanager
def shown(stream: TextIO, began: datetime) -> Iterator[Show]:
    """A function that shows the steps as they are now; leaving the context leaves the last picture standing."""
    if not stream.isatty():
        yield _Lines(stream, began).show
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(file=stream), refresh_per_second=8) as live:
        yield lambda steps, now: live.update(_table(steps, now, began))


class _Lines:
    """One line whenever a step changes its state."""

    def __init__(self, stream: TextIO, began: datetime) -> None:
        self._stream = stream
        self._began = began
        self._states: dict[str, str] = {}

    def show(self, steps: Sequence[Step], now: datetime) -> None:
        for step in steps:
            if step.state in (progress.WAITING, self._states.get(step.label)):
                continue
            self._states[step.label] = step.state
            took = step.seconds(now)
            time = f"  {took:.1f} s" if took is not None and step.end else ""
            at = (now - self._began).total_seconds()
            self._stream.write(f"{at:6.1f} s  {step.label:<32} {said(step)}{time}\n")
        self._stream.flush()


def said(step: Step) -> str:
    return "from the cache" if step.state == progress.CACHED else step.state


def _table(steps: Sequence[Step], now: datetime, began: datetime) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=1)
    table.add_column(min_width=32)
    table.add_column(min_width=15)
    table.add_column(justify="right")
    for step in steps:
        mark, style = MARKS[step.state]
        took = step.seconds(now)
        table.add_row(Text(mark, style=style), step.label, Text(said(step), style=style),
                      f"{took:.1f} s" if took is not None else "")
    done = sum(step.state in progress.GOOD for step in steps)
    table.add_row("", Text(f"{done} of {len(steps)} steps", style="dim"), "",
                  Text(f"{(now - began).total_seconds():.1f} s", style="dim"))
    return table
