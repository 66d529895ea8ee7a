from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from lightship.client.transport import User
from lightship.cluster.apiserver import pki
from lightship.cluster.apiserver.tokens import (
    DEFAULT_AUDIENCE,
    Claims,
    TokenAuthenticator,
    TokenAuthority,
)
from lightship.kube.resources import SERVICE_ACCOUNTS
from lightship.lib import private
from lightship.lib.clock import SYSTEM
from lightship.testing.clock import FakeClock
from lightship.testing.embedded import EmbeddedApi
from tests.unit.apiserver.conftest import Caller

POD_PATHS = ("/api/v1/pods", "/api/v1/namespaces/default/pods/p", "/apis", "/api", "/openapi/v3", "/nope", "/",
             "/api/v1/namespaces/default/pods?watch=1", "/apis/nope.example.com/v1/x",
             "/api/v1/namespaces/default/services/s/proxy/x")


@pytest.mark.parametrize("path", POD_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH"])
async def test_without_a_token_every_path_is_closed(caller: Caller, method: str, path: str) -> None:
    status, body = await caller.json(method, path, anonymous="yes")
    assert (status, body["kind"], body["reason"]) == (401, "Status", "Unauthorized")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version", "/version/"])
async def test_health_and_version_are_open(caller: Caller, path: str) -> None:
    assert (await caller.send("GET", path, anonymous="yes")).status == 200


async def test_readyz_says_what_the_app_says(api: EmbeddedApi, caller: Caller) -> None:
    api.server.ready = lambda: False
    assert (await caller.send("GET", "/readyz")).status == 503
    assert (await caller.send("GET", "/livez")).status == 200


@pytest.mark.parametrize("header", ["Bearer nope", "Bearer ", "Basic eDp5", "Bearer a.b.c", "Bearer ..", "\x80"])
async def test_a_bad_token_is_refused_even_where_anonymous_would_do(caller: Caller, header: str) -> None:
    status, body = await caller.json("GET", "/version", authorization=header)
    assert (status, body["reason"]) == (401, "Unauthorized")


async def test_the_admin_token_opens(api: EmbeddedApi, caller: Caller) -> None:
    assert (await caller.send("GET", "/api/v1/pods", authorization=f"Bearer {api.token}")).status == 200
    assert (await caller.send("GET", "/api/v1/pods", authorization=f"bearer  {api.token}")).status == 200


async def test_a_token_dies_with_its_account(api: EmbeddedApi, caller: Caller) -> None:
    client = api.in_process()
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "default"}})
    issued = await client.create(SERVICE_ACCOUNTS, {"metadata": {"namespace": "default"}}, name="robot",
                                 subresource="token")
    bearer = f"Bearer {issued['status']['token']}"
    status, who = await caller.json("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {},
                                    authorization=bearer)
    assert (status, who["status"]["userInfo"]["username"]) == (201, "system:serviceaccount:default:robot")
    await caller.json("DELETE", "/api/v1/namespaces/default/serviceaccounts/robot")
    assert (await caller.send("GET", "/api/v1/pods", authorization=bearer)).status == 401
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "default"}})
    assert (await caller.send("GET", "/api/v1/pods", authorization=bearer)).status == 401


async def test_tokens_expire_and_cannot_be_forged() -> None:
    clock = FakeClock()
    authority = TokenAuthority(b"k" * 32, clock)
    authenticator = TokenAuthenticator("admin", authority, clock)
    claims = Claims(namespace="ns", name="a", uid="u", audiences=(DEFAULT_AUDIENCE,),
                    expiry=(clock.now() + timedelta(minutes=10)).replace(microsecond=0))
    token = authority.issue(claims)
    assert authority.verify(token) == claims
    user = await authenticator.authenticate(token)
    assert isinstance(user, User) and user.name == "system:serviceaccount:ns:a"
    head, body, signature = token.split(".")
    for forged in (f"{head}.{body}.{signature[:-2]}AA", f"{head}.{body[:-2]}AA.{signature}", f"{head}.{body}.", "..",
                   ""):
        assert await authenticator.authenticate(forged) is None
    other = TokenAuthority(b"x" * 32, clock)
    assert other.verify(token) is None
    elsewhere = authority.issue(Claims(namespace="ns", name="a", uid="u", audiences=("elsewhere",),
                                       expiry=claims.expiry))
    assert await authenticator.authenticate(elsewhere) is None
    await clock.advance(601)
    assert await authenticator.authenticate(token) is None


def test_secrets_and_keys_are_private(tmp_path: Path) -> None:
    secret = private.secret(tmp_path / "token")
    assert len(secret) >= 43 and private.secret(tmp_path / "token") == secret
    files = pki.ensure(tmp_path / "pki", SYSTEM)
    again = pki.ensure(tmp_path / "pki", SYSTEM)
    assert again.ca_pem == files.ca_pem and again.service_account_key == files.service_account_key
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "pki").iterdir()}
    assert set(modes.values()) == {0o600}
    assert set(modes) == {"ca.crt", "ca.key", "server.crt", "server.key", "sa.key"}
