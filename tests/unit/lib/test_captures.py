"""Groups of patterns, against Python's own where both mean the same, and what no pattern may cost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightship.lib import captures, regex

PATTERNS = (
    r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)", r"{metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}",
    r"(a|ab)(c|bcd)(d*)", r"(a+?)(a*)", r"(?:x(\d{1,3}))+", r"^(\w+) .*?(\d+)$", r"\b(l\w*)\b", r"(a*)(b?)",
    r"(?i)(LOSS)=(.)")


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text(alphabet="abcdlos=x0123.- Ee{}:,metricNameValue", max_size=40))
@settings(max_examples=60, deadline=None)
def test_groups_are_those_of_a_backtracking_engine(pattern: str, text: str) -> None:
    def own(found: re.Match[str]) -> tuple[str, ...]:
        return tuple(part or "" for part in (found[0], *found.groups()))

    python = [own(found) for found in re.compile(pattern, re.ASCII).finditer(text)]
    ours = captures.findall(regex.compile(pattern), text)
    # Go leaves out an empty match that abuts the one before; Python does not.
    assert [found for found in ours if found[0]] == [found for found in python if found[0]]


def test_the_first_alternative_wins_as_in_go() -> None:
    assert captures.findall(regex.compile("(a|ab)(c|bcd)?"), "abcd") == [("abcd", "a", "bcd")]
    assert captures.findall(regex.compile("a*"), "baac") == [("",), ("aa",), ("",)]
    assert captures.groups(regex.compile("(a)(?:b)(?P<name>c)")) == 2


@pytest.mark.parametrize("pattern", ["(a+)+b", "((a*)*)*b", "(.*)(.*)(.*)(.*)=x", "(a|a)*(a|a)*b"])
def test_no_pattern_makes_a_text_cost_more_than_its_limit(pattern: str) -> None:
    search = captures._Search(captures._program(pattern), "a" * 4096)
    assert list(search.matches()) == []
    assert search._left > -10
