"""The API server: one ``handle`` that every transport enters, and the order in which a request is judged.

identity -> route -> access review -> verb (admission lives in the verbs). ``app`` builds me; the in-process transport
and ``listener`` call ``handle``. I call the verbs' modules and, through them, the store.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from lightship import __version__, errors
from lightship.client.client import Client
from lightship.client.inprocess import InProcess
from lightship.client.transport import Request, Response, User
from lightship.client.usage import MetricsSource
from lightship.cluster.apiserver import (
    accounts,
    applies,
    bodies,
    core,
    deletes,
    evictions,
    formats,
    gate,
    metrics,
    reads,
    registry,
    routes,
    statuses,
    strict,
    subresources,
    watches,
    writes,
)
from lightship.cluster.apiserver.access import Attributes, Authorizer, rbac
from lightship.cluster.apiserver.addresses import ServiceAddresses
from lightship.cluster.apiserver.admission import Admission
from lightship.cluster.apiserver.backend import Backend, Call, decode
from lightship.cluster.apiserver.crds import serving
from lightship.cluster.apiserver.crds.registrar import Registrar
from lightship.cluster.apiserver.discovery import Discovery
from lightship.cluster.apiserver.errors import MethodNotAllowed
from lightship.cluster.apiserver.openapi import OpenApi
from lightship.cluster.apiserver.queries import Query
from lightship.cluster.apiserver.reviews import Reviewer
from lightship.cluster.apiserver.routes import Target
from lightship.cluster.apiserver.streams import endpoint, http_proxy
from lightship.cluster.apiserver.subresources import LogSource, ProxyHandler
from lightship.cluster.apiserver.tokens import Authenticator, TokenAuthenticator, TokenAuthority
from lightship.cluster.store.broadcast import Key as StoreKey
from lightship.cluster.store.store import Store
from lightship.kube import resources
from lightship.kube.objects import Key, Object
from lightship.lib.clock import SYSTEM, Clock
from lightship.lib.ids import IdSource, RandomIds

KUBERNETES_VERSION = ("1", "36", "0")
"""The Kubernetes whose behaviour this server follows; what ``/version`` says."""

DEFINITIONS_CONTROLLER = User(name="system:apiserver", groups=("system:masters", "system:authenticated"))
"""Who deletes the objects of a definition that is being deleted."""

_log = logging.getLogger(__name__)

_ON_OBJECT = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
_ON_COLLECTION = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}


@dataclass(frozen=True, kw_only=True)
class ApiServerOptions:
    """What a server is made of. ``kinds`` are the domains'; ``tokens`` issues ServiceAccount tokens."""

    store: Store
    authenticator: Authenticator
    kinds: Sequence[registry.AdmittedKind] = ()
    authorizer: Authorizer | None = None
    """None: RBAC, by the Roles and bindings in the store."""
    tokens: TokenAuthority | None = None
    clock: Clock = SYSTEM
    ids: IdSource = field(default_factory=RandomIds)


Door = Callable[[Request], Awaitable[Response | None]]


