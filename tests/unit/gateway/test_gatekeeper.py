"""Tokens: asked about once, believed for a while, and never past it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from lightship import errors
from lightship.client.client import Client
from lightship.client.transport import Request, Response
from lightship.gateway.gatekeeper import ALLOWED, MISSING, Reviews, Target
from lightship.gateway.options import Limits

TARGET = Target("default", "iris")


class Api:
    """Answers reviews: knows the token "good", whose user may get what is in ``allowed``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.allowed = {"iris"}
        self.down = False

    async def send(self, request: Request) -> Response:
        if self.down:
            raise errors.Unavailable("the API server is away")
        body = msgspec.json.decode(request.body)
        kind = body["kind"]
        self.asked.append(kind)
        await asyncio.sleep(0)
        status: dict[str, Any]
        if kind == "TokenReview":
            good = body["spec"]["token"] == "good"
            status = {"authenticated": good, "user": {"username": "ann"} if good else {}}
        else:
            where = body["spec"].get("resourceAttributes") or body["spec"]["nonResourceAttributes"]
            status = {"allowed": body["spec"]["user"] == "ann" and where.get("name", where.get("path")) in self.allowed}
        return Response(status=201, body=msgspec.json.encode(body | {"status": status}))

    async def close(self) -> None:
        return None


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reviews(api: Api, time: Time, **limits: Any) -> Reviews:
    return Reviews(Client(api), Limits(**limits), time)


async def test_a_token_is_reviewed_once_and_again_when_the_answer_is_old() -> None:
    api, time = Api(), Time()
    keeper = reviews(api, time, review_seconds=60)
    assert keeper.known(b"Bearer good", TARGET) is None
    verdicts = await asyncio.gather(*(keeper.review(b"bearer good", TARGET) for _ in range(10)))
    assert set(verdicts) == {ALLOWED}
    assert api.asked == ["TokenReview", "SubjectAccessReview"]
    assert keeper.known(b"Bearer good", TARGET) == ALLOWED
    time.now = 60
    assert keeper.known(b"Bearer good", TARGET) is None


async def test_a_verdict_is_for_one_target_only() -> None:
    api = Api()
    keeper = reviews(api, Time())
    await keeper.review(b"Bearer good", TARGET)
    other = Target("default", "secret")
    assert keeper.known(b"Bearer good", other) is None
    verdict = await keeper.review(b"Bearer good", other)
    assert isinstance(verdict.error, errors.Forbidden)
    assert "default/secret" in str(verdict.error)
    assert keeper.known(b"Bearer good", other) == verdict


async def test_no_token_and_a_wrong_one() -> None:
    api = Api()
    keeper = reviews(api, Time())
    for nothing in (b"", b"Bearer ", b"Basic good", b"Bearer " + b"x" * 20_000):
        assert keeper.known(nothing, TARGET) == MISSING
    verdict = await keeper.review(b"Bearer bad", TARGET)
    assert isinstance(verdict.error, errors.Unauthenticated)
    assert "SubjectAccessReview" not in api.asked


async def test_a_flood_of_bad_tokens_pushes_out_no_good_one() -> None:
    api = Api()
    keeper = reviews(api, Time(), reviews_cached=4)
    await keeper.review(b"Bearer good", TARGET)
    for number in range(20):
        await keeper.review(b"Bearer bad%d" % number, TARGET)
    assert keeper.known(b"Bearer good", TARGET) == ALLOWED
    assert keeper.known(b"Bearer bad0", TARGET) is None


async def test_an_api_server_that_is_away_is_no_verdict() -> None:
    api = Api()
    keeper = reviews(api, Time())
    api.down = True
    verdict = await keeper.review(b"Bearer good", TARGET)
    assert isinstance(verdict.error, errors.Unavailable)
    api.down = False
    assert await keeper.review(b"Bearer good", TARGET) == ALLOWED


async def test_the_gateways_own_pages_are_reviewed_by_path() -> None:
    api = Api()
    keeper = reviews(api, Time())
    assert isinstance((await keeper.review(b"Bearer good", Target("", "/-/metrics"))).error, errors.Forbidden)
    api.allowed.add("/-/routes")
    assert await keeper.review(b"Bearer good", Target("", "/-/routes")) == ALLOWED
