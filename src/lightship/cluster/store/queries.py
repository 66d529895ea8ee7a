"""The store's SQL by name, read once from ``queries.sql``. ``log`` calls me."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


@cache
def statements() -> dict[str, str]:
    """Name to statement, without its comments and final semicolon."""
    text = (resources.files(__package__) / "queries.sql").read_text(encoding="utf-8")
    return {name: re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip().rstrip(";")
            for name, body in _NAMED.findall(text)}