class ApiServer:
    """Serves the core kinds and those of the domains.

    The app may set ``sessions.streams``, ``logs`` and ``metrics`` (the node, once it runs), ``ready`` and entries of
    ``proxies`` and ``mounts`` at any time. A mount answers every path below its prefix, which no API group may bear.
    ``doors`` are asked first, before anybody is identified: one answers what it knows, and judges who asks by itself.
    """

    def __init__(self, options: ApiServerOptions) -> None:
        self.registry = registry.Registry([
            *core.served(), *(serving.builtin(kind, _finder(options.store)) for kind in options.kinds)])
        self.logs: LogSource | None = None
        self.sessions = endpoint.Sessions()
        self.metrics: MetricsSource | None = None
        self.ready: Callable[[], bool] = lambda: True
        self.proxies: dict[Key, ProxyHandler] = {}
        self.mounts: dict[str, ProxyHandler] = {}
        self.doors: list[Door] = []
        ServiceAddresses(options.store, options.clock).install(self.registry)
        self.definitions = Registrar(self.registry, options.store, options.clock,
                                     Client(InProcess(self.handle, DEFINITIONS_CONTROLLER)))
        rules = rbac.Rbac(options.store)
        self._backend = Backend(store=options.store, registry=self.registry, clock=options.clock, ids=options.ids,
                                admission=Admission(options.store, None if options.authorizer else rules,
                                                    options.kinds))
        self._gate = gate.Gate(options.authenticator, options.authorizer or rules)
        self._tokens = options.tokens
        self._reviewer = Reviewer(options.authenticator, options.authorizer or rules, rules)
        self._discovery = Discovery(self.registry)
        self._openapi = OpenApi(self.registry, _git_version())
        if isinstance(options.authenticator, TokenAuthenticator):
            options.authenticator.lives = lambda claims: accounts.still_there(options.store, claims)

    async def handle(self, request: Request) -> Response:
        """Answer one request; an error is an answer too. A streaming body must be closed by the caller."""
        target: Target | None = None
        user: User | None = None
        try:
            if request.user is None:
                for door in self.doors:
                    if (answer := await door(request)) is not None:
                        return answer
            user = await self._gate.identify(request)
            mount = next((answer for prefix, answer in self.mounts.items() if request.path.startswith(prefix)), None)
            if mount is not None:
                await self._gate.review(user, gate.path_attributes(request))
                return await mount(replace(request, user=user))
            target = await self._target(request, user)
            if target is None:
                return await self._other(request, user)
            return self._noted(await self._resource(request, user, target), target)
        except errors.LightshipError as e:
            return statuses.response_of(gate.told(user, e), **_details(target))
        except ExceptionGroup as group:
            first = next((e for e in group.exceptions if isinstance(e, errors.LightshipError)), None)
            return statuses.response_of(first or self._bug(request, group), **_details(target))
        except Exception as e:
            return statuses.response_of(self._bug(request, e), **_details(target))

    def _noted(self, response: Response, target: Target) -> Response:
        """The answer with the warning that its version is deprecated, where it is."""
        text = target.served.deprecation
        return strict.warned(response, [text]) if text and "warning" not in response.headers else response

    def _bug(self, request: Request, error: Exception) -> errors.InternalError:
        _log.error("a request failed unexpectedly", exc_info=error,
                   extra={"method": request.method, "path": request.path[:500]})
        return errors.InternalError(f"the server failed on this request: {type(error).__name__}",
                                    remedy="This is a bug: the server's log has the details")

    async def _target(self, request: Request, user: User) -> Target | None:
        """What the request is about. That a kind is not served is told to those who might use it if it were."""
        try:
            return routes.parse(request.path, self.registry)
        except errors.NotFound:
            await self._gate.review(user, gate.unserved_attributes(request))
            raise

    async def _resource(self, request: Request, user: User, target: Target) -> Response:
        query = Query(request.query)
        verb = _verb(request, target, query)
        resource = target.served.resource
        await self._gate.review(user, gate.resource_attributes(verb, target, query))
        if target.subresource == "proxy":
            call = Call(request=request, user=user, target=target, query=query, format=formats.PLAIN)
            return await self._proxy(call)
        accept = "" if target.subresource == "log" else request.headers.get("accept", "")
        call = Call(request=request, user=user, target=target, query=query, format=formats.negotiate(accept))
        if target.subresource not in ("", "status"):
            return await self._subresource(call, verb)
        if resource.group == metrics.GROUP:
            return await metrics.answer(call, verb, self.metrics, self._backend.clock.now())
        if not target.served.persistent:
            if verb != "create" or target.name:
                raise MethodNotAllowed(f"{resource.plural} can only be created")
            return await self._reviewer.review(call)
        return await self._verb(call, verb)

    async def _verb(self, call: Call, verb: str) -> Response:
        backend = self._backend
        match verb:
            case "get":
                return reads.get(backend, call)
            case "list":
                return reads.list_objects(backend, call)
            case "watch":
                return watches.watch(backend, call)
            case "create" if not call.target.name:
                return await writes.create(backend, call)
            case "update":
                return await writes.update(backend, call)
            case "patch" if bodies.content_type(call.request) == writes.APPLY:
                return await applies.apply(backend, call)
            case "patch":
                return await writes.patch(backend, call)
            case "delete" if not call.target.subresource:
                return await deletes.delete(backend, call)
            case "deletecollection" if "deletecollection" in call.served.verbs:
                return await deletes.delete_collection(backend, call)
        raise MethodNotAllowed(f"the server does not allow {verb} on this resource")

    async def _proxy(self, call: Call) -> Response:
        resource = call.served.resource
        if resource == resources.NODES:
            return await http_proxy.node(self._backend, call)
        if resource == resources.PODS:
            return await http_proxy.pod(self._backend, call, self.sessions.streams)
        if subresources.proxy_of(call, self.proxies) is None:
            return await http_proxy.service(self._backend, call, self.sessions.streams)
        return await subresources.proxy(call, self.proxies)

    async def _subresource(self, call: Call, verb: str) -> Response:
        backend = self._backend
        match call.target.subresource, verb:
            case "scale", "get" | "update" | "patch":
                return await subresources.scale(backend, call)
            case "log", "get":
                return await subresources.log(backend, call, self.logs)
            case "binding", "create":
                return await subresources.bind(backend, call)
            case "eviction", "create":
                return await evictions.evict(backend, call)
            case "token", "create":
                return await accounts.token(backend, call, self._tokens)
            case "finalize", "update":
                return await writes.update(backend, call)
            case "exec" | "attach" | "portforward", "get" | "create":
                if verb == "get":  # what a WebSocket asks with; to look must not be enough to run commands
                    await self._gate.review(call.user, Attributes(
                        verb="create", resource=call.served.resource.plural, subresource=call.target.subresource,
                        namespace=call.target.namespace, name=call.target.name))
                return await endpoint.answer(backend, call, self.sessions)
        raise MethodNotAllowed(f"the server does not allow {verb} on {call.target.subresource}")

    async def _other(self, request: Request, user: User) -> Response:
        """Paths that are no resources: health, version, discovery, OpenAPI."""
        path = request.path.rstrip("/")
        await self._gate.review(user, gate.path_attributes(request))
        if request.method != "GET":
            raise MethodNotAllowed(f"{request.method} is not allowed on {path[:200] or '/'}")
        accept = request.headers.get("accept", "")
        answer: Response | None
        match path:
            case "":
                answer = self._discovery.root
            case "/healthz" | "/livez":
                answer = _health(request, path, True)
            case "/readyz":
                answer = _health(request, path, self.ready())
            case "/version":
                answer = _json(_version())
            case accounts.CONFIGURATION_PATH | accounts.KEYS_PATH:
                answer = accounts.page(path, self._tokens)
            case _ if path.startswith("/openapi/"):
                answer = self._openapi.answer(path, accept)
            case _:
                answer = self._discovery.answer(path, accept)
        if answer is None:
            raise errors.NotFound("the server could not find the requested resource")
        return answer


