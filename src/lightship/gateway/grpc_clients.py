"""A client's connection of HTTP/2: ``downstream`` hands it to me when it begins with the protocol's preface."""

from __future__ import annotations

import asyncio

from lightship.gateway.core import Connection, Core
from lightship.gateway.grpc_calls import Call
from lightship.gateway.h2_link import Field, Link
from lightship.lib.deadline import Deadline


class Client(Link):
    """One client. A silent connection without calls is ended as one of HTTP/1.1 is."""

    def __init__(self, core: Core, all: set[Connection], address: str, port: int) -> None:
        super().__init__(self._call, self._gone)
        self._core = core
        self._all = all
        self._address = address
        self._port = port
        self._idle = Deadline(asyncio.get_running_loop(), self._expired)
        self._idle.set(core.limits.idle_seconds)
        all.add(self)
        core.count_connections(len(all))

    def data_received(self, data: bytes) -> None:
        self._idle.set(self._core.limits.idle_seconds)
        super().data_received(data)

    def drain(self) -> None:
        self.go_away()

    def _call(self, number: int, fields: list[Field], ended: bool) -> Call:
        return Call(self._core, self, number, self._address, self._port)

    def _expired(self) -> None:
        if self.leaving:
            self.abort()
        elif len(self):
            self._idle.set(self._core.limits.idle_seconds)
        else:
            self.go_away()
            self._idle.set(self._core.limits.drain_idle_seconds)

    def _gone(self) -> None:
        self._idle.close()
        self._all.discard(self)
        self._core.count_connections(len(self._all))
