"""The peers of the model servers' benchmark. ``serving.py`` runs me under the peer's own Python, with its name, a port
and the model's file.

``kserve``: KServe's model server with a model as its sklearnserver has it, access and latency logs off. ``uvicorn``: a
bare handler that answers a constant, which is what the server costs without a model. ``canned``: constant bytes from a
bare Protocol, which is the load generator's ceiling. (MLServer has its own command line.)
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

ANSWER = b'{"predictions":[0]}'


def kserve(port: int, path: str) -> None:
    import joblib
    from kserve import Model, ModelServer
    from kserve.utils.utils import get_predict_input, get_predict_response

    class Sklearn(Model):
        def load(self) -> bool:
            self.estimator = joblib.load(path)
            self.ready = True
            return True

        def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            result = self.estimator.predict(get_predict_input(payload))
            return get_predict_response(payload, result, self.name)

    model = Sklearn("m")
    model.load()
    logging.disable(logging.INFO)
    server = ModelServer(http_port=port, enable_grpc=False, enable_latency_logging=False)
    logging.getLogger("uvicorn.access").disabled = True
    server.start([model])


def uvicorn(port: int, path: str) -> None:
    import uvicorn as server

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            continue
        await send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]})
        await send({"type": "http.response.body", "body": ANSWER})

    server.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning", lifespan="off")


class Canned(asyncio.Protocol):
    """Answers each piece that ends a request."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))


def canned(port: int, path: str) -> None:
    import uvloop

    async def serve() -> None:
        listener = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
        await listener.serve_forever()

    uvloop.run(serve())


if __name__ == "__main__":
    {"kserve": kserve, "uvicorn": uvicorn, "canned": canned}[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