def _verb(request: Request, target: Target, query: Query) -> str:
    method = request.method
    if target.name or target.subresource:
        verb = _ON_OBJECT.get(method)
    elif method == "GET" and query.flag("watch"):
        verb = "watch"
    else:
        verb = _ON_COLLECTION.get(method)
    if verb is None:
        raise MethodNotAllowed(f"{method[:20]} is not allowed here")
    if verb == "create" and not target.name and target.served.resource.namespaced and not target.namespace:
        raise MethodNotAllowed("an object of a namespaced kind is created in a namespace: name it in the path")
    return verb


def _details(target: Target | None) -> dict[str, str]:
    if target is None:
        return {}
    resource = target.served.resource
    return {"name": target.name, "group": resource.group, "kind": resource.plural}


def _health(request: Request, path: str, well: bool) -> Response:
    """``ok``, or each check by its name where the client asks for that."""
    if not Query(request.query).flag("verbose"):
        return _text(200, "ok") if well else _text(503, "not ready yet")
    told = "[+]started ok" if well else "[-]started failed: not ready yet"
    return _text(200 if well else 503, f"[+]ping ok\n{told}\n{path[1:]} check {'passed' if well else 'failed'}\n")


def _text(status: int, text: str) -> Response:
    return Response(status=status, headers={"content-type": "text/plain"}, body=text.encode())


def _json(data: Any) -> Response:
    return Response(status=200, headers={"content-type": statuses.JSON}, body=msgspec.json.encode(data))


def _git_version() -> str:
    return f"v{'.'.join(KUBERNETES_VERSION)}+lightship-{__version__}"


def _version() -> dict[str, str]:
    host = os.uname()
    return {"major": KUBERNETES_VERSION[0], "minor": KUBERNETES_VERSION[1], "gitVersion": _git_version(),
            "gitCommit": "", "gitTreeState": "clean", "buildDate": "", "goVersion": "", "compiler": "cpython",
            "platform": f"{host.sysname.lower()}/{host.machine}"}


Handler = Callable[[Request], Awaitable[Response]]


def _finder(store: Store) -> serving.Find:
    """What a kind's admission reads of other objects: as they are in the store."""
    def find(resource: resources.Resource, key: Key) -> Object | None:
        entry = store.get(StoreKey(resource.group_resource, key.namespace, key.name))
        return decode(entry.value) if entry is not None else None

    return find
