from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from lightship import errors
from lightship.client.transport import User
from lightship.cluster.apiserver import pki, signing
from lightship.cluster.apiserver.tokens import (
    DEFAULT_AUDIENCE,
    Claims,
    TokenAuthenticator,
    TokenAuthority,
)
from lightship.kube.objects import Key
from lightship.kube.resources import SECRETS, SERVICE_ACCOUNTS
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
    assert set(modes) == {"ca.crt", "ca.key", "server.crt", "server.key", "server.names", "sa.key"}


def test_a_certificate_of_an_earlier_version_is_replaced_and_its_authority_kept(tmp_path: Path) -> None:
    files = pki.ensure(tmp_path / "pki", SYSTEM)
    before = files.server_certificate.read_bytes()
    (tmp_path / "pki" / "server.names").write_text("localhost")
    again = pki.ensure(tmp_path / "pki", SYSTEM)
    assert again.ca_pem == files.ca_pem and again.server_certificate.read_bytes() != before
    renewed = again.server_certificate.read_bytes()
    assert pki.ensure(tmp_path / "pki", SYSTEM).server_certificate.read_bytes() == renewed


async def test_a_bound_token_dies_with_its_object(api: EmbeddedApi, caller: Caller) -> None:
    client = api.in_process()
    await client.create(SECRETS, {"metadata": {"name": "s", "namespace": "default"}})
    spec = {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "s"}, "expirationSeconds": 10**9}
    issued = await client.create(SERVICE_ACCOUNTS, {"metadata": {"namespace": "default"}, "spec": spec},
                                 name="default", subresource="token")
    assert issued["spec"]["expirationSeconds"] == 10 * 365 * 24 * 3600
    bearer = f"Bearer {issued['status']['token']}"
    assert (await caller.send("GET", "/api", authorization=bearer)).status == 200
    await client.delete(SECRETS, Key("default", "s"))
    assert (await caller.send("GET", "/api", authorization=bearer)).status == 401
    for wrong, error in (({"kind": "Secret", "name": "s"}, errors.NotFound), ({"kind": "Job"}, errors.BadRequest)):
        with pytest.raises(error):
            await client.create(SERVICE_ACCOUNTS, {"metadata": {"namespace": "default"},
                                                   "spec": {"boundObjectRef": wrong}},
                                name="default", subresource="token")


async def test_others_can_check_a_token_by_our_published_key(api: EmbeddedApi, caller: Caller) -> None:
    issued = await api.in_process().create(
        SERVICE_ACCOUNTS, {"metadata": {"namespace": "default"}, "spec": {"audiences": ["vault"]}}, name="default",
        subresource="token")
    token = issued["status"]["token"]
    bearer = {"authorization": f"Bearer {api.token}"}
    _, configuration = await caller.json("GET", "/.well-known/openid-configuration", **bearer)
    assert configuration["jwks_uri"].endswith("/openid/v1/jwks")
    _, keys = await caller.json("GET", "/openid/v1/jwks", **bearer)
    head, body, signature = token.split(".")
    key = keys["keys"][0]
    assert msgspec.json.decode(signing.decode(head)) == {"alg": "ES256", "kid": key["kid"], "typ": "JWT"}
    x, y = (int.from_bytes(signing.decode(key[part]), "big") for part in ("x", "y"))
    raw = signing.decode(signature)
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
        utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")),
        f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    assert (await caller.send("GET", "/api", authorization=f"Bearer {token}")).status == 401, "not for us"
    review = "/apis/authentication.k8s.io/v1/tokenreviews"
    _, for_vault = await caller.json("POST", review, {"spec": {"token": token, "audiences": ["vault", "x"]}})
    assert for_vault["status"]["authenticated"] and for_vault["status"]["audiences"] == ["vault"]
    _, for_us = await caller.json("POST", review, {"spec": {"token": token}})
    assert not for_us["status"]["authenticated"]


def test_a_key_that_is_public_signs_for_everybody_and_the_shared_one_for_our_own(tmp_path: Path) -> None:
    clock = FakeClock()
    authority = TokenAuthority(b"k" * 32, clock, tmp_path / "key")
    claims = Claims(namespace="ns", name="a", uid="u", audiences=(DEFAULT_AUDIENCE,), id="1",
                    expiry=(clock.now() + timedelta(minutes=10)).replace(microsecond=0))
    ours = authority.issue(claims, internal=True)
    assert not (tmp_path / "key").exists(), "no key is made for our own processes"
    theirs = authority.issue(claims)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert authority.verify(ours) == authority.verify(theirs) == claims
    again = TokenAuthority(b"k" * 32, clock, tmp_path / "key")
    assert again.verify(theirs) == claims
    assert TokenAuthority(b"k" * 32, clock, tmp_path / "other").verify(theirs) is None
    head, body, _ = theirs.split(".")
    none = signing.encode(b'{"alg":"none"}')
    for forged in (f"{head}.{body}.", f"{none}.{body}.", f"{head}.{body}.{ours.split('.')[2]}", "a.b", "..",
                   "\ud800.x.y"):
        assert authority.verify(forged) is None


def _signed(directory: Path, authority: Path, subject: list[tuple[x509.ObjectIdentifier, str]]) -> ssl.SSLContext:
    """A client's context with a certificate of the authority in ``authority``."""
    ca = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(*part) for part in subject]))
                   .issuer_name(ca.subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(ca.not_valid_before_utc).not_valid_after(ca.not_valid_after_utc)
                   .add_extension(usage, critical=False).sign(ca_key, hashes.SHA256()))
    (directory / "client.pem").write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.create_default_context()
    context.load_cert_chain(directory / "client.pem")
    return context


async def test_a_client_certificate_is_an_identity(api: EmbeddedApi, tmp_path: Path) -> None:
    name = [(x509.oid.NameOID.COMMON_NAME, "jane"), (x509.oid.NameOID.ORGANIZATION_NAME, "devs")]
    review = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'

    async def ask(context: ssl.SSLContext) -> bytes:
        context.load_verify_locations(cadata=api.ca_pem)
        reader, writer = await asyncio.open_connection("127.0.0.1", api.listener.port, ssl=context)
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n"  # a certificate is for all requests of a connection
                     b"POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nhost: x\r\n"
                     b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(review), review))
        answer = await reader.read()
        writer.close()
        return answer

    ours = await ask(_signed(tmp_path, api.directory / "pki", name))
    assert b'"username":"jane"' in ours and b'["devs","system:authenticated"]' in ours
    assert b" 401 " in await ask(ssl.create_default_context())
    pki.ensure(tmp_path / "other", SYSTEM)
    with contextlib.suppress(ssl.SSLError, ConnectionError):  # with TLS 1.3 it may only be hung up on
        assert await ask(_signed(tmp_path, tmp_path / "other", name)) == b""
