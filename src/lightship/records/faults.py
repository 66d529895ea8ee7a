"""Turns the database's errors into ours. ``database`` and the query modules call me; I am pure."""

from __future__ import annotations

from sqlalchemy import exc

from lightship import errors

_BROKEN = ("file is not a database", "malformed", "file is encrypted")
_CLOSED = ("unable to open database file", "readonly database", "attempt to write a readonly")
_FULL = ("database or disk is full", "disk I/O error")
_REPEATABLE = frozenset({"40001", "40P01"})


def repeatable(error: exc.DBAPIError) -> bool:
    """Whether the same transaction may succeed when run again: PostgreSQL's serialization failure or deadlock."""
    return getattr(error.orig, "sqlstate", None) in _REPEATABLE


def translate(error: exc.SQLAlchemyError, place: str) -> errors.LightshipError:
    """Our error for ``error``, met in the database at ``place`` (a path, or a URL without its password)."""
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if isinstance(error, exc.IntegrityError):
        return errors.Conflict(f"the records refuse the write: {cause}")
    if any(text in cause for text in _BROKEN):
        return errors.StateError(
            f'the records in "{place}" are damaged or not a database: {cause}',
            remedy="Stop Lightship, put a backup of the file in its place, or move the file away to begin anew",
        )
    if any(text in cause for text in _CLOSED):
        return errors.StateError(
            f'the records in "{place}" cannot be written: {cause}',
            remedy="Check that the directory exists, that you own it and that the disk is not mounted read-only",
        )
    if any(text in cause for text in _FULL):
        return errors.Unavailable(
            f'the records in "{place}" cannot be written: {cause}',
            remedy="Free space on that disk and try again; nothing of this write was kept",
        )
    if isinstance(error, exc.DBAPIError):
        return errors.Unavailable(f'the records in "{place}" cannot be used just now: {cause}')
    return errors.InternalError(f'a query of the records in "{place}" is wrong: {cause}')
