"""Tables, balancing and heads, without any connection."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from lightship.gateway import feed, heads, routes
from lightship.gateway.balance import Balancer
from lightship.gateway.errors import BadRoute
from lightship.gateway.heads import RequestHead
from lightship.gateway.routes import Backend, Endpoint, Match, Table
from tests.unit.gateway.conftest import route

A, B, C = Endpoint("127.1.0.1", 8080), Endpoint("127.1.0.2", 8080), Endpoint("127.1.0.3", 8080)

WRITTEN: dict[str, Any] = {
    "namespace": "default", "name": "iris", "hosts": ["Iris-default.example.com"], "prefix": "/serving/default/iris",
    "timeoutSeconds": 60, "backends": [{"revision": "r", "weight": 100, "endpoints": ["127.1.0.1:8080"]}]}


@pytest.mark.parametrize(("host", "path", "expected"), [
    ("127.0.0.1:8782", "/serving/default/iris/v1/models/iris:predict", "/v1/models/iris:predict"),
    ("127.0.0.1:8782", "/serving/default/iris", "/"),
    ("127.0.0.1:8782", "/serving/default/iris/", "/"),
    ("127.0.0.1:8782", "/serving/default/iris?a=/b/c", "/?a=/b/c"),
    ("127.0.0.1:8782", "/serving/default/iris/x?q=1", "/x?q=1"),
    ("IRIS-default.example.com:80", "/serving/default/other/x", "/serving/default/other/x"),
    ("127.0.0.1", "/serving/default/irises/x", None),
    ("127.0.0.1", "/serving/default", None),
    ("127.0.0.1", "/", None),
    ("127.0.0.1", "http://elsewhere/serving/default/iris", None),
    ("", "*", None),
])
def test_matching(host: str, path: str, expected: str | None) -> None:
    match = Table((route(A),)).match(host, path)
    assert (match and match.path) == expected


def test_a_written_route_is_read() -> None:
    found = routes.parse(json.dumps(WRITTEN))
    assert found.hosts == ("iris-default.example.com",)
    assert found.backends == (Backend(revision="r", weight=100, endpoints=(A,)),)


@pytest.mark.parametrize("change", [
    {"prefix": "/"}, {"prefix": "serving/a/b"}, {"timeoutSeconds": 0}, {"timeoutSeconds": "x"}, {"backends": 3},
    {"backends": [{"endpoints": ["nowhere"]}]}, {"backends": [{"endpoints": ["a:99999"]}]},
    {"backends": [{"weight": -1}]},
])
def test_a_route_that_cannot_be_read(change: dict[str, Any]) -> None:
    with pytest.raises(BadRoute):
        routes.parse(json.dumps(WRITTEN | change))


@pytest.mark.parametrize("change", [
    {"namespace": "other"}, {"prefix": "/serving/other/iris"}, {"hosts": ["pay-other.example.com"]}])
def test_a_config_map_cannot_take_anothers_address(change: dict[str, Any]) -> None:
    made = {"metadata": {"namespace": "default", "name": "x"}}
    assert feed.read(made | {"data": {"route.json": json.dumps(WRITTEN | {"hosts": ["iris-default.x"]})}})
    with pytest.raises(BadRoute):
        feed.read(made | {"data": {"route.json": json.dumps(WRITTEN | {"hosts": []} | change)}})
    with pytest.raises(BadRoute):
        feed.read(made)


def test_weights_are_exact_and_spread() -> None:
    shared = route(backends=[Backend(revision="old", weight=90, endpoints=(A,)),
                             Backend(revision="new", weight=10, endpoints=(B,)),
                             Backend(revision="off", weight=0, endpoints=(C,))])
    balancer = Balancer()
    picked = [balancer.pick(shared) for _ in range(100)]
    assert Counter(backend.revision for backend, _ in filter(None, picked)) == {"old": 90, "new": 10}
    assert all("new" in {backend.revision for backend, _ in filter(None, picked[at:at + 10])}
               for at in range(0, 100, 10))


def test_a_revision_without_endpoints_gives_its_share_away() -> None:
    shared = route(backends=[Backend(revision="old", weight=90, endpoints=(A,)),
                             Backend(revision="new", weight=10, endpoints=())])
    balancer = Balancer()
    assert {balancer.pick(shared) for _ in range(20)} == {(shared.backends[0], A)}
    assert balancer.pick(shared, tried=[A]) is None


def test_the_least_busy_endpoint_gets_the_next_request() -> None:
    balancer = Balancer()
    served = route(A, B, C)
    for busy in (A, A, B):
        balancer.begin(busy)
    picked = [balancer.pick(served) for _ in range(5)]
    assert {endpoint for _, endpoint in filter(None, picked)} == {C}
    balancer.begin(C)
    balancer.end(A)
    idle = Counter(endpoint for _, endpoint in filter(None, (balancer.pick(served) for _ in range(30))))
    assert set(idle) == {A, B, C}


def sent(*headers: tuple[bytes, bytes], method: bytes = b"POST", length: int | None = 2) -> list[bytes]:
    head = RequestHead(method, "/serving/default/iris/x", list(headers), length, True, True)
    return heads.to_upstream(head, Match(route(A), "/x"), "9.9.9.9").split(b"\r\n")


def test_what_the_model_server_does_not_get_to_see() -> None:
    lines = sent((b"host", b"h"), (b"authorization", b"Bearer good"), (b"cookie", b"a=1; lightship_session=s; b=2"),
                 (b"connection", b"keep-alive, x-secret"), (b"x-secret", b"1"), (b"upgrade", b"h2c"),
                 (b"x-forwarded-for", b"spoofed"), (b"accept", b"*/*"))
    assert lines == [b"POST /x HTTP/1.1", b"host: h", b"cookie: a=1; b=2", b"accept: */*", b"content-length: 2",
                     b"x-forwarded-for: 9.9.9.9", b"x-forwarded-proto: http", b"x-forwarded-host: h", b"", b""]
    assert not any(line.startswith(b"cookie") for line in sent((b"cookie", b"lightship_session=s")))
    assert b"transfer-encoding: chunked" in sent(length=None)
    assert not any(b"content-length" in line for line in sent(method=b"GET", length=0))
