"""What may stand in parameters: ``[[RunUUID]] [[ScheduledTime]] [[CurrentTime]] [[Index]]``, filled in for each run.

The routes call me for single runs, ``scheduler`` for those of a schedule. ``[[ScheduledTime.2006-01-02]]`` has a layout
as Go writes them. What is not known stays as it is. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

LIMIT_DEPTH = 100
_MACRO = re.compile(r"\[\[(.*?)\]\]")
_DEFAULT_LAYOUT = "20060102150405"
_LAYOUT = re.compile(
    r"2006|January|Jan|Monday|Mon|MST|Z07:00|Z0700|-07:00|-0700|-07|002|01|02|03|04|05|06|15|_2|PM|pm|1|2|3|4|5"
    r"|[.,]0+|[.,]9+")
_PLAIN = {
    "2006": "%Y", "06": "%y", "January": "%B", "Jan": "%b", "Monday": "%A", "Mon": "%a", "01": "%m", "02": "%d",
    "002": "%j", "15": "%H", "03": "%I", "04": "%M", "05": "%S", "PM": "%p", "MST": "%Z",
}


@dataclass(frozen=True, kw_only=True)
class Macros:
    """The values for one run. A run without a schedule has neither a scheduled time nor an index."""

    run_id: str
    now: datetime
    scheduled: datetime | None = None
    index: int | None = None


def expand(parameters: Mapping[str, Any], macros: Macros) -> dict[str, Any]:
    """The parameters with every macro in every text replaced, inside lists and structs too."""
    return {name: _expanded(value, macros, LIMIT_DEPTH) for name, value in parameters.items()}


def typed(parameters: Mapping[str, Any], given: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Expanded parameters where the pipeline wants whole numbers: ``"[[Index]]"`` came as text and becomes a number."""
    declared = ((spec.get("pipeline_spec", spec).get("root") or {}).get("inputDefinitions") or {}).get("parameters")
    result = dict(parameters)
    for name, value in parameters.items():
        wanted = ((declared or {}).get(name) or {}).get("parameterType")
        if value != given.get(name) and isinstance(value, str) and value.isascii() and value.isdigit():
            if wanted == "NUMBER_INTEGER":
                result[name] = int(value)
            elif wanted == "NUMBER_DOUBLE":
                result[name] = float(value)
    return result


def _expanded(value: Any, macros: Macros, depth: int) -> Any:
    if isinstance(value, str):
        return _MACRO.sub(lambda match: _value(match, macros), value) if "[[" in value else value
    if depth == 0:
        return value
    if isinstance(value, dict):
        return {key: _expanded(each, macros, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each, macros, depth - 1) for each in value]
    return value


def _value(match: re.Match[str], macros: Macros) -> str:
    name, dot, layout = match[1].partition(".")
    if match[1] == "RunUUID":
        return macros.run_id
    if match[1] == "Index" and macros.index is not None:
        return str(macros.index)
    moment = {"ScheduledTime": macros.scheduled, "CurrentTime": macros.now}.get(name)
    if moment is None:
        return match[0]
    return _written(moment, layout if dot else _DEFAULT_LAYOUT)


def _written(moment: datetime, layout: str) -> str:
    return _LAYOUT.sub(lambda match: _part(moment, match[0]), layout)


def _part(moment: datetime, part: str) -> str:
    """One part of Go's reference time, Mon Jan 2 15:04:05 MST 2006, for a moment in UTC and whole seconds."""
    if part == "2006":
        return f"{moment.year:04d}"
    if part in _PLAIN:
        return moment.strftime(_PLAIN[part])
    if part[0] in ".,":
        return part if part[1] == "0" else ""
    if part in ("Z07:00", "Z0700"):
        return "Z"
    if part.startswith("-07"):
        return part.replace("-07", "+00")
    return {"1": str(moment.month), "2": str(moment.day), "_2": f"{moment.day:2d}", "pm": moment.strftime("%p").lower(),
            "3": str((moment.hour - 1) % 12 + 1), "4": str(moment.minute), "5": str(moment.second)}[part]
