"""A whole model server: listens, loads its model, drains when told.

``__main__`` runs me in a serving Pod, tests run me in their own loop. I call ``http1``, ``service`` and ``models``.
"""

from __future__ import annotations

import asyncio
import gc

from lightship import errors as trunk
from lightship.modelserver.formats import LoadOptions
from lightship.modelserver.http1 import Server
from lightship.modelserver.models import Metrics, ServedModel
from lightship.modelserver.options import Options
from lightship.modelserver.service import Service


class ModelServer:
    """One model behind one port."""

    def __init__(self, options: Options) -> None:
        metrics = Metrics()
        self._options = options
        self._model = ServedModel(options.model_name, metrics, options.limits)
        self._service = Service({options.model_name: self._model}, metrics, options.limits)
        self._http = Server(self._service.handle, options.limits)
        self._listener: asyncio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        """Bind; health answers from here on, ready says no until ``load`` is done. Raises ``StateError``."""
        host = self._options.host
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._http.protocol, host or None, self._options.http_port, backlog=1024)
        except OSError as problem:
            place = f"{host or '*'}:{self._options.http_port}"
            raise trunk.StateError(f"could not listen on {place}: {problem}") from problem
        self.port = self._listener.sockets[0].getsockname()[1]

    async def load(self) -> None:
        """Load the model. Raises ``LoadFailed``."""
        await self._model.load(self._options.format, LoadOptions(
            name=self._options.model_name, directory=self._options.model_dir,
            predict_proba=self._options.predict_proba))
        # What was loaded lives as long as the process: spare the collector from walking it on every pass.
        gc.collect()
        gc.freeze()

    async def drain(self) -> None:
        """Stop listening, say not ready, answer what is in flight, and end."""
        self._service.draining = True
        if self._listener is not None:
            self._listener.close()
        await self._http.drain()
        self._model.close()
