"""Patterns as RE2 reads them: what they match, that no text makes them slow, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.lib import regex


@pytest.mark.parametrize(("pattern", "text", "matches"), [
    ("^a.*b$", "axxb", True), ("^a$", "a\n", False), ("a", "xay", True), ("^[[:alpha:]_]+$", "ab_", True),
    (r"^\d{2,3}$", "12", True), (r"^\d{2,3}$", "1234", False), ("^(foo|bar)+$", "foobarfoo", True),
    (r"^\Qa.b\E$", "a.b", True), (r"^\Qa.b\E$", "axb", False), (r"^a\z", "a", True), ("(?i)^ABC$", "abc", True),
    (r"\bfoo\b", "a foo b", True), (r"\bfoo\b", "afoob", False), ("^[^a-c]+$", "xyz", True), ("^$", "", True),
    (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "a-b.c", True),
    (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "a-.c", False),
    ("(?s)a.b", "a\nb", True), ("a.b", "a\nb", False), ("(?m)^b$", "a\nb\nc", True), ("(?P<n>a)(?:b)?", "a", True),
    (r"[\[\]]", "]", True), ("[]a]", "]", True), (r"^\d$", "٣", False), ("a{0}b", "b", True), ("(a*)*b", "b", True),
])
def test_what_a_pattern_matches(pattern: str, text: str, matches: bool) -> None:
    assert regex.compile(pattern).search(text) is matches


def test_a_text_that_kills_backtracking_costs_nothing() -> None:
    for pattern in ("(a+)+$", "(a|a)*$", "(a*)*b", "(.*a){20}"):
        assert regex.compile(pattern).search("a" * 20_000 + "!") in (True, False)


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", r"(a)\1", "[z-a]", "a{2000}", "((a{100}){100}){100}", "*"])
def test_what_is_refused(pattern: str) -> None:
    with pytest.raises(regex.Refused):
        regex.compile(pattern)


@given(st.from_regex(r"(?:[abc]|\[ab\]|\.|[ab][*+?]|\((?:a|b|ab)\)[*?]?|\((?:a\|b\|bc)\)[+]?){1,6}", fullmatch=True),
       st.text("abc\n", max_size=12))
def test_it_agrees_with_backtracking(pattern: str, text: str) -> None:
    assert regex.compile(pattern).search(text) is (re.search(pattern, text) is not None)
