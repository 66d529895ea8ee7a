"""Lists of rows as pages: predicates, one sort order, and a cursor that says after which row to go on.

The query modules call me with their table's fields; REST turns its own filters into ``Predicate``s. Pages follow the
sort value and the id of the last row (not an offset), so rows that come or go meanwhile are neither skipped nor
repeated, and page 1,000 costs what page 1 does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select
from sqlalchemy.engine import Connection, RowMapping

from lightship import errors
from lightship.records.columns import Instant

Operation = Literal["EQUALS", "NOT_EQUALS", "GREATER_THAN", "GREATER_THAN_EQUALS", "LESS_THAN", "LESS_THAN_EQUALS",
                    "IN", "IS_SUBSTRING", "LIKE"]
PREDICATE_LIMIT = 20
VALUES_LIMIT = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Scalar = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Predicate:
    """``field operation value``; IN has ``values``. A time's value is RFC 3339 text, as it came."""

    field: str
    operation: Operation
    values: tuple[Scalar, ...]


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """The last row of the page before: its sort value (times in microseconds) and id."""

    value: Scalar
    id: str | int


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to list: rows that fulfil all ``predicates``, sorted by ``sort`` and then id, at most ``limit`` of them."""

    predicates: tuple[Predicate, ...] = ()
    sort: str = ""
    descending: bool = False
    after: Cursor | None = None
    limit: int = 20


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page; ``next`` is None on the last one, ``total`` counts the rows of all pages."""

    rows: tuple[RowMapping, ...]
    next: Cursor | None
    total: int


_COMPARE: Mapping[str, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]] = {
    "EQUALS": operator.eq,
    "NOT_EQUALS": operator.ne,
    "GREATER_THAN": operator.gt,
    "GREATER_THAN_EQUALS": operator.ge,
    "LESS_THAN": operator.lt,
    "LESS_THAN_EQUALS": operator.le,
    "IS_SUBSTRING": lambda column, value: func.lower(column).contains(str(value).lower(), autoescape=True),
    "LIKE": lambda column, value: column.like(str(value)),
}

Fields = Mapping[str, ColumnElement[Any]]
"""The fields that may be filtered and sorted by, under their public names."""


def page(connection: Connection, statement: Select[Any], fields: Fields, query: Query) -> Page:
    """Runs ``statement`` (which must select a column labelled ``id``) as ``query`` asks, in two statements.

    Raises ``errors.BadRequest`` for a field that the list does not have.
    """
    for predicate in query.predicates:
        statement = statement.where(condition(fields, predicate))
    total = connection.execute(select(func.count()).select_from(statement.order_by(None).subquery())).scalar_one()
    key = _sortable(_field(fields, query.sort or "created_at", "sort by"))
    identity = fields["id"]
    if query.after is not None:
        statement = statement.where(_past(key, identity, query.after, query.descending))
    order = (key.desc(), identity.desc()) if query.descending else (key.asc(), identity.asc())
    statement = statement.add_columns(key.label("_sort")).order_by(*order).limit(query.limit + 1)
    rows = tuple(connection.execute(statement).mappings())
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    last = Cursor(value=_plain(rows[-1]["_sort"]), id=rows[-1]["id"]) if more else None
    return Page(rows=rows, next=last, total=int(total))


def condition(fields: Fields, predicate: Predicate) -> ColumnElement[bool]:
    """The predicate as SQL. Raises ``errors.BadRequest`` where it does not fit the field."""
    column = _field(fields, predicate.field, "filter on")
    if len(predicate.values) > VALUES_LIMIT:
        raise errors.BadRequest(f"a filter has more than {VALUES_LIMIT} values")
    values = [_value(column, predicate.field, value) for value in predicate.values]
    if predicate.operation == "IN":
        return column.in_(values)
    if len(values) != 1:
        raise errors.BadRequest(f'the filter on "{predicate.field}" needs exactly one value')
    return _COMPARE[predicate.operation](column, values[0])


def _field(fields: Fields, name: str, purpose: str) -> ColumnElement[Any]:
    column = fields.get(name)
    if column is None:
        raise errors.BadRequest(f'cannot {purpose} "{name}"', remedy=f"Use one of {', '.join(sorted(fields))}")
    return column


def _value(column: ColumnElement[Any], name: str, value: Scalar) -> Any:
    if isinstance(column.type, Instant):
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError as error:
            raise errors.BadRequest(f'the filter on "{name}" needs an RFC 3339 time, not "{value}"') from error
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    wanted = column.type.python_type
    try:
        return wanted(value)
    except ValueError as error:
        raise errors.BadRequest(f'the filter on "{name}" needs a {wanted.__name__}, not "{value}"') from error


def _sortable(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column with its NULLs before everything, in every database, so that a cursor can compare it."""
    if not getattr(column, "nullable", False):
        return column
    least = _EPOCH if isinstance(column.type, Instant) else column.type.python_type()
    return func.coalesce(column, literal(least, column.type), type_=column.type)


def _past(key: ColumnElement[Any], identity: ColumnElement[Any], after: Cursor,
          descending: bool) -> ColumnElement[bool]:
    value: Any = after.value
    try:
        if isinstance(key.type, Instant):
            value = _EPOCH + timedelta(microseconds=int(after.value))
        place = identity.type.python_type(after.id)
    except (ValueError, TypeError, OverflowError) as error:
        raise errors.BadRequest("the page token belongs to another list") from error
    if descending:
        return or_(key < value, and_(key == value, identity < place))
    return or_(key > value, and_(key == value, identity > place))


def _plain(value: Any) -> Scalar:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    plain: Scalar = value
    return plain
