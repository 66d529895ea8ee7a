"""A whole model server: listens, loads its models, drains when told.

``__main__`` runs me in a serving Pod, tests run me in their own loop. I call ``http1``, ``service``, ``grpc_service``
and ``repository``.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from time import perf_counter

from lightship import errors as trunk
from lightship.modelserver import http1
from lightship.modelserver.grpc_service import GrpcService
from lightship.modelserver.models import Metrics
from lightship.modelserver.options import Options
from lightship.modelserver.repository import Repository
from lightship.modelserver.service import Service

logger = logging.getLogger(__name__)

_BACKLOG = 1024


class ModelServer:
    """Models behind one port, and another for gRPC alone."""

    def __init__(self, options: Options) -> None:
        metrics = Metrics()
        self._options = options
        self._repository = Repository(options, metrics)
        self._service = Service(self._repository, metrics, options)
        self._grpc = GrpcService(self._repository, self._service, metrics, options.limits).server()
        self._http = http1.Server(self._service.handle, options.limits, http2=self._grpc.protocol,
                                  log=_log if options.access_log else None)
        self._listeners: list[asyncio.Server] = []
        self.port = 0
        self.grpc_port = 0

    async def listen(self) -> None:
        """Bind; health answers from here on, ready says no until ``load`` is done. Raises ``StateError``."""
        self.port = await self._bind(self._http.protocol, self._options.http_port)
        if self._options.grpc_port is not None:
            self.grpc_port = await self._bind(self._grpc.protocol, self._options.grpc_port)

    async def _bind(self, protocol: Callable[[], asyncio.Protocol], port: int) -> int:
        host = self._options.host
        try:
            listener = await asyncio.get_running_loop().create_server(protocol, host or None, port, backlog=_BACKLOG)
        except OSError as problem:
            raise trunk.StateError(f"could not listen on {host or '*'}:{port}: {problem}") from problem
        self._listeners.append(listener)
        found: int = listener.sockets[0].getsockname()[1]
        return found

    async def load(self) -> None:
        """Load the models. Raises ``LoadFailed``."""
        await self._repository.start()
        # What was loaded lives as long as the process: spare the collector from walking it on every pass.
        gc.collect()
        gc.freeze()

    async def drain(self) -> None:
        """Stop listening, say not ready, answer what is in flight, and end."""
        self._service.draining = True
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(self._http.drain(), self._grpc.drain())
        self._repository.close()


def _log(request: http1.Request, status: int) -> None:
    logger.info("answered", extra={"method": request.method, "path": request.path, "status": status,
                                   "ms": round(1e3 * (perf_counter() - request.since), 3)})
