"""Lists over HTTP: page sizes, sort orders, and the opaque token that names the next page. Pure.

A token holds the last row's sort value and id, and a fingerprint of the query it belongs to, so that nobody goes on in
a list that was never begun.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from lightship import errors
from lightship.records.listing import Cursor, Predicate, Query

DEFAULT_PAGE_ROWS = 20
PAGE_LIMIT_ROWS = 200
TOKEN_LIMIT_CHARACTERS = 4096


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client asked of a list. ``scope`` is whatever else selects its rows, such as a parent's id."""

    page_size: str = ""
    page_token: str = ""
    sort: str = ""
    descending: bool = False
    predicates: tuple[Predicate, ...] = ()
    scope: tuple[str, ...] = ()


def query(asked: Asked) -> Query:
    """The query to run. Raises ``errors.BadRequest`` for a size or token that cannot be."""
    return Query(predicates=asked.predicates, sort=asked.sort, descending=asked.descending,
                 after=_cursor(asked) if asked.page_token else None, limit=page_rows(asked.page_size))


def token(asked: Asked, following: Cursor | None) -> str:
    """The token of the next page; empty on the last one."""
    if following is None:
        return ""
    packed = msgspec.json.encode([following.value, following.id, _fingerprint(asked)])
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def page_rows(text: str) -> int:
    """The page size: 20 where none is asked for, at most 200."""
    if not text or text == "0":
        return DEFAULT_PAGE_ROWS
    try:
        size = int(text)
    except ValueError:
        size = -1
    if size < 0:
        raise errors.BadRequest(f'the page size must be a number of at most {PAGE_LIMIT_ROWS}, not "{text[:40]}"')
    return min(size, PAGE_LIMIT_ROWS)


def sort_order(text: str, default: str) -> tuple[str, bool]:
    """KFP's ``sort_by``: ``field``, ``field asc`` or ``field desc``; the field, and whether it descends."""
    words = text.split() or [default]
    if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
        raise errors.BadRequest(f'cannot sort by "{text[:100]}"', remedy='Write "field", "field asc" or "field desc"')
    return words[0], len(words) == 2 and words[1].lower() == "desc"


def _cursor(asked: Asked) -> Cursor:
    text = asked.page_token
    wrong = errors.BadRequest("the page token is not one of this list", remedy="Begin again without a token")
    if len(text) > TOKEN_LIMIT_CHARACTERS:
        raise wrong
    try:
        parts: Any = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        value, identity, fingerprint = parts
    except (ValueError, binascii.Error, msgspec.DecodeError, TypeError) as error:
        raise wrong from error
    if fingerprint != _fingerprint(asked) or not isinstance(value, str | int | float) or not isinstance(
            identity, str | int):
        raise wrong
    return Cursor(value=value, id=identity)


def _fingerprint(asked: Asked) -> str:
    packed = msgspec.json.encode([asked.sort, asked.descending, asked.predicates, asked.scope])
    return hashlib.sha256(packed).hexdigest()[:12]
