"""Query strings, read once and leniently where clients differ. Pure; every verb calls me."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from lightship import errors

LIMIT_QUERY_CHARACTERS = 256 * 1024
LIMIT_QUERY_FIELDS = 100

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false", ""})


class Query(Mapping[str, str]):
    """The parameters; the first value of each counts."""

    __slots__ = ("_values",)

    def __init__(self, text: str) -> None:
        self._values: dict[str, str] = {}
        if not text:
            return
        if len(text) > LIMIT_QUERY_CHARACTERS:
            raise errors.BadRequest(f"a query may have {LIMIT_QUERY_CHARACTERS} characters")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=LIMIT_QUERY_FIELDS)
        except ValueError as e:
            raise errors.BadRequest(f"could not read the query: {e}") from e
        for key, value in pairs:
            self._values.setdefault(key, value)

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def text(self, key: str) -> str:
        return self._values.get(key, "")

    def flag(self, key: str) -> bool:
        """A Go-style bool: ``true``, ``True``, ``1``, ``t``; present without a value is true."""
        value = self._values.get(key)
        if value is None:
            return False
        lower = value.lower()
        if lower in _TRUE or (lower == "" and key in self._values):
            return True
        if lower in _FALSE:
            return False
        raise errors.BadRequest(f"{key} must be true or false, not {value[:100]!r}")

    def number(self, key: str, default: int = 0) -> int:
        """A non-negative integer."""
        value = self._values.get(key, "")
        if not value:
            return default
        if not (value.isascii() and value.isdigit()) or len(value) > 18:
            raise errors.BadRequest(f"{key} must be a number of 0 or more, not {value[:100]!r}")
        return int(value)

    def dry_run(self) -> bool:
        value = self._values.get("dryRun", "")
        if value not in ("", "All"):
            raise errors.BadRequest(f"dryRun must be All, not {value[:100]!r}")
        return value == "All"
