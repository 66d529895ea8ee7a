"""What the groups of a pattern matched, as Go's ``FindAllStringSubmatch`` tells it, in bounded time.

Who reads texts by patterns of users calls me, with a ``regex.Regex``. The alternatives are tried in the order of their
preference, and none twice at one place (a bit-state search), so that one match costs at most the size of the pattern
times that of the text; ``LIMIT_STEPS`` bounds all of them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from lightship.lib import regex

LIMIT_STEPS = 100_000
"""Of one text: what has not been found by then is not found."""

_WORD = regex.WORD
Node = tuple[Any, ...]


def findall(pattern: regex.Regex, text: str) -> list[tuple[str, ...]]:
    """For each match, the whole of it and then its groups; a group that took no part is empty."""
    program = _program(pattern.pattern)
    search = _Search(program, text)
    return [tuple(text[a:b] if a >= 0 <= b else "" for a, b in zip(spans[::2], spans[1::2], strict=True))
            for spans in search.matches()]


def groups(pattern: regex.Regex) -> int:
    """How many groups the pattern has."""
    return pattern.python.groups


class _Program:
    """A pattern as nodes, the preferred way first: ``split`` lists its ways, ``save`` keeps a position."""

    def __init__(self, pattern: regex.Regex) -> None:
        self.nodes: list[Node] = []
        self.slots = 2 * (pattern.python.groups + 1)
        tree = pattern.tree()
        end = self._add("save", 1, self._add("end"))
        self.start = self._add("save", 0, self._sequence(tree, tree.state.flags)(end))

    def _add(self, *node: Any) -> int:
        if len(self.nodes) >= regex.LIMIT_STATES:
            raise regex.Refused("error parsing regexp: expression too large")
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _sequence(self, items: Iterable[Any], flags: int) -> Callable[[int], int]:
        parts = [self._item(str(code).lower(), argument, flags) for code, argument in items]

        def make(then: int) -> int:
            for part in reversed(parts):
                then = part(then)
            return then

        return make

    def _item(self, code: str, argument: Any, flags: int) -> Callable[[int], int]:
        if code in ("literal", "not_literal", "any", "in"):
            takes = regex.accepts(code, argument, flags)
            return lambda then: self._add("take", takes, then)
        if code == "at":
            kind = str(argument).lower()
            if flags & re.MULTILINE:
                kind = {"at_beginning": "at_line_start", "at_end": "at_line_end"}.get(kind, kind)
            return lambda then: self._add("assert", kind, then)
        if code == "subpattern":
            number, added, removed, inner = argument
            return self._group(number, self._sequence(inner, (flags | added) & ~removed))
        if code == "branch":
            arms = [self._sequence(arm, flags) for arm in argument[1]]
            return lambda then: self._add("split", tuple(arm(then) for arm in arms))
        low, high, inner = argument  # a repetition: ``regex.compile`` has refused all else
        bound = None if str(high).lower() == "maxrepeat" else int(high)
        return self._repeat(int(low), bound, self._sequence(inner, flags), greedy=code == "max_repeat")

    def _group(self, number: int | None, inner: Callable[[int], int]) -> Callable[[int], int]:
        if number is None:
            return inner
        return lambda then: self._add("save", 2 * number, inner(self._add("save", 2 * number + 1, then)))

    def _repeat(self, low: int, high: int | None, inner: Callable[[int], int], *, greedy: bool) -> Callable[[int], int]:
        def ways(again: int, on: int) -> tuple[int, int]:
            return (again, on) if greedy else (on, again)

        def make(then: int) -> int:
            after = then
            if high is None:
                loop = self._add("split", ())
                self.nodes[loop] = ("split", ways(inner(loop), after))
                then = loop
            else:
                for _ in range(high - low):
                    then = self._add("split", ways(inner(then), after))
            for _ in range(low):
                then = inner(then)
            return then

        return make


@lru_cache(maxsize=256)
def _program(pattern: str) -> _Program:
    return _Program(regex.compile(pattern))


class _Search:
    """All matches in one text, from the left."""

    def __init__(self, program: _Program, text: str) -> None:
        self._program, self._text = program, text
        self._left = LIMIT_STEPS

    def matches(self) -> Iterator[list[int]]:
        start, last_end, size = 0, -1, len(self._text)
        seen: set[tuple[int, int]] = set()
        while start <= size and self._left > 0:
            found = self._at(start, seen)
            if found is None:
                start += 1
                continue
            end = found[1]
            if end > found[0] or end != last_end:  # an empty match right behind another does not count
                yield found
            last_end = end
            start = end if end > start else start + 1
            seen.clear()  # what led to this match was seen, and may lead to the next

    def _at(self, start: int, seen: set[tuple[int, int]]) -> list[int] | None:
        """The match that begins at ``start``. Who failed at a place, ``seen``, fails there whatever came before."""
        nodes, text = self._program.nodes, self._text
        spans = [-1] * self._program.slots
        ways: list[tuple[int, int, int]] = [(self._program.start, start, -1)]
        while ways and self._left > 0:
            number, position, slot = ways.pop()
            if slot >= 0:
                spans[slot] = position  # back out of a group
                continue
            while (number, position) not in seen:
                self._left -= 1
                seen.add((number, position))
                node = nodes[number]
                match node[0]:
                    case "take":
                        if position == len(text) or not node[1](text[position]):
                            break
                        number, position = node[2], position + 1
                    case "split":
                        ways.extend((way, position, -1) for way in reversed(node[1][1:]))
                        number = node[1][0]
                    case "save":
                        ways.append((-1, spans[node[1]], node[1]))
                        spans[node[1]] = position
                        number = node[2]
                    case "assert":
                        if not regex.holds(node[1], self._before(position), text[position:position + 1]):
                            break
                        number = node[2]
                    case _:
                        return spans
        return None

    def _before(self, position: int) -> str:
        if position == 0:
            return "start"
        letter = self._text[position - 1]
        return "word" if letter in _WORD else "line" if letter == "\n" else "other"
