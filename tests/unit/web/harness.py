"""A real HTTP server around some routes, with stand-ins for who is who and who may what."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from starlette.routing import BaseRoute

from lightship.client.transport import User
from lightship.web import application, server
from lightship.web.access import Attributes

TOKEN = "token-of-alice"
ALICE = User(name="alice", groups=("system:authenticated",))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Site:
    """The served routes. ``reviews`` holds what was asked of the access review; ``allow`` answers it."""

    url: str
    session: aiohttp.ClientSession
    server: server.Server
    allow: Callable[[Attributes], bool] = lambda asked: True
    reviews: list[Attributes] = field(default_factory=list)

    async def call(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token}")
        async with self.session.request(method, self.url + path, headers=headers, allow_redirects=False,
                                        **options) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, json=body, **options)

    async def patch(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("PATCH", path, json=body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.call("DELETE", path, **options)


@contextlib.asynccontextmanager
async def serving(routes: Sequence[BaseRoute]) -> AsyncIterator[Site]:
    async def authenticate(token: str) -> User | None:
        return ALICE if token == TOKEN else None

    async def reviewer(user: User, asked: Attributes) -> bool:
        site.reviews.append(asked)
        return site.allow(asked)

    app = application.build(routes, application.Options(authenticate=authenticate, reviewer=reviewer))
    running = server.Server(app, server.bind("127.0.0.1", 0))
    await running.start()
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            site = Site(f"http://127.0.0.1:{running.port}", session, running)
            yield site
    finally:
        await running.stop()
