"""``exec``, ``attach`` and ``portforward`` of a Pod: which protocol is asked for, and the answer that leaves HTTP.

``server`` calls ``answer`` after the access review; I ask the node for the container, so that what cannot be done is
still an HTTP status, and hand the connection to ``remote_command`` or ``port_forward``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from lightship import errors
from lightship.client.sessions import Session, Streams, Target, Wanted
from lightship.client.transport import Duplex, Request, Response
from lightship.cluster.apiserver.backend import Backend, Call, decode
from lightship.cluster.apiserver.streams import port_forward, remote_command, spdy, websocket
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.lib import tasks

LIMIT_SESSIONS = 512
"""Upgraded connections at once."""
HEARTBEAT_SECONDS = 30.0
"""Whose client was killed while its input is stuck is noticed by this: its system answers data with an end."""

_log = logging.getLogger(__name__)


@dataclass
class Sessions:
    """What is upgraded now."""

    count: int = 0
    streams: Streams | None = field(default=None)
    """The node, once it runs."""


async def answer(backend: Backend, call: Call, sessions: Sessions) -> Response:
    """The 101 that begins a session. Raises what stands in its way."""
    pod = decode(backend.entry(call).value)
    if sessions.streams is None:
        raise errors.Unavailable("this server has no node that runs Pods")
    if not objects.spec(pod).get("nodeName"):
        raise errors.BadRequest(f"pod {call.target.name} does not have a host assigned")
    if sessions.count >= LIMIT_SESSIONS:
        raise errors.Unavailable(f"{LIMIT_SESSIONS} sessions are open, which is the limit",
                                 remedy="Close some, or try again later")
    if call.target.subresource == "portforward":
        response = _port_forward(call, sessions.streams)
    else:
        response = _remote_command(call, pod, sessions.streams)
    return Response(status=101, headers=response.headers, upgrade=_counted(response, sessions))


def _counted(response: Response, sessions: Sessions) -> Callable[[Duplex], Awaitable[None]]:
    upgrade = response.upgrade
    assert upgrade is not None

    async def run(duplex: Duplex) -> None:
        sessions.count += 1
        try:
            await upgrade(duplex)
        finally:
            sessions.count -= 1

    return run


def _remote_command(call: Call, pod: Object, streams: Streams) -> Response:
    query = call.query
    tty = query.flag("tty")
    wanted = Wanted(stdin=query.flag("stdin"), stdout=query.flag("stdout"),
                    stderr=query.flag("stderr") and not tty, tty=tty)
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise errors.BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    command = tuple(parse_qs(call.request.query, keep_blank_values=True).get("command", ()))
    attach = call.target.subresource == "attach"
    if not attach and not command:
        raise errors.BadRequest("you must specify at least one command for the container")
    target: Target = streams.target(Key(call.target.namespace, call.target.name),
                                    container_of(pod, query.text("container")))

    async def open_session() -> Session:
        return await (target.attach(wanted) if attach else target.execute(command, wanted))

    if websocket.is_asked(call.request):
        protocol, headers = websocket.accept(call.request, remote_command.WEBSOCKET_PROTOCOLS)

        async def over_websocket(duplex: Duplex) -> None:
            socket = websocket.WebSocket(duplex)
            client = remote_command.WebSocketClient(socket, protocol)
            await client.greet(wanted)
            await _beating(socket.ping, remote_command.serve(client, open_session, wanted))

        return Response(status=101, headers=headers, upgrade=over_websocket)
    protocol, headers = _spdy(call.request, remote_command.SPDY_PROTOCOLS, "channel.k8s.io")

    async def over_spdy(duplex: Duplex) -> None:
        connection = spdy.Connection(duplex)
        client = remote_command.SpdyClient(connection, protocol)

        async def work() -> None:
            await client.gather(wanted)
            await remote_command.serve(client, open_session, wanted)

        await _with_frames(connection, work())

    return Response(status=101, headers=headers, upgrade=over_spdy)


def _port_forward(call: Call, streams: Streams) -> Response:
    key = Key(call.target.namespace, call.target.name)

    async def dial(port: int) -> Any:
        return await streams.dial(key, port)

    async def over_spdy(duplex: Duplex) -> None:
        connection = spdy.Connection(duplex)
        await _with_frames(connection, port_forward.serve_spdy(connection, dial))

    if not websocket.is_asked(call.request):
        _, headers = _spdy(call.request, (port_forward.PROTOCOL,), "")
        return Response(status=101, headers=headers, upgrade=over_spdy)
    protocol, headers = websocket.accept(call.request, (port_forward.TUNNEL, *port_forward.CHANNELS))
    if protocol == port_forward.TUNNEL:
        async def tunnel(duplex: Duplex) -> None:
            socket = websocket.WebSocket(duplex)
            await over_spdy(websocket.MessageBytes(socket))
            await socket.close()

        return Response(status=101, headers=headers, upgrade=tunnel)
    ports = port_forward.ports_of(parse_qs(call.request.query).get("ports", ()))

    async def channels(duplex: Duplex) -> None:
        socket = websocket.WebSocket(duplex)
        await _beating(socket.ping, port_forward.serve_channels(socket, ports, dial))

    return Response(status=101, headers=headers, upgrade=channels)


async def _beating(ping: Callable[[], Awaitable[None]], work: Awaitable[None]) -> None:
    """``work``, with a ping now and then beside it. Raises ``ConnectionError`` when the client is gone."""
    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await ping()

    await tasks.first(lambda: work, beat)


async def _with_frames(connection: spdy.Connection, work: Awaitable[None]) -> None:
    """``work`` while the connection's frames are read; both end together."""
    reading = asyncio.create_task(connection.run())
    working = asyncio.create_task(_beating(connection.ping, work))
    try:
        await asyncio.wait((working,))
        working.result()
    except (spdy.SpdyError, TimeoutError) as error:
        _log.info("a SPDY client was hung up on", extra={"cause": str(error)})
    finally:
        for task in (reading, working):
            task.cancel()
        ends = await asyncio.gather(reading, working, return_exceptions=True)
        if isinstance(ends[0], spdy.SpdyError):
            _log.info("a SPDY client broke the protocol", extra={"cause": str(ends[0])})


