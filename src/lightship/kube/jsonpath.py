"""The JSONPath of printer columns and field references: ``.status.conditions[?(@.type=="Ready")].status``.

I am pure. ``compile`` parses once; the result maps an object to the list of values found. Known: fields (with ``\\.``
escapes and ``['quoted']`` names), indices, slices such as ``[-1:]``, ``[*]``, and equality filters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lightship import errors

Finder = Callable[[Any], list[Any]]

_FIELD = re.compile(r"\.?((?:[^.\[\]\\{}]|\\.)+)")
_QUOTED = re.compile(r"\[(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\]")
_INDEX = re.compile(r"\[(-?\d{1,6}|\*)\]", re.ASCII)
_SLICE = re.compile(r"\[(-?\d{1,6})?:(-?\d{1,6})?(?::(\d{1,6}))?\]", re.ASCII)
_FILTER = re.compile(r"\[\?\(\s*@\.((?:[\w-]|\\.|\.)+)\s*(==|!=)\s*"
                     r"(?:'([^']*)'|\"([^\"]*)\"|(true|false|-?\d+))\s*\)\]")
LIMIT_PATH_CHARACTERS = 1024


@lru_cache(maxsize=1024)
def compile(path: str) -> Finder:
    """A finder for ``path``, with or without the outer braces. Raises ``errors.InvalidInput``."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    if len(text) > LIMIT_PATH_CHARACTERS:
        raise errors.InvalidInput(f"a JSONPath may have {LIMIT_PATH_CHARACTERS} characters")
    steps: list[Callable[[Any], list[Any]]] = []
    position = 0
    while position < len(text) and text != ".":
        step, position = _step(text, position)
        steps.append(step)

    def find(obj: Any) -> list[Any]:
        values = [obj]
        for step in steps:
            values = [found for value in values for found in step(value)]
        return values

    return find


def first(path: str, obj: Any) -> Any:
    """The first value at ``path`` in ``obj``, or None."""
    found = compile(path)(obj)
    return found[0] if found else None


def _step(text: str, position: int) -> tuple[Finder, int]:
    if match := _QUOTED.match(text, position):
        return _field(_unescape(match[1] if match[1] is not None else match[2])), match.end()
    if match := _INDEX.match(text, position):
        return (_every if match[1] == "*" else _item(int(match[1]))), match.end()
    if match := _SLICE.match(text, position):
        start, stop, step = (int(number) if number else None for number in match.groups())
        return _items(slice(start, stop, step or None)), match.end()
    if match := _FILTER.match(text, position):
        path, operator, single, double, literal = match.groups()
        wanted = single if single is not None else double if double is not None else literal
        return _where(compile("." + path), wanted, operator == "=="), match.end()
    match = _FIELD.match(text, position)
    if match and (position == 0 or text[position] == "."):
        name = _unescape(match[1])
        return (_every if name == "*" else _field(name)), match.end()
    raise errors.InvalidInput(f"cannot read the JSONPath {text!r} at character {position}")


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _field(name: str) -> Finder:
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _item(index: int) -> Finder:
    return lambda value: [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []


def _items(wanted: slice) -> Finder:
    return lambda value: value[wanted] if isinstance(value, list) else []


def _every(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else []


def _where(find: Finder, wanted: str, equal: bool) -> Finder:
    def keep(value: Any) -> list[Any]:
        candidates = value if isinstance(value, list) else []
        return [item for item in candidates if any(_text(found) == wanted for found in find(item)) == equal]

    return keep


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
