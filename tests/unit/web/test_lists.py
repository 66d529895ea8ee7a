"""Filters, sort orders and page tokens: what clients send, and what is refused."""

from __future__ import annotations

import json

import pytest

from lightship import errors
from lightship.records.listing import Cursor, Predicate
from lightship.web import filters, paging
from lightship.web.paging import Asked


@pytest.mark.parametrize("predicate", [
    {"operation": 1, "key": "display_name", "stringValue": "a"},
    {"operation": "EQUALS", "key": "display_name", "string_value": "a"},
    {"op": "equals", "key": "display_name", "string_value": "a"},
])
def test_kfp_filters_in_every_spelling(predicate: dict[str, object]) -> None:
    text = json.dumps({"predicates": [predicate]})

    assert filters.kfp(text) == (Predicate(field="display_name", operation="EQUALS", values=("a",)),)


@pytest.mark.parametrize(("predicate", "expected"), [
    ({"operation": 8, "key": "k", "stringValues": {"values": ["a", "b"]}}, ("IN", ("a", "b"))),
    ({"operation": "IN", "key": "k", "int_values": {"values": [1]}}, ("IN", (1,))),
    ({"operation": 9, "key": "k", "string_value": "x"}, ("IS_SUBSTRING", ("x",))),
    ({"operation": 5, "key": "k", "timestampValue": "2026-01-01T00:00:00Z"},
     ("GREATER_THAN_EQUALS", ("2026-01-01T00:00:00Z",))),
    ({"operation": "NOT_EQUALS", "key": "k", "int_value": 0}, ("NOT_EQUALS", (0,))),
])
def test_kfp_operations_and_values(predicate: object, expected: tuple[str, tuple[object, ...]]) -> None:
    found, = filters.kfp(json.dumps({"predicates": [predicate]}))

    assert (found.operation, found.values) == expected


@pytest.mark.parametrize("text", [
    "{", "[]", '{"predicates": 1}', '{"predicates": [1]}', '{"predicates": [{"operation": 4, "key": "k"}]}',
    '{"predicates": [{"operation": 1, "stringValue": "a"}]}', '{"predicates": [{"operation": 1, "key": "k"}]}',
    '{"predicates": [{"operation": 8, "key": "k", "stringValues": {"values": [{}]}}]}', " " * 70000,
    '{"predicates": [' + ",".join(['{"operation": 1, "key": "k", "stringValue": "a"}'] * 21) + "]}",
])
def test_kfp_filters_that_are_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        filters.kfp(text)


def test_no_filter_is_no_predicate() -> None:
    assert filters.kfp("") == filters.kfp("{}") == filters.registry(" ") == ()


@pytest.mark.parametrize(("text", "expected"), [
    ("name = 'a'", [("name", "EQUALS", ("a",))]),
    ('name="a b" AND state != "ARCHIVED"', [("name", "EQUALS", ("a b",)), ("state", "NOT_EQUALS", ("ARCHIVED",))]),
    ("name LIKE '%x%' and id >= 3", [("name", "LIKE", ("%x%",)), ("id", "GREATER_THAN_EQUALS", (3,))]),
    (r"name = 'it\'s'", [("name", "EQUALS", ("it's",))]),
    ("id IN (1, 2.5, true)", [("id", "IN", (1, 2.5, True))]),
])
def test_registry_filters(text: str, expected: list[tuple[str, str, tuple[object, ...]]]) -> None:
    assert [(each.field, each.operation, each.values) for each in filters.registry(text)] == expected


@pytest.mark.parametrize("text", [
    "name", "name =", "= 'a'", "name = a", "name = 'a' OR id = 1", "name = 'a' id = 1", "name = 'a", "id IN 1",
    "id IN (1", "id IN (1 2)", "name ; 'a'", "1 = 1",
])
def test_registry_filters_that_are_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest, match="cannot read the filter"):
        filters.registry(text)


def test_a_token_goes_on_where_its_page_ended() -> None:
    asked = Asked(sort="created_at", descending=True)
    token = paging.token(asked, Cursor(value=5, id="x"))

    assert paging.query(Asked(sort="created_at", descending=True, page_token=token)).after == Cursor(value=5, id="x")
    assert paging.token(asked, None) == ""


@pytest.mark.parametrize("asked", [
    {"sort": "name"}, {"descending": True}, {"scope": ("other",)},
    {"predicates": (Predicate(field="a", operation="EQUALS", values=(1,)),)},
])
def test_a_token_of_another_list_is_refused(asked: dict[str, object]) -> None:
    token = paging.token(Asked(), Cursor(value=5, id="x"))

    with pytest.raises(errors.BadRequest, match="not one of this list"):
        paging.query(Asked(page_token=token, **asked))  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["x", "é", "W10", "a" * 5000, "WzEsMiwzXQ"])
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(errors.BadRequest):
        paging.query(Asked(page_token=token))


@pytest.mark.parametrize(("text", "rows"), [("", 20), ("0", 20), ("5", 5), ("1000", 200)])
def test_page_sizes(text: str, rows: int) -> None:
    assert paging.page_rows(text) == rows


@pytest.mark.parametrize("text", ["-1", "x", "1.5"])
def test_page_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        paging.page_rows(text)


def test_sort_orders() -> None:
    assert paging.sort_order("", "created_at") == ("created_at", False)
    assert paging.sort_order("name desc", "x") == ("name", True)
    for text in ("name down", "a b c"):
        with pytest.raises(errors.BadRequest):
            paging.sort_order(text, "x")
