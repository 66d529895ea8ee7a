"""Broken selectors are refused in the words of a real kube-apiserver 1.36, of which these are the answers."""

from __future__ import annotations

import pytest

from lightship import errors
from lightship.kube import selectors

P = "unable to parse requirement: "
NUMBER = "for 'Gt', 'Lt' operators, the value must be an integer"


@pytest.mark.parametrize(("text", "words"), [
    ("a=b=c", "found '=', expected: ',' or 'end of string'"),
    ("a in", P + "found '' expected: '('"),
    ("a in (b", P + "found '', expected: ',' or ')'"),
    ("a in b", P + "found 'b' expected: '('"),
    ("!", P + "found '', expected: identifier"),
    ("a,,b", "found ',', expected: identifier after ','"),
    ("=a", "found '=', expected: !, identifier, or 'end of string'"),
    ("a=b c", "found 'c', expected: ',' or 'end of string'"),
    ("-a=b", P + '<nil>: Invalid value: "-a": name part must consist of alphanumeric characters'),
    ("a=-b", P + 'values[0][a]: Invalid value: "-b": a valid label must be an empty string or consist of'),
    ("a>x", P + 'values[0]: Invalid value: "x": ' + NUMBER),
    ("a>1,b<", P + 'values[0]: Invalid value: "": ' + NUMBER),
    ("!a=b", "found '=', expected: ',' or 'end of string'"),
    ("(a)", "found '(', expected: !, identifier, or 'end of string'"),
    ("a=b,", "found '', expected: identifier after ','"),
    ("a b", P + "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    ("a/b/c=d", P + '<nil>: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters'),
    ("A/b=c", P + '<nil>: Invalid value: "A/b": prefix part a lowercase RFC 1123 subdomain must consist of'),
    ("x" * 64 + "=a", P + f'<nil>: Invalid value: "{"x" * 64}": name part must be no more than 63 bytes'),
    ("a=" + "x" * 64, P + f'values[0][a]: Invalid value: "{"x" * 64}": must be no more than 63 bytes'),
    ("*", P + '<nil>: Invalid value: "*": name part must consist of'),
])
def test_label_selectors(text: str, words: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        selectors.parse_labels(text)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(("text", "labels"), [
    ("a in ()", {"a": ""}), ("a in (b,)", {"a": ""}), ("a in (,)", {"a": ""}), ("a==", {"a": ""}), ("a!=", {"a": "b"}),
    ("a>1", {"a": "2"}), ("in in (in, notin)", {"in": "notin"}), ("a in (,,b)", {"a": ""})])
def test_what_looks_odd_and_is_right(text: str, labels: dict[str, str]) -> None:
    assert selectors.parse_labels(text).matches(labels)


@pytest.mark.parametrize(("text", "words"), [
    ("a", "invalid selector: 'a'; can't understand 'a'"),
    ("metadata.name=a,b", "invalid selector: 'metadata.name=a,b'; can't understand 'b'"),
    ("metadata.name!=a\\", "invalid field selector: invalid escape sequence: \\"),
    ("metadata.name=a\\q", "invalid field selector: invalid escape sequence: \\q"),
    ("metadata.name=a==b", "invalid field selector: unescaped character in value: 61"),
])
def test_field_selectors(text: str, words: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        selectors.parse_fields(text)
    assert str(caught.value) == words
    assert selectors.parse_fields(r"a=b\,c\=d\\").requirements[0].value == "b,c=d\\"
