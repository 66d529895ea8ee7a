"""The model server's endpoints over HTTP: which path means what.

``http1`` hands me whole requests; ``predicting`` and ``openai`` answer those that need a model, I the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import unquote

import lightship
from lightship.lib import prometheus
from lightship.modelserver import errors, replies, v2
from lightship.modelserver.failures import Failures, WrongMethod
from lightship.modelserver.http1 import Request
from lightship.modelserver.models import Metrics, ServedModel
from lightship.modelserver.openai.endpoints import Endpoints
from lightship.modelserver.options import Options
from lightship.modelserver.predicting import Predicting
from lightship.modelserver.replies import Response
from lightship.modelserver.repository import Repository

SERVER_NAME = "lightship-modelserver"
_LIMIT_ROUTES = 1024

Answer = Callable[[Request, ServedModel], None]


class Service:
    """The endpoints over the repository of models."""

    def __init__(self, repository: Repository, metrics: Metrics, options: Options) -> None:
        self._repository = repository
        self._metrics = metrics
        self._failures = Failures(metrics)
        self._predicting = Predicting(metrics, options, self._failures)
        self._openai = Endpoints(repository, self._predicting, self._failures, metrics, options.limits)
        self._routes: dict[str, tuple[str, Answer]] = {}
        self.draining = False

    def handle(self, request: Request) -> None:
        """Answer one request, now or later. Every failure has the contract's shape."""
        try:
            known = self._routes.get(request.path)
            if known is not None and request.method == "POST":
                known[1](request, self._repository.get(known[0]))
            else:
                self._route(request)
        except Exception as problem:
            self._failures.answer(request, problem)

    def _route(self, request: Request) -> None:
        path = request.path.partition("?")[0]
        if "%" in path:
            path = unquote(path)
        if path.startswith("/v1/models/") and ":" in path:
            self._v1_verb(request, path)
        elif path.startswith("/v2/models/") and path != "/v2/models/":
            self._v2_model(request, path.removeprefix("/v2/models/"))
        elif path.startswith("/v2/repository/"):
            self._v2_repository(request, path.removeprefix("/v2/repository/"))
        elif path.startswith("/openai/"):
            self._openai.handle(request, path.removeprefix("/openai"))
        else:
            self._plain(request, path)

    # ---- models

    def _v1_verb(self, request: Request, path: str) -> None:
        name, _, verb = path.removeprefix("/v1/models/").rpartition(":")
        served = self._repository.get(name)
        if verb not in ("predict", "explain"):
            raise errors.ModelMissing(f'there is no verb "{verb}"; V1 has :predict and :explain')
        want(request, "POST")
        self._hot(request, served, self._predicting.v1 if verb == "predict" else self._predicting.v1_explain)

    def _v2_model(self, request: Request, rest: str) -> None:
        name, _, tail = rest.rstrip("/").partition("/")
        served = self._repository.get(name)
        version = served.versions[0]
        if tail.startswith("versions/"):
            version, _, tail = tail.removeprefix("versions/").partition("/")
            self._repository.version(served, version)
        if tail == "infer":
            want(request, "POST")
            self._hot(request, served, self._predicting.v2)
        elif tail == "ready":
            want(request, "GET")
            ready = served.ready and not self.draining
            request.respond(replies.json({"name": name, "ready": ready}, 200 if ready else 503))
        elif not tail:
            want(request, "GET")
            request.respond(replies.json(v2.metadata(name, served.versions, served.loaded)))
        else:
            raise errors.ModelMissing(f'there is no endpoint "{request.path}"')

    def _hot(self, request: Request, served: ServedModel, answer: Answer) -> None:
        """Remember where a path leads: the next request of it is not read again."""
        if len(self._routes) >= _LIMIT_ROUTES:
            self._routes.clear()
        self._routes[request.path] = (served.name, answer)
        answer(request, served)

    def _v2_repository(self, request: Request, rest: str) -> None:
        if rest == "index":
            want(request, "POST")
            ready = bool(request.body) and v2.decode_index(request.body)
            request.respond(replies.json(self._repository.index(ready=ready)))
            return
        kind, _, tail = rest.partition("/")
        name, _, verb = tail.rpartition("/")
        if kind != "models" or not name or verb not in ("load", "unload"):
            raise errors.ModelMissing(f'there is no endpoint "{request.path}"')
        want(request, "POST")
        self._predicting.spawn(request, self._change, request, name, verb)

    async def _change(self, request: Request, name: str, verb: str) -> None:
        request.on_gone(_stay)
        if verb == "load":
            await self._repository.load(name)
        else:
            await self._repository.unload(name)
        request.respond(replies.json({"name": name, verb: True}))

    # ---- the rest

    def _plain(self, request: Request, path: str) -> None:
        response = self._get(path if path == "/" else path.rstrip("/"))
        if response is None:
            raise errors.ModelMissing(f'there is no endpoint "{path}"')
        want(request, "GET")
        request.respond(response())

    def _get(self, path: str) -> Callable[[], Response] | None:
        match path:
            case "/":
                return partial(replies.json, {"status": "alive"})
            case "/metrics":
                return self._page
            case "/v1/models" | "/v2/models":
                return lambda: replies.json({"models": list(self._repository.models)})
            case "/v2":
                return lambda: replies.json({"name": SERVER_NAME, "version": lightship.__version__,
                                             "extensions": list(v2.EXTENSIONS)})
            case "/v2/health/live":
                return partial(replies.json, {"live": True})
            case "/v2/health/ready":
                return lambda: replies.json({"ready": self.ready}, 200 if self.ready else 503)
        if path.startswith("/v1/models/"):
            return partial(self._v1_ready, path.removeprefix("/v1/models/"))
        return None

    @property
    def ready(self) -> bool:
        """Whether traffic is welcome."""
        return not self.draining and self._repository.ready

    def _page(self) -> Response:
        self._repository.count()
        return Response(200, self._metrics.render(), prometheus.CONTENT_TYPE.encode())

    def _v1_ready(self, name: str) -> Response:
        served = self._repository.get(name)
        if not served.ready or self.draining:
            raise errors.ModelNotReady(f'model "{name}" is not ready')
        return replies.json({"name": name, "ready": True})


def want(request: Request, method: str) -> None:
    """Refuse other methods. Raises ``WrongMethod``."""
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise WrongMethod(request.path, request.method, method)


def _stay() -> None:
    """What was begun is finished, whether or not somebody waits for it."""
