"""The transport to any cluster over HTTP: TLS, tokens, client certificates, streamed bodies.

``app`` and the gateway make one from a kubeconfig; ``client.client`` calls me. aiohttp is imported when the first
request is sent, since the server itself talks in process.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from lightship import errors
from lightship.client import credentials, statuses
from lightship.client.credentials import Credential
from lightship.client.errors import InvalidKubeconfig
from lightship.client.kubeconfig import ClusterConfig
from lightship.client.transport import Request, Response
from lightship.lib import clock as clocks

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

CONNECT_LIMIT_SECONDS = 10.0
ANSWER_LIMIT_SECONDS = 60.0
"""How long a request that is no stream may take in all."""
STREAM_GRACE_SECONDS = 30.0
"""How long after the end that a watch asked for its stream is cut, since the connection may be dead."""
LIMIT_CONNECTIONS = 100
LIMIT_RETIRED_SESSIONS = 4
"""How many generations of client certificates may still have streams open."""
LIMIT_BODY_BYTES = 64 * 1024 * 1024
LIMIT_CHUNK_BYTES = 64 * 1024


class Http:
    """A ``Transport`` to ``cluster``; it has a pool of connections, and ``close`` ends it."""

    def __init__(self, cluster: ClusterConfig, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self.cluster = cluster
        self._credentials = credentials.of(cluster, clock)
        self._session: aiohttp.ClientSession | None = None
        self._shown = Credential()
        """Whose certificate the session's connections show."""
        self._retired: list[aiohttp.ClientSession] = []
        self._closed = False
        self._streams: set[aiohttp.ClientResponse] = set()

    async def send(self, request: Request) -> Response:
        response = await self._send(request)
        if response.status == 401:
            # A token may have expired on the way; one that is read or made anew may do. A static one will not.
            before = await self._credentials.current()
            self._credentials.refused()
            if await self._credentials.current() != before:
                return await self._send(request)
        return response

    async def websocket(self, path: str, query: str, protocols: Sequence[str]) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket in one of the subprotocols. Raises what the server answers in place of one."""
        import aiohttp

        credential = await self._credentials.current()
        headers = [*self.cluster.impersonate]
        if credential.token:
            headers.append(("authorization", f"Bearer {credential.token}"))
        try:
            session = await self._open(credential)
            return await session.ws_connect(
                _url(self.cluster.server, Request(method="GET", path=path, query=query)), protocols=protocols,
                headers=headers, proxy=self.cluster.proxy_url or None, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as cause:
            raise statuses.error_of_body(cause.status, cause.message.encode()) from cause
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise self._unreachable(cause) from cause

    async def close(self) -> None:
        self._closed = True
        for answer in list(self._streams):
            answer.close()  # wakes its reader, which a closed session alone does not
        for session in (self._session, *self._retired):
            if session is not None:
                await session.close()
        self._session = None
        self._retired.clear()

    async def _send(self, request: Request) -> Response:
        import aiohttp

        streaming = _streams(request)
        credential = await self._credentials.current()
        headers = [*request.headers.items(), *self.cluster.impersonate]
        if credential.token:
            headers.append(("authorization", f"Bearer {credential.token}"))
        timeout = aiohttp.ClientTimeout(
            total=_stream_seconds(request) if streaming else ANSWER_LIMIT_SECONDS, connect=CONNECT_LIMIT_SECONDS)
        options: dict[str, Any] = {"headers": headers, "data": request.body or None, "timeout": timeout,
                                   "allow_redirects": False}
        if self.cluster.tls_server_name:
            options["server_hostname"] = self.cluster.tls_server_name
        if self.cluster.proxy_url:
            options["proxy"] = self.cluster.proxy_url
        try:
            session = await self._open(credential)
            answer = await session.request(request.method, _url(self.cluster.server, request), **options)
            if streaming and answer.status < 400:
                return Response(status=answer.status, headers=_headers(answer.headers), body=self._chunks(answer))
            body = await self._whole(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise self._unreachable(cause) from cause
        return Response(status=answer.status, headers=_headers(answer.headers), body=body)

    async def _open(self, credential: Credential) -> aiohttp.ClientSession:
        import aiohttp

        if self._closed:
            raise errors.Unavailable(f"the client of {self.cluster.server} is closed")
        if self._session is not None and (credential.certificate_pem, credential.key_pem) != (
                self._shown.certificate_pem, self._shown.key_pem):
            self._retired.append(self._session)  # its streams go on with the certificate that they began with
            self._session = None
            if len(self._retired) > LIMIT_RETIRED_SESSIONS:
                await self._retired.pop(0).close()
        if self._session is None:
            self._shown = credential
            secure = self.cluster.server.startswith("https:")
            connector = aiohttp.TCPConnector(
                ssl=_tls(self.cluster, credential) if secure else False, limit=LIMIT_CONNECTIONS, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    async def _whole(self, answer: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async with answer:
            async for chunk in answer.content.iter_chunked(LIMIT_CHUNK_BYTES):
                parts.append(chunk)
                size += len(chunk)
                if size > LIMIT_BODY_BYTES:
                    answer.close()
                    raise errors.TooLarge(f"{self.cluster.server} answered with more than {LIMIT_BODY_BYTES} bytes")
        return b"".join(parts)

    async def _chunks(self, answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
        import aiohttp

        self._streams.add(answer)
        try:
            async for chunk in answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise self._unreachable(cause) from cause
        finally:
            self._streams.discard(answer)
            answer.close()  # an abandoned stream has unread data: its connection cannot be used again

    def _unreachable(self, cause: Exception) -> errors.LightshipError:
        import aiohttp

        server, source = self.cluster.server, self.cluster.source
        if isinstance(cause, aiohttp.ClientConnectorCertificateError):
            return errors.Unavailable(
                f"the certificate of {server} is not trusted: {cause.certificate_error}",
                remedy=f"Check certificate-authority in {source}, or print a fresh one with `lightship kubeconfig`")
        if isinstance(cause, aiohttp.ClientConnectorError):
            return errors.Unavailable(
                f"could not reach {server}: {cause.os_error.strerror or cause.os_error}",
                remedy=f"Start it with `lightship up`, or check the server in {source}")
        if isinstance(cause, TimeoutError):
            return errors.DeadlineExceeded(f"{server} did not answer in time")
        return errors.Unavailable(f"the connection to {server} broke: {cause or type(cause).__name__}")


def _streams(request: Request) -> bool:
    if request.method != "GET":
        return False
    query = parse_qs(request.query)
    return query.get("watch", [""])[0].lower() in ("true", "1") or request.path.endswith("/log")


def _stream_seconds(request: Request) -> float | None:
    """A watch is cut some time after it should have ended by itself; a followed log has no end."""
    asked = parse_qs(request.query).get("timeoutSeconds", [""])[0]
    return float(asked) + STREAM_GRACE_SECONDS if asked.isdigit() else None


def _url(server: str, request: Request) -> URL:
    from yarl import URL

    path = quote(request.path, safe="/:@!$&'()*+,;=~%")
    return URL(server + path + (f"?{request.query}" if request.query else ""), encoded=True)


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _tls(cluster: ClusterConfig, credential: Credential) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=cluster.ca_pem.decode("ascii") if cluster.ca_pem else None)
    except (ssl.SSLError, UnicodeDecodeError) as cause:
        raise InvalidKubeconfig(f"{cluster.source}: certificate-authority: it is no PEM certificate") from cause
    if cluster.insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credential.certificate_pem:
        _load_client_certificate(context, cluster.source, credential)
    return context


def _load_client_certificate(context: ssl.SSLContext, source: str, credential: Credential) -> None:
    """OpenSSL takes a chain only from a file: a private one, for the moment."""
    descriptor, name = tempfile.mkstemp(prefix="lightship-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(credential.certificate_pem.rstrip() + b"\n" + credential.key_pem)
        context.load_cert_chain(name)
    except ssl.SSLError as cause:
        raise InvalidKubeconfig(
            f"{source}: client-certificate and client-key: OpenSSL does not take them: {cause.reason}"
        ) from cause
    finally:
        os.unlink(name)
