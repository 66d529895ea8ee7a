"""Conditions as Katib writes them: GJSON paths over a run's object, and what of the run they find. Pure.

``trial.reconciler`` asks ``find``; Experiment admission asks ``check``; the paths are read by ``lib.gjson``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lightship.lib import gjson


class Found(NamedTuple):
    """The condition of a run that a path found, with its words where it has any."""

    reason: str
    message: str


def find(run: Mapping[str, Any], path: str) -> Found | None:
    """What ``path`` finds in ``run``, as Katib takes it: an object, or the first of an array that is not empty."""
    value = gjson.get(run, path)
    if isinstance(value, list):
        if not value:
            return None
        value = value[0]
        if not isinstance(value, Mapping):
            return Found("", "")
    if not isinstance(value, Mapping):
        return None
    return Found(str(value.get("reason") or ""), str(value.get("message") or ""))


def check(path: str) -> str:
    """Why ``path`` cannot be read, or nothing."""
    return gjson.check(path)
