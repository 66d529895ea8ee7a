"""Regular expressions as Go's RE2 writes them, that no text can make slow.

Patterns come from users (schemas, rules), and a backtracking engine can be made to run for hours by thirty characters.
``Regex.search`` therefore walks all alternatives at once, a character at a time, through states that are made when they
are first met (a lazy deterministic automaton), in time linear in the text. Python's own parser reads the pattern, after
what only RE2 writes has been translated; what RE2 refuses (look-around, references) is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

LIMIT_PATTERN_CHARACTERS = 16_384
LIMIT_STATES = 20_000
"""Nodes of one automaton: a counted repetition costs as many as it counts."""
LIMIT_KNOWN_STATES = 2_000

_POSIX = {"alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\\x00-\\x7f", "blank": "\\t ", "cntrl": "\\x00-\\x1f\\x7f",
          "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~",
          "space": "\\t\\n\\v\\f\\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f"}
WORD = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
_TOKEN = re.compile(r"\\Q(?P<quoted>.*?)(?:\\E|\Z)|\\(?P<escaped>.)|(?P<posix>\[:\^?[a-z]+:\])"
                    r"|(?P<flags>\(\?[a-zA-Z]+\))|(?P<name>\(\?<(?![=!]))|(?P<end>\$)|(?P<open>\[\^?\]?)"
                    r"|(?P<close>\])", re.DOTALL)

Accepts = Callable[[str], bool]


class Refused(ValueError):
    """A pattern that cannot be read, or is larger than a limit allows."""


class Regex:
    """A compiled pattern; ``python`` is the same for the standard library, for who needs positions of short texts."""

    __slots__ = ("_automaton", "_python", "pattern")

    def __init__(self, pattern: str, python: re.Pattern[str], automaton: _Automaton) -> None:
        self.pattern, self._python, self._automaton = pattern, python, automaton

    def search(self, text: str) -> bool:
        """Whether the pattern matches anywhere in ``text``."""
        return self._automaton.matches(text)

    @property
    def python(self) -> re.Pattern[str]:
        return self._python

    def tree(self) -> Any:
        """The pattern as Python's parser reads it: for ``captures``."""
        return _parsed(self._python.pattern)


@lru_cache(maxsize=1024)
def compile(pattern: str) -> Regex:
    """Raises ``Refused`` with the reason."""
    if len(pattern) > LIMIT_PATTERN_CHARACTERS:
        raise Refused(f"a pattern may have {LIMIT_PATTERN_CHARACTERS} characters")
    text = _translated(pattern)
    try:
        python = re.compile(text, re.ASCII)
        tree = _parsed(text)
    except (re.error, RecursionError, OverflowError) as e:
        raise Refused(f"error parsing regexp: {e}") from e
    program = _Program()
    program.ends(program.sequence(tree, tree.state.flags))
    return Regex(pattern, python, _Automaton(program))


def _parsed(text: str) -> Any:
    return re._parser.parse(text, re.ASCII)  # type: ignore[attr-defined]


def _translated(pattern: str) -> str:
    """The pattern in Python's spelling: ``$`` is the very end, POSIX classes are spelled out."""
    inside, multiline = False, "(?m" in pattern or re.match(r"\(\?[a-z]*m", pattern) is not None

    def swap(match: re.Match[str]) -> str:
        nonlocal inside
        text = match[0]
        if match["quoted"] is not None:
            return re.escape(match["quoted"])
        if match["escaped"] is not None:
            return {"z": r"\Z", "C": "."}.get(match["escaped"], _unicode(match))
        if match["posix"]:
            name = match["posix"][2:-2]
            if not inside or name.lstrip("^") not in _POSIX or name.startswith("^"):
                return text
            return _POSIX[name]
        if match["flags"]:
            return text if match.start() == 0 else f"{text[:-1]}:)"
        if match["name"]:
            return "(?P<"
        if match["open"]:
            if inside:
                return "\\[" + text[1:].replace("]", "\\]") if len(text) > 1 else "\\["
            inside = True
            return text
        if match["close"]:
            inside = False
            return text
        return text if inside or multiline else r"\Z"

    return _TOKEN.sub(swap, pattern)


def _unicode(match: re.Match[str]) -> str:
    if match["escaped"] in "pP":
        raise Refused(r"error parsing regexp: classes of Unicode (\p) are not supported here")
    return match[0]


