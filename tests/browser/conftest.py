"""Fixtures of the page's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser import place


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[place.Place]:
    async with place.running(tmp_path) as running:
        yield running
