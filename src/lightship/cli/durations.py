"""Spans of time as people write them on a command line: ``90s``, ``12h``, ``7d``."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """For ``add_argument(type=...)``: what is wrong becomes argparse's own message."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write a number and s, m, h, d or w, such as 12h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
