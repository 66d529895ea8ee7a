"""The API suite over both transports into the embedded server, and over a real cluster where one is named."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship.client import kubeconfig
from lightship.client.client import Client
from lightship.client.http import Http
from lightship.kube.objects import Key
from lightship.kube.resources import NAMESPACES
from lightship.testing.api_suite import ApiSuite
from lightship.testing.embedded import EmbeddedApi, embedded_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[EmbeddedApi]:
    async with embedded_api(tmp_path) as running:
        yield running


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    name = f"suite-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    yield name
    await client.delete(NAMESPACES, Key("", name))


class TestInProcess(ApiSuite):
    @pytest.fixture
    async def client(self, api: EmbeddedApi) -> AsyncIterator[Client]:
        client = api.in_process()
        yield client
        await client.close()


class TestHttp(ApiSuite):
    @pytest.fixture
    async def client(self, api: EmbeddedApi) -> AsyncIterator[Client]:
        client = api.over_http()
        yield client
        await client.close()


if "LIGHTSHIP_TEST_KUBECONFIG" in os.environ:
    class TestRealCluster(ApiSuite):
        @pytest.fixture
        async def client(self) -> AsyncIterator[Client]:
            client = Client(Http(kubeconfig.load(Path(os.environ["LIGHTSHIP_TEST_KUBECONFIG"]))))
            yield client
            await client.close()