class _Program:
    """A pattern as nodes: (``take``, accepts, next), (``split``, nexts), (``assert``, kind, next), (``end``,)."""

    def __init__(self) -> None:
        self.nodes: list[tuple[Any, ...]] = []
        self.start = -1

    def ends(self, make: Callable[[int], int]) -> None:
        self.start = make(self._add("end"))

    def _add(self, *node: Any) -> int:
        if len(self.nodes) >= LIMIT_STATES:
            raise Refused("error parsing regexp: expression too large")
        self.nodes.append(node)
        return len(self.nodes) - 1

    def sequence(self, items: Iterable[Any], flags: int) -> Callable[[int], int]:
        """A function that makes the nodes which lead to a given one, and tells the first."""
        parts = [self._item(str(code).lower(), argument, flags) for code, argument in items]

        def make(then: int) -> int:
            for part in reversed(parts):
                then = part(then)
            return then

        return make

    def _item(self, code: str, argument: Any, flags: int) -> Callable[[int], int]:
        if code in ("literal", "not_literal", "any", "in"):
            takes = accepts(code, argument, flags)
            return lambda then: self._add("take", takes, then)
        if code == "at":
            kind = str(argument).lower()
            if kind == "at_beginning" and flags & re.MULTILINE:
                kind = "at_line_start"
            elif kind == "at_end" and flags & re.MULTILINE:
                kind = "at_line_end"
            return lambda then: self._add("assert", kind, then)
        if code == "subpattern":
            _, added, removed, inner = argument
            return self.sequence(inner, (flags | added) & ~removed)
        if code == "branch":
            arms = [self.sequence(arm, flags) for arm in argument[1]]
            return lambda then: self._add("split", tuple(arm(then) for arm in arms))
        if code in ("max_repeat", "min_repeat"):
            low, high, inner = argument
            return self._repeat(int(low), None if str(high).lower() == "maxrepeat" else int(high),
                                self.sequence(inner, flags))
        raise Refused(f"error parsing regexp: invalid or unsupported Perl syntax: {code}")

    def _repeat(self, low: int, high: int | None, inner: Callable[[int], int]) -> Callable[[int], int]:
        if max(low, high or 0) > 1000:
            raise Refused("error parsing regexp: invalid repeat count")

        def make(then: int) -> int:
            if high is None:
                loop = self._add("split", ())
                self.nodes[loop] = ("split", (inner(loop), then))
                then = loop
            else:
                after = then
                for _ in range(high - low):
                    then = self._add("split", (inner(then), after))
            for _ in range(low):
                then = inner(then)
            return then

        return make


def accepts(code: str, argument: Any, flags: int) -> Accepts:
    """Which characters one item of a parsed pattern takes."""
    fold = bool(flags & re.IGNORECASE)
    if code == "any":
        return (lambda letter: True) if flags & re.DOTALL else (lambda letter: letter != "\n")
    items = argument if code == "in" else [("literal" if code == "literal" else "not_literal", argument)]
    singles: set[str] = set()
    ranges: list[tuple[str, str]] = []
    classes: list[Accepts] = []
    negated = code == "not_literal"
    for kind, value in items:
        match str(kind).lower():
            case "negate":
                negated = True
            case "literal" | "not_literal":
                singles.add(chr(value))
            case "range":
                ranges.append((chr(value[0]), chr(value[1])))
            case "category":
                classes.append(_CATEGORIES[str(value).lower()])

    def within(letter: str) -> bool:
        return letter in singles or any(a <= letter <= b for a, b in ranges) or any(has(letter) for has in classes)

    if fold:
        return lambda letter: (within(letter) or within(letter.lower()) or within(letter.upper())) != negated
    return lambda letter: within(letter) != negated


_CATEGORIES: dict[str, Accepts] = {
    "category_digit": lambda letter: letter in "0123456789", "category_not_digit": lambda c: c not in "0123456789",
    "category_space": lambda letter: letter in "\t\n\f\r ", "category_not_space": lambda c: c not in "\t\n\f\r ",
    "category_word": lambda letter: letter in WORD, "category_not_word": lambda letter: letter not in WORD,
}


class _Automaton:
    """All alternatives at once. A state is the set of nodes that wait for a character, and what came just before."""

    def __init__(self, program: _Program) -> None:
        self._nodes, self._start = program.nodes, program.start
        self._known: dict[tuple[frozenset[int], str], dict[str, tuple[frozenset[int], str] | None]] = {}

    def matches(self, text: str) -> bool:
        state: tuple[frozenset[int], str] = (frozenset(), "start")
        for letter in text:
            steps = self._known.get(state)
            if steps is None:
                if len(self._known) > LIMIT_KNOWN_STATES:
                    self._known.clear()
                steps = self._known[state] = {}
            if letter in steps:
                after = steps[letter]
            else:
                if len(steps) > LIMIT_KNOWN_STATES:
                    steps.clear()
                after = steps[letter] = self._step(state, letter)
            if after is None:
                return True
            state = after
        return self._step(state, "") is None

    def _step(self, state: tuple[frozenset[int], str], letter: str) -> tuple[frozenset[int], str] | None:
        """The state after ``letter`` (empty: at the end); None once the pattern has matched."""
        waiting, before = state
        open_nodes, seen, taken = [*waiting, self._start], set(waiting), set()
        while open_nodes:
            number = open_nodes.pop()
            node = self._nodes[number]
            match node[0]:
                case "end":
                    return None
                case "take":
                    if letter and node[1](letter):
                        taken.add(node[2])
                case "split":
                    fresh = [one for one in node[1] if one not in seen]
                    seen.update(fresh)
                    open_nodes.extend(fresh)
                case _:
                    if holds(node[1], before, letter) and node[2] not in seen:
                        seen.add(node[2])
                        open_nodes.append(node[2])
        kind = "word" if letter in WORD else "line" if letter == "\n" else "other"
        return frozenset(taken), kind


def holds(kind: str, before: str, letter: str) -> bool:
    """Whether an assertion holds after a character of the kind ``before``, and before ``letter`` (empty: the end)."""
    match kind:
        case "at_beginning" | "at_beginning_string":
            return before == "start"
        case "at_end" | "at_end_string":
            return not letter
        case "at_line_start":
            return before in ("start", "line")
        case "at_line_end":
            return not letter or letter == "\n"
        case "at_boundary":
            return (before == "word") != (letter in WORD)
        case _:
            return (before == "word") == (letter in WORD)
