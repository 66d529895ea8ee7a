"""Parameter values: their JSON form, their text, and what a declared type makes of them. Pure.

``inputs``, ``outcome`` and ``placeholders`` call me. KFP's wire has one number type;
an integral double is therefore always written as an integer, ``1`` and not ``1.0``.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from lightship.domains.pipelines import ir
from lightship.domains.pipelines.errors import StepError

MAX_SHOWN_CHARACTERS = 80

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def normal(value: Any) -> Any:
    """``value`` with integral doubles as integers, all the way down."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {str(key): normal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [normal(item) for item in value]
    return value


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(normal(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def text(value: Any) -> str:
    """A value inside a command line or a text, as upstream writes it: strings as they are, nothing for null, numbers
    without an exponent, and JSON for the rest, without spaces and with sorted keys.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not value.is_integer() and math.isfinite(value):
        return format(Decimal(repr(value)), "f")
    return "" if value is None else canonical(value)


def typed(value: Any, spec: ir.ParameterSpec, place: str) -> Any:
    """``value`` as the declared type has it. Null stays null. Raises ``StepError`` naming ``place``."""
    if value is None:
        return None
    result = _CONVERSIONS[spec.type](normal(value), place, spec)
    if spec.literals and result not in [normal(literal) for literal in spec.literals]:
        choices = ", ".join(json.dumps(literal) for literal in spec.literals)
        raise StepError(f"{place} is {shown(result)}, which is none of its literals {choices}")
    return result


def _string(value: Any, place: str, spec: ir.ParameterSpec) -> Any:
    return value if isinstance(value, str) else text(value)


def _number(value: Any, place: str, spec: ir.ParameterSpec) -> Any:
    if isinstance(value, str):
        value = _parsed_number(value, place, spec)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _mismatch(value, place, spec)
    if spec.type == ir.NUMBER_INTEGER and not isinstance(value, int):
        raise _mismatch(value, place, spec)
    return value


def _parsed_number(value: str, place: str, spec: ir.ParameterSpec) -> Any:
    """The number that a text file or a command line gives; ``1.0`` is an integer as good as ``1``."""
    if _NUMBER.fullmatch(value.strip()):
        with contextlib.suppress(ValueError):  # which int() raises for a fraction, and for more digits than it takes
            return int(value)
        return normal(float(value))
    raise _mismatch(value, place, spec)


def _boolean(value: Any, place: str, spec: ir.ParameterSpec) -> Any:
    if isinstance(value, str) and value.strip().lower() in _BOOLEANS:
        return _BOOLEANS[value.strip().lower()]
    if not isinstance(value, bool):
        raise _mismatch(value, place, spec)
    return value


def _list(value: Any, place: str, spec: ir.ParameterSpec) -> Any:
    value = _parsed(value)
    if not isinstance(value, list):
        raise _mismatch(value, place, spec)
    return value


def _struct(value: Any, place: str, spec: ir.ParameterSpec) -> Any:
    value = _parsed(value)
    if not isinstance(value, dict):
        raise _mismatch(value, place, spec)
    return value


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return normal(json.loads(value))
    except (ValueError, RecursionError):
        return value


_CONVERSIONS = {
    ir.STRING: _string,
    ir.NUMBER_DOUBLE: _number,
    ir.NUMBER_INTEGER: _number,
    ir.BOOLEAN: _boolean,
    ir.LIST: _list,
    ir.STRUCT: _struct,
    ir.TASK_FINAL_STATUS: _struct,
    ir.TASK_CONFIG: _struct,
}


def items(value: Any, place: str) -> Sequence[Any]:
    """What a loop runs over: a list, or the JSON text of one. Raises ``StepError``."""
    parsed = _parsed(value)
    if not isinstance(parsed, list):
        raise StepError(f"{place} is {shown(value)}, and a loop needs a list")
    return parsed


def shown(value: Any) -> str:
    """A value in a message, short."""
    rendered = json.dumps(value, ensure_ascii=False, default=str)
    return rendered if len(rendered) <= MAX_SHOWN_CHARACTERS else rendered[:MAX_SHOWN_CHARACTERS] + "..."


def _mismatch(value: Any, place: str, spec: ir.ParameterSpec) -> StepError:
    return StepError(f"{place} is {shown(value)}, and its type is {spec.type}",
                     remedy="Pass a value of the declared type, or change the declaration")
