"""Logins by OpenID Connect: an ID token is sent while it lasts, renewed before it ends, and the file keeps up."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from lightship import errors
from lightship.client import credentials, kubeconfig, oidc
from lightship.client.credentials import Credentials
from lightship.testing.clock import FakeClock


class Issuer:
    """An issuer of one client, whose refresh tokens are good once."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.forms: list[dict[str, str]] = []
        self.issued = 0
        self.url = ""

    def id_token(self, seconds: float) -> str:
        claims = json.dumps({"exp": (self._clock.now() + timedelta(seconds=seconds)).timestamp(), "n": self.issued})
        return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in ("{}", claims, "s"))

    async def answer(self, request: web.Request) -> web.Response:
        if request.path.endswith("/.well-known/openid-configuration"):
            return web.json_response({"token_endpoint": f"{self.url}/token"})
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if form["refresh_token"] != f"refresh-{self.issued}":
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.issued += 1
        return web.json_response({"id_token": self.id_token(3600), "refresh_token": f"refresh-{self.issued}"})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer(FakeClock())
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    yield made
    await runner.cleanup()


def write(path: Path, issuer: Issuer, **config: str) -> Path:
    provider = {"name": "oidc", "config": {"idp-issuer-url": issuer.url, "client-id": "kubectl"} | config}
    path.write_text(yaml.safe_dump({
        "current-context": "m", "contexts": [{"name": "m", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"auth-provider": provider}}]}))
    return path


def of(path: Path, issuer: Issuer) -> Credentials:
    return credentials.of(kubeconfig.load(path), issuer._clock)


async def test_a_token_is_sent_while_it_lasts_and_renewed_before_it_ends(issuer: Issuer, tmp_path: Path) -> None:
    first = issuer.id_token(600)
    path = write(tmp_path / "config", issuer, **{"id-token": first, "refresh-token": "refresh-0",
                                                 "client-secret": "hush"})
    found = of(path, issuer)
    assert (await found.current()).token == first
    assert issuer.forms == []
    await issuer._clock.advance(590)
    second = (await found.current()).token
    assert second != first
    assert issuer.forms == [{"grant_type": "refresh_token", "refresh_token": "refresh-0", "client_id": "kubectl",
                             "client_secret": "hush"}]
    kept = yaml.safe_load(path.read_text())["users"][0]["user"]["auth-provider"]["config"]
    assert (kept["id-token"], kept["refresh-token"]) == (second, "refresh-1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await of(path, issuer).current()).token == second, "another process goes on with it"


async def test_a_refused_token_is_renewed_once(issuer: Issuer, tmp_path: Path) -> None:
    found = of(write(tmp_path / "config", issuer, **{"id-token": issuer.id_token(600), "refresh-token": "refresh-0"}),
               issuer)
    found.refused()
    assert (await found.current()).token == (await found.current()).token
    assert len(issuer.forms) == 1


@pytest.mark.parametrize(("config", "message"), [
    ({}, "there is no refresh token"), ({"refresh-token": "used"}, "did not renew the login of 'u': 400")])
async def test_a_login_that_has_ended_says_so(issuer: Issuer, tmp_path: Path, config: dict[str, str],
                                              message: str) -> None:
    with pytest.raises(errors.Unauthenticated, match=message):
        await of(write(tmp_path / "config", issuer, **config), issuer).current()


ENDLESS = base64.b64encode(b'{"exp":1e999}').decode()


@pytest.mark.parametrize("token", ["", "a.b", "a.!.c", "a.e30.c", f"a.{ENDLESS}.c"])
def test_what_is_no_token_has_no_end(token: str) -> None:
    assert oidc.expiry(token) is None
