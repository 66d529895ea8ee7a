"""The HTTP transport against a real TLS server: trust, tokens, certificates, streams, and words when it fails."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lightship import errors
from lightship.client.client import Client
from lightship.client.errors import InvalidKubeconfig
from lightship.client.http import Http
from lightship.client.kubeconfig import ClusterConfig, ExecPlugin
from lightship.kube.objects import Key
from lightship.kube.resources import PODS
from lightship.testing.clock import until

EVENT = b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"1"}}}\n'


class Pair(NamedTuple):
    certificate: bytes
    key: bytes


class Pki(NamedTuple):
    ca: bytes
    server: Pair
    client: Pair


def _certificate(name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None) -> tuple[
        x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[0].subject if issuer else subject)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
               .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True))
    if issuer:
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("inside.example")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _pair(name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> Pair:
    certificate, key = _certificate(name, issuer)
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


@pytest.fixture(scope="module")
def pki() -> Pki:
    ca = _certificate("test-ca", None)
    return Pki(ca[0].public_bytes(serialization.Encoding.PEM), _pair("server", ca), _pair("alice", ca))


class Server:
    """Answers a get, a watch and whatever a test adds; remembers the tokens that it saw."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.accepted: Callable[[str], bool] = lambda token: True
        self.open_streams = 0
        self.peer: dict[str, object] | None = None
        self.queries: list[str] = []
        self.impersonated: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(request.query_string)
        self.impersonated = [value for name, value in request.headers.items() if name.startswith("Impersonate-")]
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.tokens.append(token)
        assert request.transport is not None
        self.peer = request.transport.get_extra_info("peercert")
        if not self.accepted(token):
            return web.json_response({"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "who?"},
                                     status=401)
        if request.query.get("watch") == "true":
            return await self._stream(request)
        return web.json_response({"kind": "Pod", "path": request.path})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.open_streams += 1
        try:
            await response.write(EVENT)
            await asyncio.Event().wait()
        finally:
            self.open_streams -= 1
        return response


@asynccontextmanager
async def serving(server: Server, pki: Pki, tmp_path: Path) -> AsyncIterator[str]:
    files = {"server.pem": pki.server.certificate + pki.server.key, "ca.pem": pki.ca}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(str(tmp_path / "server.pem"))
    context.verify_mode = ssl.CERT_OPTIONAL
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(cluster: ClusterConfig) -> AsyncIterator[Client]:
    transport = Http(cluster)
    try:
        yield Client(transport)
    finally:
        await transport.close()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def url(server: Server, pki: Pki, tmp_path: Path) -> AsyncIterator[str]:
    async with serving(server, pki, tmp_path) as address:
        yield address


async def test_a_token_over_tls(server: Server, url: str, pki: Pki) -> None:
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca, token="secret")) as client:
        got = await client.get(PODS, "a b", "default")
    assert got["path"] == "/api/v1/namespaces/default/pods/a b"
    assert server.tokens == ["secret"]


async def test_a_client_certificate_and_no_key_left_behind(
        server: Server, url: str, pki: Pki, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    cluster = ClusterConfig(server=url, ca_pem=pki.ca, client_certificate_pem=pki.client.certificate,
                            client_key_pem=pki.client.key)
    async with connected(cluster) as client:
        await client.get(PODS, "a", "default")
    assert server.peer is not None and "alice" in str(server.peer["subject"])
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_an_unknown_authority_is_not_trusted(server: Server, url: str) -> None:
    other, _ = _certificate("other-ca", None)
    cluster = ClusterConfig(server=url, ca_pem=other.public_bytes(serialization.Encoding.PEM), source="my.config")
    async with connected(cluster) as client:
        with pytest.raises(errors.Unavailable, match=r"certificate of .* is not trusted") as raised:
            await client.get(PODS, "a", "default")
    assert "my.config" in raised.value.remedy
    assert server.tokens == [], "no token leaves for a server that is not trusted"
    async with connected(ClusterConfig(server=url, insecure_skip_tls_verify=True)) as client:
        await client.get(PODS, "a", "default")


async def test_another_name_in_the_certificate(url: str, pki: Pki) -> None:
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca, tls_server_name="inside.example")) as client:
        await client.get(PODS, "a", "default")
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca, tls_server_name="wrong.example")) as client:
        with pytest.raises(errors.Unavailable, match="not trusted"):
            await client.get(PODS, "a", "default")


async def test_a_token_file_is_read_again_when_it_changes(server: Server, url: str, pki: Pki, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca, token_file=file)) as client:
        await client.get(PODS, "a", "default")
        fresh = tmp_path / "fresh"
        fresh.write_text("second\n")
        fresh.rename(file)
        await client.get(PODS, "a", "default")
        file.unlink()
        with pytest.raises(errors.Unauthenticated, match="could not read the token file"):
            await client.get(PODS, "a", "default")
    assert server.tokens == ["first", "second"]


def plugin(tmp_path: Path, script: str) -> ExecPlugin:
    path = tmp_path / "login"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return ExecPlugin(command=str(path), env={"WHO": "me"})


