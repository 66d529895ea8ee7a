"""What a client shows of itself, where that changes: tokens that are read from a file again when it does, tokens and
certificates that an exec plugin makes and that are kept until they expire, ID tokens that are refreshed.

``client.http`` calls me before each request. I run the plugin, as kubectl would; ``client.oidc`` refreshes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from lightship import errors
from lightship.client import oidc
from lightship.client.kubeconfig import ClusterConfig, ExecPlugin, OidcLogin
from lightship.lib import clock as clocks

_log = logging.getLogger(__name__)

PLUGIN_LIMIT_SECONDS = 60.0
LIMIT_PLUGIN_OUTPUT_BYTES = 1024 * 1024
EARLY_SECONDS = 30.0
"""A token is renewed this long before it expires, so that none runs out on the way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """What to show: a bearer token, or a certificate with its key as PEM; each empty for none."""

    token: str = ""
    certificate_pem: bytes = b""
    key_pem: bytes = b""


class Credentials(Protocol):
    """Gives what to show now. ``refused`` says that the server did not take it."""

    async def current(self) -> Credential: ...

    def refused(self) -> None: ...


def of(cluster: ClusterConfig, clock: clocks.Clock = clocks.SYSTEM) -> Credentials:
    """What ``cluster`` says: a token wins over its file, and both over a plugin and a login, as for kubectl."""
    own = Credential(token=cluster.token, certificate_pem=cluster.client_certificate_pem,
                     key_pem=cluster.client_key_pem)
    if cluster.token:
        return Static(own)
    if cluster.token_file is not None:
        return FileToken(cluster.token_file, own)
    if cluster.exec_plugin is not None:
        return Plugin(cluster.exec_plugin, cluster, clock)
    if cluster.oidc is not None:
        return IdToken(cluster.oidc, clock)
    return Static(own)


class Static:
    """Always the same."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def current(self) -> Credential:
        return self._credential

    def refused(self) -> None:
        return None


class FileToken:
    """What the file says now; it is read when it has changed."""

    def __init__(self, path: Path, own: Credential) -> None:
        self._path, self._credential = path, own
        self._stamp: tuple[int, int] | None = None

    async def current(self) -> Credential:
        try:
            stat = os.stat(self._path)  # noqa: ASYNC116, RUF100 - a stat of a local file does not wait
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self._credential = replace(self._credential, token=self._path.read_text().strip())
                self._stamp = stamp
        except OSError as cause:
            raise errors.Unauthenticated(f"could not read the token file {self._path}: {cause.strerror}") from cause
        return self._credential

    def refused(self) -> None:
        self._stamp = None


class Plugin:
    """What an exec plugin prints, kept until shortly before it expires or the server refuses it."""

    def __init__(self, plugin: ExecPlugin, cluster: ClusterConfig, clock: clocks.Clock) -> None:
        self._plugin = plugin
        self._cluster = cluster
        self._clock = clock
        self._lock = asyncio.Lock()
        self._credential: Credential | None = None
        self._expires: datetime | None = None

    async def current(self) -> Credential:
        async with self._lock:
            if self._credential is None or self._stale():
                self._credential, self._expires = _credential(await self._run(), self._plugin.command)
            return self._credential

    def refused(self) -> None:
        self._credential = None

    def _stale(self) -> bool:
        return self._expires is not None and (self._expires - self._clock.now()).total_seconds() < EARLY_SECONDS

    async def _run(self) -> bytes:
        plugin = self._plugin
        info: dict[str, Any] = {"apiVersion": plugin.api_version, "kind": "ExecCredential",
                                "spec": {"interactive": False}}
        if plugin.provide_cluster_info:
            info["spec"]["cluster"] = {"server": self._cluster.server}
        environment = os.environ | dict(plugin.env) | {"KUBERNETES_EXEC_INFO": json.dumps(info)}
        try:
            process = await asyncio.create_subprocess_exec(
                plugin.command, *plugin.args, env=environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        except OSError as cause:
            raise errors.Unauthenticated(
                f"could not run the credential plugin {plugin.command!r} of {self._cluster.source}: {cause.strerror}",
                remedy="Install it, or put it on the PATH") from cause
        try:
            async with asyncio.timeout(PLUGIN_LIMIT_SECONDS):
                output, complaint = await process.communicate()
        except TimeoutError as cause:
            process.kill()
            await process.wait()
            raise errors.DeadlineExceeded(
                f"the credential plugin {plugin.command!r} took longer than {PLUGIN_LIMIT_SECONDS:.0f} s") from cause
        if process.returncode != 0:
            raise errors.Unauthenticated(
                f"the credential plugin {plugin.command!r} ended with code {process.returncode}: "
                f"{complaint[-500:].decode(errors='replace').strip()}")
        return output[:LIMIT_PLUGIN_OUTPUT_BYTES]


class IdToken:
    """An OpenID Connect ID token, renewed shortly before it ends or when the server refuses it."""

    def __init__(self, login: OidcLogin, clock: clocks.Clock) -> None:
        self._login, self._clock = login, clock
        self._lock = asyncio.Lock()
        self._refused = False

    async def current(self) -> Credential:
        async with self._lock:
            if self._stale():
                self._login = await oidc.refreshed(self._login)
                self._refused = False
                try:
                    await asyncio.to_thread(oidc.remember, self._login)
                except OSError as error:
                    _log.warning("the renewed login could not be written into the kubeconfig",
                                 extra={"path": str(self._login.file), "error": str(error)})
            return Credential(token=self._login.id_token)

    def refused(self) -> None:
        self._refused = True

    def _stale(self) -> bool:
        expires = oidc.expiry(self._login.id_token)
        ending = expires is None or (expires - self._clock.now()).total_seconds() < EARLY_SECONDS
        return ending or (self._refused and bool(self._login.refresh_token))


def _credential(output: bytes, command: str) -> tuple[Credential, datetime | None]:
    """What an ``ExecCredential`` holds, and when it expires."""
    try:
        status = msgspec.json.decode(output, type=_Output).status
        expires = clocks.parse_timestamp(status.expirationTimestamp) if status.expirationTimestamp else None
        if not status.token and not (status.clientCertificateData and status.clientKeyData):
            raise ValueError("it holds neither a token nor a certificate with its key")
    except (msgspec.MsgspecError, ValueError) as cause:
        raise errors.Unauthenticated(
            f"the credential plugin {command!r} printed no ExecCredential: {cause}",
            remedy="It must print one with status.token, or clientCertificateData and clientKeyData") from cause
    return Credential(token=status.token, certificate_pem=status.clientCertificateData.encode(),
                      key_pem=status.clientKeyData.encode()), expires


class _Status(msgspec.Struct):
    token: str = ""
    clientCertificateData: str = ""
    clientKeyData: str = ""
    expirationTimestamp: str = ""


class _Output(msgspec.Struct):
    """An ``ExecCredential`` of ``client.authentication.k8s.io``."""

    status: _Status
