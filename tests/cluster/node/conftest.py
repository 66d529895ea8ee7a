"""A node with real processes, once a test."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship.testing.nodes import NodeUnderTest, node_under_test

if not sys.platform.startswith("linux"):
    pytest.skip("the node is for Linux", allow_module_level=True)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeUnderTest]:
    async with node_under_test(tmp_path / "data" / "node") as running:
        if not running.node.isolation.available:
            pytest.skip(f"no isolation here: {running.node.isolation.reason}")
        yield running
