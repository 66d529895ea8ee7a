"""Services that the platform answers itself: their sockets listen in the Pods' network, and we accept in this process.

``pod_network`` calls ``follow`` with each table's Services. Nothing relays in between, so whoever answers sees the
address of the Pod that calls, which no other Pod can have: it says who asks where a protocol has no other way. A Pod's
connections are bounded here. Without network namespaces nobody listens, as names do not resolve either.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping

from lightship.cluster.node.network import tables
from lightship.cluster.node.network.channel import Channel, ChannelError
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.lib.tasks import Tasks

LIMIT_CONNECTIONS_PER_POD = 64
"""To all such Services; one more is closed at once."""
LIMIT_SOURCES = 4096
PAUSE_SECONDS = 1.0
"""Between two tries to take a connection where the machine has no more files to give."""

ProtocolFactory = Callable[[], asyncio.Protocol]
Begin = Callable[[], ProtocolFactory]
"""Called when somebody may call for the first time: what serves is then imported and made."""

_log = logging.getLogger(__name__)


class OwnServices:
    """``served`` tells who answers at a Service's ports, by the Service's name."""

    def __init__(self, served: Mapping[Key, Begin]) -> None:
        self._served = served
        self._begun: dict[Key, ProtocolFactory] = {}
        self._listening: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._connections: dict[str, list[asyncio.BaseTransport]] = {}
        self._tasks = Tasks("the platform's own Services")

    async def follow(self, services: Iterable[Object], channel: Channel) -> None:
        """Listen at what these Services say, and nowhere else. Raises ``ChannelError``."""
        wanted = {(ip, int(port["port"])): objects.key(service)
                  for service in services if objects.key(service) in self._served and (ip := tables.cluster_ip(service))
                  for port in objects.spec(service).get("ports") or () if (port.get("protocol") or "TCP") == "TCP"}
        for address in set(self._listening) - set(wanted):
            self._listening.pop(address).cancel()
        for address, key in wanted.items():
            if address in self._listening:
                continue
            try:
                descriptor, = await channel.ask({"listen": list(address)})
            except ChannelError as problem:
                if channel.closed.done():
                    raise
                _log.warning("could not serve the platform's own Service",
                             extra={"service": str(key), "address": str(address), "cause": str(problem)})
                continue
            if key not in self._begun:
                self._begun[key] = self._served[key]()
            self._listening[address] = self._tasks.spawn(
                self._accept(socket.socket(fileno=descriptor), self._begun[key]), name=str(key))

    async def close(self) -> None:
        await self._tasks.close()
        for transports in self._connections.values():
            for transport in transports:
                transport.close()

    async def _accept(self, listener: socket.socket, factory: ProtocolFactory) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            listener.setblocking(False)
            while True:
                try:
                    made, (ip, *_) = await loop.sock_accept(listener)
                except OSError as problem:  # too many open files, for one: callers wait in the backlog
                    _log.warning("could not take a connection", extra={"cause": str(problem)})
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                if not self._has_room(ip):
                    made.close()
                    continue
                try:
                    transport, _ = await loop.connect_accepted_socket(factory, made)
                except OSError as problem:
                    _log.debug("a connection ended before it began", extra={"cause": str(problem)})
                    continue
                self._connections.setdefault(ip, []).append(transport)

    def _has_room(self, ip: str) -> bool:
        if len(self._connections) >= LIMIT_SOURCES:
            self._connections = {source: open_ for source, all_ in self._connections.items()
                                 if (open_ := [one for one in all_ if not one.is_closing()])}
        here = [one for one in self._connections.get(ip, ()) if not one.is_closing()]
        if here:
            self._connections[ip] = here
        else:
            self._connections.pop(ip, None)
        return len(here) < LIMIT_CONNECTIONS_PER_POD
