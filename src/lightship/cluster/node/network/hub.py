"""The hub's process: ``python -m lightship.cluster.node.network.hub CONFIGURATION``. ``pod_network`` starts me.

I stay in the host's network, and so reach both sides: my maker, forked before the loop starts, gives me sockets of the
Pods' network. I serve Services, names and the way out, hand sockets to the node and the gateway, and have Pods' network
namespaces made. The node speaks to me over one packet socket; when that ends, the node is gone and so am I.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from lightship import errors
from lightship.cluster.node.inside import linux, network
from lightship.cluster.node.network import dns, egress, maker, names, relay, services, shares
from lightship.cluster.node.network.channel import Channel, receive
from lightship.lib import logs

NAME_SERVER = "10.96.0.10"
SOCKET_NAME = "network.sock"
LIMIT_CALLERS = 64
"""Askers for sockets (gateways) that are answered at once."""
_NAME_PORT = 53

_log = logging.getLogger(__name__)


def main() -> None:
    """Forks the maker and serves until the node's channel ends."""
    configuration = json.loads(sys.argv[1])
    logs.to_stderr("warning")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        os.close(configuration["channel"])
        maker.serve(theirs, configuration["user"], configuration["net"])
    theirs.close()
    linux.die_with_parent()
    asyncio.run(_Hub(configuration, ours).run())


class _Hub:
    def __init__(self, configuration: Mapping[str, Any], maker_socket: socket.socket) -> None:
        self._configuration = configuration
        self._maker_socket = maker_socket
        self._refusals = shares.Refusals()
        self._names = names.Names(self._refusals)
        self._pods: dict[str, list[asyncio.Server]] = {}
        self._maker: Channel
        self._relay: relay.Relay
        self._dialer: relay.Dialer
        self._services: services.Services

    async def run(self) -> None:
        self._maker = Channel(self._maker_socket)
        self._relay = relay.Relay(self._refusals)
        self._dialer = relay.Dialer(self._maker)
        self._services = services.Services(self._maker, self._dialer, self._relay, self._refusals)
        await self._start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve_node())
            group.create_task(self._serve_callers())

    async def _start(self) -> None:
        datagrams, = await self._maker.ask({"bind": [NAME_SERVER, _NAME_PORT]})
        listener, = await self._maker.ask({"listen": [NAME_SERVER, _NAME_PORT]})
        await self._names.serve(socket.socket(fileno=datagrams), socket.socket(fileno=listener))
        if self._configuration["egress"]:
            device, = await self._maker.ask({"tunnel": True})
            inner, = await self._maker.ask({"listen": [network.TUN_ADDRESS, egress.PORT]})
            await egress.Egress(device, self._relay, self._refusals).serve(socket.socket(fileno=inner))

    async def _serve_node(self) -> None:
        """One request after the other, each with its answer."""
        loop = asyncio.get_running_loop()
        node = socket.socket(fileno=self._configuration["channel"])
        node.setblocking(False)
        readable = asyncio.Event()
        loop.add_reader(node.fileno(), readable.set)
        while True:
            await readable.wait()
            try:
                data, given = receive(node)
            except BlockingIOError:
                readable.clear()
                continue
            except ConnectionError:
                data = b""
            if not data:
                os._exit(0)  # the node is gone; the maker follows by the end of its socket
            answer: dict[str, Any] = {}
            made: list[int] = []
            try:
                made = await self._answer(json.loads(data), given)
            except (OSError, errors.LightshipError) as error:
                answer = {"error": str(error)}
            finally:
                for descriptor in given:
                    os.close(descriptor)
            try:
                socket.send_fds(node, [json.dumps(answer).encode()], made)
            except BrokenPipeError:
                os._exit(0)
            for descriptor in made:
                os.close(descriptor)

    async def _answer(self, message: Mapping[str, Any], given: list[int]) -> list[int]:
        if "pod" in message:
            return await self._make_pod(message["pod"])
        if "release" in message:
            for server in self._pods.pop(message["release"], ()):
                server.close()
            self._refusals.forget(message["release"])
            return []
        if "sockets" in message:
            return [await self._dialer.pod_socket() for _ in range(message["sockets"])]
        if "listen" in message:
            return await self._maker.ask({"listen": message["listen"]})
        if "inside" in message:
            return await self._maker.ask(message, given)
        if "tables" in message:
            with os.fdopen(os.dup(given[0]), "rb") as stream:
                stream.seek(0)
                tables = json.load(stream)
            self._names.zone = dns.Zone(records=tables["records"], pointers=tables["pointers"])
            await self._services.apply(tables["services"])
            return []
        raise errors.BadRequest(f"there is no such request: {sorted(message)}")

    async def _make_pod(self, ip: str) -> list[int]:
        ports = self._configuration["loopback_ports"]
        namespace, *listeners = await self._maker.ask({"pod": ip, "ports": ports})
        self._pods[ip] = [await self._relay.serve(socket.socket(fileno=listener), self._to_host(port), lambda _: ip)
                          for listener, port in zip(listeners, ports, strict=True)]
        return [namespace]

    def _to_host(self, port: int) -> Any:
        """What a Pod finds on its loopback at the platform's own ports: the platform, whose URLs say so."""
        async def open_far(client: tuple[str, int]) -> socket.socket:
            return await self._dialer.connect("127.0.0.1", port)

        return open_far

    async def _serve_callers(self) -> None:
        """Gives sockets of the Pods' network to the gateway: who may open our directory may have them."""
        loop = asyncio.get_running_loop()
        os.chdir(self._configuration["directory"])  # a socket's path has to be short
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET_NAME)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        listener.bind(SOCKET_NAME)
        os.chmod(SOCKET_NAME, 0o600)
        listener.listen(LIMIT_CALLERS)
        while True:
            caller, _ = await loop.sock_accept(listener)
            descriptor = -1
            try:
                descriptor = await self._dialer.pod_socket()
                socket.send_fds(caller, [b"1"], [descriptor])
            except (OSError, errors.LightshipError) as error:
                _log.warning("could not hand out a socket", extra={"cause": str(error)})
            finally:
                caller.close()
                if descriptor >= 0:
                    os.close(descriptor)


if __name__ == "__main__":
    main()