def _spdy(request: Request, supported: tuple[str, ...], default: str) -> tuple[str, dict[str, str]]:
    if request.headers.get("upgrade", "").lower() != "spdy/3.1":
        raise errors.BadRequest("unable to upgrade: this needs an upgrade to a WebSocket or to SPDY/3.1",
                                remedy="Use `kubectl exec`, `attach` or `port-forward`")
    asked = [name.strip() for name in request.headers.get("x-stream-protocol-version", "").split(",") if name.strip()]
    chosen = next((name for name in asked if name in supported), default if not asked else "")
    if asked and not chosen:
        raise errors.Forbidden(f"unable to upgrade: unable to negotiate protocol: client supports {asked[:10]}, "
                               f"server accepts {list(supported)}")
    headers = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}
    return chosen, headers | ({"x-stream-protocol-version": chosen} if asked else {})


def container_of(pod: Object, asked: str) -> str:
    """The container that is meant. Raises ``errors.BadRequest``."""
    spec = objects.spec(pod)
    names = [str(each["name"]) for each in spec.get("containers") or ()]
    every = [*names, *(str(each["name"]) for each in spec.get("initContainers") or ())]
    name = asked or objects.annotations(pod).get("kubectl.kubernetes.io/default-container") or (
        names[0] if len(names) == 1 else "")
    if not name:
        raise errors.BadRequest(f"a container name must be specified for pod {objects.name(pod)}, choose one of: "
                                f"[{' '.join(names)}]")
    if name not in every:
        raise errors.BadRequest(f"container {name[:100]} is not valid for pod {objects.name(pod)}")
    return name
