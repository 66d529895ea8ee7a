"""A server in a temporary directory, and a way to send it raw requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lightship.client.client import Client
from lightship.client.transport import Request, Response
from lightship.kube.objects import Object
from lightship.kube.resources import Column, Resource
from lightship.testing.embedded import CONTROLLER, EmbeddedApi, EmbeddedOptions, embedded_api

WIDGETS = Resource(
    group="example.com", version="v1", kind="Widget", plural="widgets", short_names=("wd",),
    subresources=frozenset({"status"}),
    columns=(Column(name="Size", path=".spec.size", type="integer"),
             Column(name="Ready", path='.status.conditions[?(@.type=="Ready")].status')))


@dataclass(frozen=True)
class Fault:
    path: str
    message: str


@dataclass(frozen=True)
class WidgetKind:
    """A custom kind as a domain passes it in."""

    resource: Resource = WIDGETS
    schema: Mapping[str, Any] | None = None
    related: None = None
    validate_with: None = None
    pod_of: None = None
    amend_pod: None = None

    @property
    def default(self) -> Callable[[Object], Object]:
        return lambda obj: obj | {"spec": {"size": 1} | (obj.get("spec") or {})}

    @property
    def validate(self) -> Callable[[Object, Object | None], Sequence[Fault]]:
        return lambda obj, old: [Fault("spec.size", "Invalid value: too big")] if obj["spec"]["size"] > 9 else []


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[EmbeddedApi]:
    async with embedded_api(tmp_path, EmbeddedOptions(kinds=[WidgetKind()])) as running:
        yield running


@pytest.fixture
async def client(api: EmbeddedApi) -> Client:
    return api.in_process()


class Caller:
    """Sends requests straight to ``handle`` as the controller, or as whoever the headers say."""

    def __init__(self, api: EmbeddedApi) -> None:
        self._api = api

    async def send(self, method: str, url: str, body: bytes | Any = b"", **headers: str) -> Response:
        path, _, query = url.partition("?")
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        user = None if "authorization" in named or named.pop("anonymous", "") else CONTROLLER
        return await self._api.server.handle(Request(method=method, path=path, query=query, headers=named, body=data,
                                                     user=user))

    async def json(self, method: str, url: str, body: bytes | Any = b"", **headers: str) -> tuple[int, Any]:
        response = await self.send(method, url, body, **headers)
        assert isinstance(response.body, bytes)
        return response.status, msgspec.json.decode(response.body)


@pytest.fixture
def caller(api: EmbeddedApi) -> Caller:
    return Caller(api)
