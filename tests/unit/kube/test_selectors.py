from __future__ import annotations

import pytest

from lightship import errors
from lightship.kube import selectors

LABELS = {"app": "web", "tier": "front", "n": "5", "example.com/x": ""}


@pytest.mark.parametrize(("text", "matches"), [
    ("", True), ("app=web", True), ("app==web,tier!=back", True), ("app in (web, api)", True),
    ("app notin (web)", False), ("app", True), ("!app", False), ("!nope", True), ("nope", False), ("n>4", True),
    ("n<5", False), ("nope!=x", True), ("example.com/x=", True), ("app=,tier", False), (" app = web , n > 1 ", True),
])
def test_label_selectors_match(text: str, matches: bool) -> None:
    selector = selectors.parse_labels(text)
    assert selector.matches(LABELS) is matches
    assert selectors.parse_labels(selectors.render(selector)).matches(LABELS) is matches


@pytest.mark.parametrize("text", [
    "app=web,", ",", "app in web", "app in (", "a b", "=x", "app=web=x", "a/b/c", "-x", "app in ()x", "n>x",
    "app=" + "x" * 64, "\x00", "app=\U0001f600", "x" * 70_000,
])
def test_broken_label_selectors_are_bad_requests(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        selectors.parse_labels(text)


def test_object_selectors() -> None:
    selector = selectors.from_object({"matchLabels": {"app": "web"},
                                      "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]},
                                                           {"key": "x", "operator": "DoesNotExist"}]})
    assert selector.matches(LABELS)
    assert not selector.matches({"app": "web", "tier": "front", "x": "1"})
    assert selectors.from_object({}).matches(LABELS)
    with pytest.raises(errors.InvalidInput):
        selectors.from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_field_selectors() -> None:
    fields = {"metadata.name": "a", "status.phase": "Running"}
    assert selectors.parse_fields("metadata.name=a,status.phase!=Failed").matches(lambda f: fields.get(f, ""))
    assert not selectors.parse_fields("metadata.name==b").matches(lambda f: fields.get(f, ""))
    assert selectors.parse_fields("metadata.name=a").exact("metadata.name") == "a"
    assert selectors.parse_fields(r"reason=a\,b").exact("reason") == "a,b"
    with pytest.raises(errors.BadRequest):
        selectors.parse_fields("metadata.name")


def test_a_field_selector_of_blanks_is_read_in_one_pass() -> None:
    blank = " " * 60_000
    assert selectors.parse_fields(f"a=b{blank}x").exact("a") == f"b{blank}x"
    with pytest.raises(errors.BadRequest):
        selectors.parse_fields(f"{'a' * 30_000}{' ' * 30_000}x=y")


def test_long_selectors_are_not_remembered() -> None:
    selectors.parse_labels(f"a in ({','.join(f'v{number}' for number in range(1000))})")
    selectors.parse_fields(f"a={'x' * 10_000}")
    for remembered in (selectors._remembered_labels, selectors._remembered_fields):
        before = remembered.cache_info().misses
        selectors.parse_labels(f"a in ({','.join(f'w{number}' for number in range(1000))})")
        selectors.parse_fields(f"a={'y' * 10_000}")
        assert remembered.cache_info().misses == before
