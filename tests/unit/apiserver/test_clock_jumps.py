"""A wall clock that jumps by a day, as a laptop's may: what follows it, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.client.http import Http
from lightship.client.kubeconfig import ClusterConfig
from lightship.kube import objects, times
from lightship.kube.objects import Key
from lightship.kube.resources import CONFIGMAPS, SERVICE_ACCOUNTS
from lightship.lib.clock import SystemClock
from lightship.testing.embedded import EmbeddedApi, EmbeddedOptions, embedded_api

DAY = timedelta(days=1)


class JumpingClock(SystemClock):
    """The machine's clock, put forward or back by ``jump``; what is monotonic does not notice."""

    jump = timedelta()

    def now(self) -> datetime:
        return super().now() + self.jump


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
async def api(tmp_path: Path, clock: JumpingClock) -> AsyncIterator[EmbeddedApi]:
    async with embedded_api(tmp_path, EmbeddedOptions(clock=clock)) as running:
        yield running


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_writes_keep_their_order_and_watches_their_streams(api: EmbeddedApi, clock: JumpingClock,
                                                                 jump: timedelta) -> None:
    client = api.over_http()
    first = await client.create(CONFIGMAPS, config_map("a"))
    watching = client.watch(CONFIGMAPS, resource_version=objects.meta(first)["resourceVersion"], timeout_seconds=60)
    nothing_yet = asyncio.create_task(anext(watching))
    await asyncio.sleep(0)
    clock.jump = jump
    second = await client.create(CONFIGMAPS, config_map("b"))
    event = await asyncio.wait_for(nothing_yet, 10)
    assert (event.type, objects.name(event.object)) == ("ADDED", "b"), "the stream went on"
    assert int(objects.meta(second)["resourceVersion"]) > int(objects.meta(first)["resourceVersion"])
    gap = times.parse(objects.meta(second)["creationTimestamp"]) - times.parse(objects.meta(first)["creationTimestamp"])
    assert abs(gap - jump) < timedelta(minutes=1), "times say what the clock said"
    listed = await client.list(CONFIGMAPS)
    assert {"a", "b"} <= {objects.name(obj) for obj in listed.items}
    await watching.aclose()
    await client.close()


async def test_a_token_ends_by_the_clock_and_is_good_again_when_that_is_put_right(api: EmbeddedApi,
                                                                                 clock: JumpingClock) -> None:
    admin = api.in_process()
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600},
               "metadata": {"namespace": "default"}}
    answer = await admin.create(SERVICE_ACCOUNTS, request, name="default", subresource="token")
    client = Client(Http(ClusterConfig(server=api.url, ca_pem=api.ca_pem.encode(), token=answer["status"]["token"])))
    await client.raw("GET", "/version")
    clock.jump = DAY
    with pytest.raises(errors.Unauthenticated):
        await client.raw("GET", "/apis")
    clock.jump = timedelta()
    await client.raw("GET", "/apis")
    clock.jump = -DAY
    await admin.create(CONFIGMAPS, config_map("c"))
    await admin.delete(CONFIGMAPS, Key("default", "c"))
    await client.close()
