"""Fixtures of the pipelines API's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.kfp_rest import place


@pytest.fixture
async def pipelines(tmp_path: Path) -> AsyncIterator[place.Platform]:
    async with place.running(tmp_path) as running:
        yield running
