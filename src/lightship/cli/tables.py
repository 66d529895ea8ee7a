"""Lists as verbs print them: a table for people, JSON, YAML or names for scripts.

A verb's ``register`` calls ``add``, its handler ``write`` with the columns that it knows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from lightship.lib import clock

OUTPUTS = ("table", "wide", "json", "yaml", "name")
_COLOURS = {"dim": "2", "red": "31", "bold red": "1;31", "green": "32", "yellow": "33", "cyan": "36"}
Item = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A heading, the text of an item, and the colour that it has on a terminal; ``wide`` ones show with -o wide."""

    heading: str
    text: Callable[[Item], str]
    wide: bool = False
    style: Callable[[Item], str] = lambda item: ""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="table", help="how to list (default table)")


def write(output: str, items: Sequence[Item], columns: Sequence[Column], *, nothing: str = "nothing found") -> None:
    """Print the items; with ``name`` the first column alone. ``nothing`` is said on standard error."""
    stream = sys.stdout
    if output == "json":
        stream.write(json.dumps(list(items), indent=2) + "\n")
    elif output == "yaml":
        import yaml

        stream.write(yaml.safe_dump(list(items), sort_keys=False))
    elif output == "name":
        stream.write("".join(f"{columns[0].text(item)}\n" for item in items))
    elif not items:
        sys.stderr.write(f"{nothing}\n")
    else:
        _write_table(items, [column for column in columns if output == "wide" or not column.wide], stream)
    stream.flush()


def _write_table(items: Sequence[Item], columns: Sequence[Column], stream: TextIO) -> None:
    coloured = stream.isatty() and not os.environ.get("NO_COLOR")
    cells = [[" ".join(column.text(item).split()) for column in columns] for item in items]
    widths = [max(len(column.heading), *(len(row[number]) for row in cells)) for number, column in enumerate(columns)]
    headings = [f"{column.heading:<{width}}" for column, width in zip(columns, widths, strict=True)]
    stream.write("   ".join(headings).rstrip() + "\n")
    for item, row in zip(items, cells, strict=True):
        padded = [f"{text:<{width}}" for text, width in zip(row, widths, strict=True)]
        if coloured:
            padded = [_coloured(text, column.style(item)) for text, column in zip(padded, columns, strict=True)]
        stream.write("   ".join(padded).rstrip() + "\n")


def _coloured(text: str, style: str) -> str:
    code = _COLOURS.get(style)
    return f"\033[{code}m{text}\033[0m" if code else text


def age(moment: Any, now: datetime) -> str:
    """How long ago, as kubectl says it: 5s, 3m, 2h, 4d."""
    if not moment:
        return ""
    seconds = max(0, int((now - clock.parse_timestamp(str(moment))).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
