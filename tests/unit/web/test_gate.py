"""The gate before every route: identities, hosts, origins, sessions, access reviews."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from lightship import errors
from lightship.web import access, auth, bodies
from lightship.web.endpoints import route
from tests.unit.web import harness
from tests.unit.web.harness import Site


async def who(request: Request) -> Any:
    access.everyone(request)
    return {"user": auth.user(request).name}


async def thing(request: Request) -> Any:
    await access.review(request, access.Attributes(verb="get", resource="things", namespace="default"))
    return {}


async def careless(request: Request) -> Any:
    return {"secret": 1}


async def broken(request: Request) -> Any:
    raise RuntimeError("password in a message")


async def echo(request: Request) -> Any:
    access.everyone(request)
    return await bodies.json_object(request, 1000)


async def refusing(request: Request) -> Any:
    raise errors.Conflict("changed meanwhile", remedy="Read it again")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    routes = [route("/who", who, methods=("GET", "POST")), route("/thing", thing), route("/careless", careless),
              route("/broken", broken), route("/echo", echo, methods=("POST",)), route("/refusing", refusing),
              route("/apis/v2beta1/refusing", refusing), route("/api/model_registry/v1/refusing", refusing)]
    async with harness.serving(routes) as site:
        yield site


async def logged_in(site: Site) -> dict[str, str]:
    answer = await site.get(f"/login?token={harness.TOKEN}", token=None)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert re.search(r"HttpOnly.*; SameSite=strict", cookie)
    assert harness.TOKEN not in cookie
    return {"Cookie": cookie.split(";")[0]}


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {harness.TOKEN}"}, {"Authorization": "Bearer"},
    {"kubeflow-userid": "alice"}, {"X-Forwarded-User": "alice"}, {"x-remote-user": "alice"},
    {"Cookie": "lightship_session=guess"}, {"Cookie": f"lightship_session={harness.TOKEN}"},
    {"Authorization": "Bearer " + "x" * 20000},
])
async def test_without_a_valid_token_nobody_passes(site: Site, headers: dict[str, str]) -> None:
    assert (await site.post("/who", token=None, headers=headers)).status == 401
    answer = await site.get("/who", token=None, headers=headers)

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_names_its_user_whatever_other_headers_say(site: Site) -> None:
    answer = await site.get("/who", headers={"kubeflow-userid": "root"})

    assert answer.json == {"user": "alice"}


async def test_only_healthz_and_the_login_form_need_no_token(site: Site) -> None:
    assert (await site.get("/healthz", token=None)).status == 200
    assert (await site.get("/login", token=None)).status == 401
    assert (await site.get("/nowhere", token=None)).status == 401
    assert (await site.get("/nowhere")).status == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8780", "127.0.0.1.evil.example", "localhost.evil.com",
                                  "10.0.0.1", "127.0.0.1:1:2", "", "localhost@evil"])
async def test_a_rebinding_host_is_refused(site: Site, host: str) -> None:
    for path in ("/who", "/healthz", "/login"):
        assert (await site.get(path, headers={"Host": host})).status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "127.9.9.9:80", "[::1]:80",
                                  "x.localhost"])
async def test_names_of_the_loopback_are_fine(site: Site, host: str) -> None:
    assert (await site.get("/who", headers={"Host": host})).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
async def test_a_foreign_origin_is_refused(site: Site, origin: str) -> None:
    assert (await site.get("/who", headers={"Origin": origin})).status == 403
    assert (await site.post("/who", headers={"Origin": origin})).status == 403
    assert (await site.post("/login", headers={"Origin": origin}, token=None)).status == 403


async def test_a_session_reads_and_with_its_own_origin_writes(site: Site) -> None:
    cookie = await logged_in(site)

    assert (await site.get("/who", token=None, headers=cookie)).json == {"user": "alice"}
    assert (await site.post("/who", token=None, headers=cookie)).status == 403
    assert (await site.post("/who", token=None, headers=cookie | {"Origin": site.url})).status == 200
    assert (await site.post("/who", token=None, headers=cookie | {"Origin": "http://evil"})).status == 403


async def test_the_form_logs_in_and_logging_out_ends_the_session(site: Site) -> None:
    wrong = await site.call("POST", "/login", token=None, data={"token": "wrong"}, headers={"Origin": site.url})
    assert wrong.status == 401
    assert "not valid" in wrong.text
    right = await site.call("POST", "/login", token=None, data={"token": harness.TOKEN})
    cookie = {"Cookie": right.headers["set-cookie"].split(";")[0], "Origin": site.url}
    assert (await site.get("/who", token=None, headers=cookie)).status == 200

    await site.post("/logout", token=None, headers=cookie)
    assert (await site.get("/who", token=None, headers=cookie)).status == 401


async def test_a_browser_without_a_session_gets_the_form(site: Site) -> None:
    answer = await site.get("/who", token=None, headers={"Accept": "text/html,*/*"})

    assert answer.status == 401
    assert '<form method="post" action="/login">' in answer.text


async def test_the_access_review_decides(site: Site) -> None:
    assert (await site.get("/thing")).status == 200
    assert site.reviews == [access.Attributes(verb="get", resource="things", namespace="default")]
    site.allow = lambda asked: False
    answer = await site.get("/thing")

    assert answer.status == 403
    assert answer.json["message"] == 'user "alice" may not get things in namespace "default"'


async def test_an_answer_without_a_review_is_never_sent(site: Site) -> None:
    answer = await site.get("/careless")

    assert answer.status == 500
    assert "secret" not in answer.text


async def test_a_bug_tells_nothing_of_its_insides(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    answer = await site.get("/broken")

    assert answer.status == 500
    assert "password" not in answer.text
    assert "password in a message" in caplog.text


async def test_errors_have_the_shape_of_their_api(site: Site) -> None:
    message = "changed meanwhile. Read it again"
    kfp = (await site.get("/apis/v2beta1/refusing"))
    assert kfp.status == 400
    assert {"error": message, "code": 9, "message": message}.items() <= kfp.json.items()
    assert kfp.json["details"][0]["code"] == 9
    assert (await site.get("/api/model_registry/v1/refusing")).json == {"code": "409", "message": message}
    assert (await site.get("/refusing")).json == {"code": "Conflict", "message": message}
    assert (await site.post("/apis/v2beta1/refusing")).status == 405


@pytest.mark.parametrize(("data", "status"), [
    (b'{"a": 1}', 200), (b"", 200), (b"[1]", 400), (b"{", 400), (b"[" * 900, 400), (b'"' + b"x" * 2000 + b'"', 413),
])
async def test_bodies_are_json_objects_within_a_limit(site: Site, data: bytes, status: int) -> None:
    assert (await site.call("POST", "/echo", data=data)).status == status


async def test_a_body_that_says_no_length_is_bounded_too(site: Site) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    assert (await site.call("POST", "/echo", data=endless())).status == 413


async def test_security_headers_are_on_every_answer(site: Site) -> None:
    for answer in (await site.get("/who"), await site.get("/who", token=None), await site.get("/nowhere")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