async def test_an_exec_plugin_is_asked_once_and_again_when_refused(
        server: Server, url: str, pki: Pki, tmp_path: Path) -> None:
    count = tmp_path / "count"
    made = plugin(tmp_path, f'echo x >> {count}; n=$(wc -l < {count}); test -n "$KUBERNETES_EXEC_INFO" && '
                            """echo "{\\"kind\\":\\"ExecCredential\\",\\"status\\":{\\"token\\":\\"$WHO-$n\\"}}" """)
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca, exec_plugin=made)) as client:
        await client.get(PODS, "a", "default")
        await client.get(PODS, "a", "default")
        assert server.tokens == ["me-1", "me-1"]
        server.accepted = lambda token: token != "me-1"
        await client.get(PODS, "a", "default")
    assert server.tokens[-2:] == ["me-1", "me-2"]


@pytest.mark.parametrize(("script", "message"), [
    ("echo broken >&2; exit 3", "ended with code 3: broken"),
    ("echo hello", "printed no ExecCredential"),
    ('echo \'{"status":{"token":""}}\'', "printed no ExecCredential"),
])
async def test_a_plugin_that_fails_says_how(url: str, pki: Pki, tmp_path: Path, script: str, message: str) -> None:
    cluster = ClusterConfig(server=url, ca_pem=pki.ca, exec_plugin=plugin(tmp_path, script))
    async with connected(cluster) as client:
        with pytest.raises(errors.Unauthenticated, match=message):
            await client.get(PODS, "a", "default")


async def test_a_plugin_that_is_not_there(url: str, pki: Pki) -> None:
    cluster = ClusterConfig(server=url, ca_pem=pki.ca, exec_plugin=ExecPlugin(command="/nowhere/login"))
    async with connected(cluster) as client:
        with pytest.raises(errors.Unauthenticated, match="could not run the credential plugin '/nowhere/login'"):
            await client.get(PODS, "a", "default")


async def test_a_refused_static_token_is_not_sent_twice(server: Server, url: str, pki: Pki) -> None:
    server.accepted = lambda token: False
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca, token="old")) as client:
        with pytest.raises(errors.Unauthenticated, match=r"who\?"):
            await client.get(PODS, "a", "default")
    assert server.tokens == ["old"]


async def test_a_watch_streams_and_an_abandoned_one_is_closed(server: Server, url: str, pki: Pki) -> None:
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca)) as client:
        async with aclosing(client.watch(PODS, resource_version="1", timeout_seconds=300)) as events:
            event = await asyncio.wait_for(anext(events), 5)
            assert event.object["metadata"]["name"] == "a"
            assert server.open_streams == 1
        await until(lambda: not server.open_streams)
    assert "allowWatchBookmarks=true" in server.queries[0]


async def test_a_server_that_goes_away_under_a_watch(server: Server, pki: Pki, tmp_path: Path) -> None:
    async with serving(server, pki, tmp_path) as url:
        transport = Http(ClusterConfig(server=url, ca_pem=pki.ca))
        events = Client(transport).watch(PODS, resource_version="1")
        await anext(events)
        reading = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
    with pytest.raises((errors.Unavailable, StopAsyncIteration)):
        await asyncio.wait_for(reading, 5)
    await transport.close()


async def test_closing_the_transport_wakes_those_who_read(server: Server, url: str, pki: Pki) -> None:
    transport = Http(ClusterConfig(server=url, ca_pem=pki.ca))
    events = Client(transport).watch(PODS, resource_version="1")
    await anext(events)
    reading = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await transport.close()
    with pytest.raises(errors.Unavailable):
        await asyncio.wait_for(reading, 5)


async def test_nobody_is_there() -> None:
    cluster = ClusterConfig(server="https://127.0.0.1:1", source="my.config, context main")
    async with connected(cluster) as client:
        with pytest.raises(errors.Unavailable, match=r"could not reach https://127\.0\.0\.1:1") as raised:
            await client.get(PODS, "a", "default")
    assert "lightship up" in raised.value.remedy and "my.config" in raised.value.remedy


async def test_a_certificate_that_is_none(url: str) -> None:
    async with connected(ClusterConfig(server=url, ca_pem=b"nonsense", source="my.config")) as client:
        with pytest.raises(InvalidKubeconfig, match=r"my\.config: certificate-authority"):
            await client.get(PODS, "a", "default")


async def test_a_closed_transport_refuses(url: str, pki: Pki) -> None:
    transport = Http(ClusterConfig(server=url, ca_pem=pki.ca))
    await transport.close()
    with pytest.raises(errors.Unavailable, match="is closed"):
        await Client(transport).delete(PODS, Key("default", "a"))


async def test_a_plugin_may_give_a_certificate(server: Server, url: str, pki: Pki, tmp_path: Path) -> None:
    answer = {"kind": "ExecCredential", "status": {"clientCertificateData": pki.client.certificate.decode(),
                                                   "clientKeyData": pki.client.key.decode()}}
    (tmp_path / "answer").write_text(json.dumps(answer))
    made = plugin(tmp_path, f"cat {tmp_path / 'answer'}")
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca, exec_plugin=made)) as client:
        await client.get(PODS, "a", "default")
    assert server.peer is not None and "alice" in str(server.peer["subject"])


async def test_impersonation_is_asked_for(server: Server, url: str, pki: Pki) -> None:
    asked = (("Impersonate-User", "bob"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    async with connected(ClusterConfig(server=url, ca_pem=pki.ca, impersonate=asked)) as client:
        await client.get(PODS, "a", "default")
    assert server.impersonated == ["bob", "a", "b"]
