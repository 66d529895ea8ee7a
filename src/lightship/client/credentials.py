"""Bearer tokens that change: read from a file again when it does, or made by an exec plugin and kept until they expire.

``client.http`` calls me before each request. I run the plugin, as kubectl would.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from lightship import errors
from lightship.client.kubeconfig import ClusterConfig, ExecPlugin
from lightship.lib import clock as clocks

PLUGIN_LIMIT_SECONDS = 60.0
LIMIT_PLUGIN_OUTPUT_BYTES = 1024 * 1024
EARLY_SECONDS = 30.0
"""A token is renewed this long before it expires, so that none runs out on the way."""


class Credentials(Protocol):
    """Gives the token to send, empty for none. ``refused`` says that the server did not take it."""

    async def token(self) -> str: ...

    def refused(self) -> None: ...


def of(cluster: ClusterConfig, clock: clocks.Clock = clocks.SYSTEM) -> Credentials:
    """What ``cluster`` says: a token wins over its file, and both over a plugin, as for kubectl."""
    if cluster.token:
        return StaticToken(cluster.token)
    if cluster.token_file is not None:
        return FileToken(cluster.token_file)
    if cluster.exec_plugin is not None:
        return PluginToken(cluster.exec_plugin, cluster, clock)
    return StaticToken("")


class StaticToken:
    """Always the same."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self) -> str:
        return self._token

    def refused(self) -> None:
        return None


class FileToken:
    """What the file says now; it is read when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._token = ""

    async def token(self) -> str:
        try:
            stat = os.stat(self._path)  # noqa: ASYNC116, RUF100 - a stat of a local file does not wait
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self._token = self._path.read_text().strip()
                self._stamp = stamp
        except OSError as cause:
            raise errors.Unauthenticated(f"could not read the token file {self._path}: {cause.strerror}") from cause
        return self._token

    def refused(self) -> None:
        self._stamp = None


class PluginToken:
    """What an exec plugin prints, kept until shortly before it expires or the server refuses it."""

    def __init__(self, plugin: ExecPlugin, cluster: ClusterConfig, clock: clocks.Clock) -> None:
        self._plugin = plugin
        self._cluster = cluster
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._expires: datetime | None = None

    async def token(self) -> str:
        async with self._lock:
            if not self._token or self._stale():
                self._token, self._expires = _credential(await self._run(), self._plugin.command)
            return self._token

    def refused(self) -> None:
        self._token = ""

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


def _credential(output: bytes, command: str) -> tuple[str, datetime | None]:
    """The token of an ``ExecCredential``, and when it expires."""
    try:
        status = msgspec.json.decode(output)["status"]
        token, expires = status["token"], status.get("expirationTimestamp")
        if not isinstance(token, str) or not token:
            raise ValueError("the token is empty")
        return token, clocks.parse_timestamp(expires) if expires else None
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as cause:
        raise errors.Unauthenticated(
            f"the credential plugin {command!r} printed no ExecCredential with status.token",
            remedy="Plugins that give client certificates are not supported yet") from cause
