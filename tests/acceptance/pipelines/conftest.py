"""One platform for all tests of this folder: environments are built once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.pipelines.harness import Platform, platform

if not sys.platform.startswith("linux"):
    pytest.skip("the node is for Linux", allow_module_level=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with platform(tmp_path_factory.mktemp("platform")) as running:
        yield running
