"""Probes of one container: startup, liveness, readiness, by exec, HTTP, TCP or gRPC. ``supervisor`` runs me as a task.

I read nothing of the Pod but the probe's own fields; I tell by callbacks what I found.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightship.cluster.node import grpc_health
from lightship.cluster.node.processes import Exit
from lightship.lib.clock import Clock

_ANSWER_LIMIT_BYTES = 10 * 1024


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is probed. ``execute`` runs a command in the container and gives its output and exit."""

    host: str
    ports: Mapping[str, int]
    """The container's ports by name."""
    execute: Callable[[tuple[str, ...]], Awaitable[tuple[Exit, str]]]
    dial: Callable[[str, int], Awaitable[socket.socket]]
    """Connects to a port of the Pod, whose network may be its own."""


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What happens on a change. ``unhealthy`` gets the probe's kind and spec; the container is then
    to be ended."""

    started: Callable[[], None]
    ready: Callable[[bool], None]
    unhealthy: Callable[[str, Mapping[str, Any]], None]
    failed: Callable[[str, str], None]
    """One failed try: kind and why, for an event."""


def has_any(container: Mapping[str, Any]) -> bool:
    return any(container.get(kind) for kind in ("startupProbe", "livenessProbe", "readinessProbe"))


async def run(container: Mapping[str, Any], target: Target, callbacks: Callbacks, clock: Clock) -> None:
    """Probes until cancelled: the startup probe first, then the others side by side."""
    startup = container.get("startupProbe")
    if startup and not await _until_started(startup, target, callbacks, clock):
        return
    callbacks.started()
    async with asyncio.TaskGroup() as group:
        if readiness := container.get("readinessProbe"):
            group.create_task(_readiness(readiness, target, callbacks, clock))
        else:
            callbacks.ready(True)
        if liveness := container.get("livenessProbe"):
            group.create_task(_liveness(liveness, target, callbacks, clock))


async def _until_started(probe: Mapping[str, Any], target: Target, callbacks: Callbacks, clock: Clock) -> bool:
    await clock.sleep(float(probe.get("initialDelaySeconds") or 0))
    failures = 0
    while True:
        problem = await attempt(probe, target)
        if not problem:
            return True
        failures += 1
        callbacks.failed("Startup", problem)
        if failures >= int(probe.get("failureThreshold") or 3):
            callbacks.unhealthy("startup", probe)
            return False
        await clock.sleep(float(probe.get("periodSeconds") or 10))


async def _readiness(probe: Mapping[str, Any], target: Target, callbacks: Callbacks, clock: Clock) -> None:
    await clock.sleep(float(probe.get("initialDelaySeconds") or 0))
    ready, successes, failures = False, 0, 0
    while True:
        problem = await attempt(probe, target)
        successes, failures = (0, failures + 1) if problem else (successes + 1, 0)
        if problem:
            callbacks.failed("Readiness", problem)
        if not ready and successes >= int(probe.get("successThreshold") or 1):
            ready = True
            callbacks.ready(True)
        elif ready and failures >= int(probe.get("failureThreshold") or 3):
            ready = False
            callbacks.ready(False)
        # As kubelet does until the first success: look more often, so that a quick server is ready quickly.
        period = float(probe.get("periodSeconds") or 10)
        await clock.sleep(period if ready else min(period, _eager_seconds(failures)))


def _eager_seconds(failures: int) -> float:
    return float(min(0.1 * 1.5 ** max(failures, 1), 10.0))


async def _liveness(probe: Mapping[str, Any], target: Target, callbacks: Callbacks, clock: Clock) -> None:
    await clock.sleep(float(probe.get("initialDelaySeconds") or 0))
    failures = 0
    while True:
        problem = await attempt(probe, target)
        failures = failures + 1 if problem else 0
        if problem:
            callbacks.failed("Liveness", problem)
        if failures >= int(probe.get("failureThreshold") or 3):
            callbacks.unhealthy("liveness", probe)
            return
        await clock.sleep(float(probe.get("periodSeconds") or 10))


async def attempt(probe: Mapping[str, Any], target: Target) -> str:
    """One try: why it failed, or nothing."""
    seconds = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(seconds):
            return await handle(probe, target)
    except TimeoutError:
        return f"no answer within {seconds:g} s"


async def handle(handler: Mapping[str, Any], target: Target) -> str:
    """Does what a probe or a lifecycle hook says, however long that takes: why it failed, or nothing."""
    try:
        if handler.get("exec"):
            result, output = await target.execute(tuple(handler["exec"].get("command") or ()))
            return "" if result.code == 0 else output or result.error or f"the command exited with {result.code}"
        if handler.get("httpGet"):
            return await _http(handler["httpGet"], target)
        if handler.get("tcpSocket"):
            return await _tcp(handler["tcpSocket"], target)
        if handler.get("grpc"):
            return await _grpc(handler["grpc"], target)
    except TimeoutError:
        raise
    except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
        return str(error) or type(error).__name__
    return "the probe has no handler"


def _address(handler: Mapping[str, Any], target: Target) -> tuple[str, int]:
    port = handler["port"]
    if isinstance(port, str) and not port.isdigit():
        if port not in target.ports:
            raise ValueError(f'the container has no port named "{port}"')
        port = target.ports[port]
    return str(handler.get("host") or target.host), int(port)


async def _connect(host: str, port: int, target: Target) -> socket.socket:
    """To the Pod in its own network; to another ``host`` from the node's, as kubelet."""
    if host == target.host:
        return await target.dial(host, port)
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = addresses[0]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


async def _tcp(handler: Mapping[str, Any], target: Target) -> str:
    host, port = _address(handler, target)
    (await _connect(host, port, target)).close()
    return ""


async def _grpc(handler: Mapping[str, Any], target: Target) -> str:
    host, port = _address(handler, target)
    reader, writer = await asyncio.open_connection(sock=await _connect(host, port, target), limit=_ANSWER_LIMIT_BYTES)
    try:
        return await grpc_health.check(reader, writer, f"{host}:{port}", str(handler.get("service") or ""))
    finally:
        writer.close()


async def _http(handler: Mapping[str, Any], target: Target) -> str:
    host, port = _address(handler, target)
    context = None
    if str(handler.get("scheme") or "HTTP").upper() == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as kubelet: it is the Pod's own
    reader, writer = await asyncio.open_connection(
        sock=await _connect(host, port, target), ssl=context, server_hostname=host if context else None,
        limit=_ANSWER_LIMIT_BYTES)
    try:
        headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/lightship", "Accept": "*/*",
                   "Connection": "close"}
        for header in handler.get("httpHeaders") or ():
            headers[header["name"]] = header["value"]
        path = str(handler.get("path") or "/")
        lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1",
                 *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        words = (await reader.readline()).split()
    finally:
        writer.close()
    if len(words) < 2 or not words[1].isdigit():
        return "the answer is not HTTP"
    code = int(words[1])
    return "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"
