"""What a database says, as one of our errors."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import exc

from lightship import errors
from lightship.records import faults


@pytest.mark.parametrize("said", ["database or disk is full", "disk I/O error"])
def test_a_full_disk_is_told_with_what_to_do(said: str) -> None:
    told = faults.translate(exc.OperationalError("INSERT", None, sqlite3.OperationalError(said)), "/state/records.db")

    assert isinstance(told, errors.Unavailable)
    assert told.message == f'the records in "/state/records.db" cannot be written: {said}'
    assert "Free space" in told.remedy
