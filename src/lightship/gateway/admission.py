"""Whether a request may go on as it came, whose it is, and the words of every refusal. Pure; ``exchange`` calls me."""

from __future__ import annotations

from lightship import errors as trunk
from lightship.gateway import errors
from lightship.gateway.heads import RequestHead
from lightship.gateway.options import Limits
from lightship.gateway.routes import Backend, Endpoint, Match, Route, Table

TAG_HEADER = b"knative-serving-tag"


def refusal(head: RequestHead, body_bytes: int, limits: Limits) -> trunk.LightshipError | None:
    """What is wrong with the request itself."""
    hosts = head.count(b"host")
    if hosts > 1 or (not hosts and head.http11):
        return trunk.BadRequest("a request has one Host header")
    if head.method == b"CONNECT":
        return trunk.Unsupported("this is no proxy to other places: CONNECT is not supported")
    if head.length is None:
        coding = head.header(b"transfer-encoding").lower()
        if coding != b"chunked":
            return trunk.Unsupported(f"the transfer coding \"{coding.decode('latin-1')}\" is not supported")
        if not head.http11:
            return trunk.BadRequest("a request of HTTP/1.0 has no transfer coding")
    return too_large(limits) if body_bytes > limits.body_bytes else None


def match(table: Table, head: RequestHead) -> Match | None:
    """Where a request goes by the table."""
    tag = head.header(TAG_HEADER).decode("latin-1").lower()
    host, target = head.header(b"host").decode("latin-1"), head.target
    if not target.startswith("/") and target[:7].lower() == "http://":
        # A whole URL, as proxies are sent: what it says of the host counts (RFC 9112, 3.2.2).
        host, slash, rest = target[7:].partition("/")
        target = slash + rest or "/"
    return table.match(host, target, tag)


def too_large(limits: Limits) -> trunk.TooLarge:
    return trunk.TooLarge(f"the request's body is larger than {limits.body_bytes} bytes")


def no_route(table: Table, head: RequestHead) -> trunk.LightshipError:
    if not table.loaded:
        return trunk.Unavailable("the gateway has not learnt its routes yet", remedy="Try again in a moment")
    host, path = head.header(b"host").decode("latin-1"), head.target.partition("?")[0]
    return errors.NoRoute(f'no InferenceService is served at host "{host}", path "{path}"',
                          remedy="See kubectl get inferenceservices -A for their URLs: "
                                 "/serving/<namespace>/<name>/...")


def no_endpoint(route: Route) -> trunk.LightshipError:
    return errors.NoEndpoint(f'InferenceService "{route.key}" has no ready endpoint{_why(route)}', remedy=_see(route))


def waited(route: Route, backend: Backend, seconds: float) -> trunk.LightshipError:
    """A request has waited in the queue of a revision for as long as it may."""
    if not backend.endpoints:
        return errors.UpstreamSilent(
            f'InferenceService "{route.key}" was at zero and did not start within {seconds:g} s{_why(route)}',
            remedy=_see(route))
    return errors.UpstreamSilent(
        f'the request waited {seconds:g} s for one of the {backend.limit * len(backend.endpoints)} places of '
        f'InferenceService "{route.key}"', remedy="Raise containerConcurrency or the number of replicas")


def silent(route: Route) -> trunk.LightshipError:
    return errors.UpstreamSilent(f'InferenceService "{route.key}" did not answer within {route.timeout_seconds:g} s',
                                 remedy="Raise spec.predictor.timeout if the model needs longer")


def unreachable(route: Route, endpoint: Endpoint, problem: OSError) -> trunk.LightshipError:
    why = str(problem) or type(problem).__name__
    return errors.UpstreamBroken(f'could not connect to InferenceService "{route.key}" at {endpoint}: {why}',
                                 remedy=_see(route))


def broken(route: Route, why: str) -> trunk.LightshipError:
    return errors.UpstreamBroken(f'the model server of InferenceService "{route.key}" {why}', remedy=_see(route))


def _why(route: Route) -> str:
    return f": {route.message}" if route.message else ""


def _see(route: Route) -> str:
    return f"See why: kubectl -n {route.namespace} describe inferenceservice {route.name}"
