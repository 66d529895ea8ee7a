"""The registry's API on a real server and database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship.domains.registry import routes
from lightship.lib.clock import SYSTEM
from lightship.records.database import Database
from lightship.records.notices import Notices
from tests.unit.web import harness
from tests.unit.web.harness import Site


@pytest.fixture
async def deps(tmp_path: Path) -> AsyncIterator[routes.Deps]:
    database = Database(f"sqlite:///{tmp_path / 'records.db'}")
    await database.migrate()
    yield routes.Deps(database=database, notices=Notices(), clock=SYSTEM)
    await database.close()


@pytest.fixture
async def site(deps: routes.Deps) -> AsyncIterator[Site]:
    async with harness.serving(routes.routes(deps)) as site:
        yield site
