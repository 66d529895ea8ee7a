"""Tables, balancing and heads, without any connection."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from lightship.gateway import feed, heads, route_objects
from lightship.gateway.balance import Balancer
from lightship.gateway.errors import BadRoute
from lightship.gateway.heads import RequestHead
from lightship.gateway.loads import LIMIT_GONE_REVISIONS, Loads
from lightship.gateway.routes import Backend, Component, Endpoint, Match, Route, Rule, Table
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
    found = route_objects.parse(json.dumps(WRITTEN))
    assert found.hosts == ("iris-default.example.com",)
    assert found.entry.backends == (Backend(revision="r", weight=100, endpoints=(A,)),)


@pytest.mark.parametrize("change", [
    {"prefix": "/"}, {"prefix": "serving/a/b"}, {"timeoutSeconds": 0}, {"timeoutSeconds": "x"}, {"backends": 3},
    {"backends": [{"endpoints": ["nowhere"]}]}, {"backends": [{"endpoints": ["a:99999"]}]},
    {"backends": [{"weight": -1}]},
])
def test_a_route_that_cannot_be_read(change: dict[str, Any]) -> None:
    with pytest.raises(BadRoute):
        route_objects.parse(json.dumps(WRITTEN | change))


@pytest.mark.parametrize("change", [
    {"namespace": "other"}, {"prefix": "/serving/other/iris"}, {"hosts": ["pay-other.example.com"]}])
def test_a_config_map_cannot_take_anothers_address(change: dict[str, Any]) -> None:
    made = {"metadata": {"namespace": "default", "name": "x"}}
    assert feed.read(made | {"data": {"route.json": json.dumps(WRITTEN | {"hosts": ["iris-default.x"]})}})
    with pytest.raises(BadRoute):
        feed.read(made | {"data": {"route.json": json.dumps(WRITTEN | {"hosts": []} | change)}})
    with pytest.raises(BadRoute):
        feed.read(made)


def choose(balancer: Balancer, wanted: Route, times: int, tag: str = "", tried: Sequence[Endpoint] = ()) -> list[str]:
    chosen = [balancer.choose(Match(wanted, wanted.entry, "/", tag), tried) for _ in range(times)]
    return [backend.revision for backend in chosen if backend is not None]


def test_weights_are_exact_and_spread() -> None:
    shared = route(backends=[Backend(revision="old", weight=90, endpoints=(A,)),
                             Backend(revision="new", weight=10, endpoints=(B,)),
                             Backend(revision="off", weight=0, endpoints=(C,))])
    chosen = choose(Balancer(), shared, 100)
    assert Counter(chosen) == {"old": 90, "new": 10}
    assert all("new" in chosen[at:at + 10] for at in range(0, 100, 10))


def test_a_revision_without_endpoints_gives_its_share_away() -> None:
    shared = route(backends=[Backend(revision="old", weight=90, endpoints=(A,)),
                             Backend(revision="new", weight=10, endpoints=())])
    balancer = Balancer()
    assert set(choose(balancer, shared, 20)) == {"old"}
    assert choose(balancer, shared, 1, tried=[A]) == []


def test_a_tag_reaches_its_revision_whatever_the_weights() -> None:
    shared = route(backends=[Backend(revision="old", weight=100, endpoints=(A,)),
                             Backend(revision="new", weight=0, endpoints=(B,), tag="next"),
                             Backend(revision="none", weight=0, endpoints=(), tag="gone")])
    balancer = Balancer()
    assert set(choose(balancer, shared, 9, "next")) == {"new"}
    assert set(choose(balancer, shared, 9, "unknown")) == {"old"}
    assert choose(balancer, shared, 9, "gone") == []
    found = Table((shared,)).match("next-iris-default.example.com", "/x")
    assert found is not None
    assert (found.tag, found.path) == ("next", "/x")


def test_a_revision_that_will_be_started_keeps_its_share() -> None:
    shared = route(backends=[Backend(revision="old", weight=50, endpoints=(A,)),
                             Backend(revision="new", weight=50, endpoints=(), activate=True)])
    assert Counter(choose(Balancer(), shared, 20)) == {"old": 10, "new": 10}


def test_an_endpoint_has_no_more_than_its_limit() -> None:
    balancer, limited = Balancer(), Backend(revision="r", weight=100, endpoints=(A, B), limit=1)
    for _ in range(2):
        endpoint = balancer.endpoint(limited)
        assert endpoint is not None
        balancer.begin(endpoint)
    assert balancer.endpoint(limited) is None
    balancer.end(B)
    assert balancer.endpoint(limited) == B
    assert balancer.endpoint(limited, [B]) is None


def test_rules_have_ends_of_paths_and_hosts() -> None:
    explainer, predictor = Component(name="explainer"), Component(name="predictor")
    served = route(A, rules=(Rule(component=explainer, suffix=":explain"),
                             Rule(component=predictor, hosts=("iris-predictor-default.example.com",))))
    table = Table((served,))

    def component(host: str, path: str) -> Component | None:
        found = table.match(host, path)
        return found and found.component

    assert component("x", "/serving/default/iris/v1/models/iris:explain?a=1") is explainer
    assert component("iris-default.example.com", "/v1/models/iris:explain") is explainer
    assert component("iris-default.example.com", "/v1/models/iris:predict") is served.entry
    assert component("iris-predictor-default.example.com", "/v1/models/iris:explain") is predictor


def test_a_host_name_that_two_claim_is_the_older_ones() -> None:
    # "iris" in "team-a" and "iris-team" in "a" have one host name by upstream's template.
    host = ("iris-team-a.example.com",)
    old = replace(route(A), namespace="team-a", hosts=host, since="2026-01-01T00:00:00Z")
    new = replace(route(B), namespace="a", name="iris-team", hosts=host, since="2026-02-01T00:00:00Z")
    for routes_ in ((old, new), (new, old)):
        found = Table(routes_).match(host[0], "/")
        assert found is not None
        assert found.route is old


def test_loads_count_what_the_autoscaler_asks_for() -> None:
    loads = Loads()
    load = loads.of(("default", "iris", "predictor", "r"), 10.0)
    load.enter(10.0)
    load.enter(11.0)
    assert load.integral_at(12.0) == 3.0
    load.leave(12.0)
    load.leave(14.0)
    assert (load.integral_at(99.0), load.requests, load.in_flight) == (5.0, 2, 0)
    for number in range(LIMIT_GONE_REVISIONS + 5):
        loads.of(("default", "iris", "predictor", f"r{number}"), 0.0)
    loads.forget({load.revision})
    assert len(list(loads)) == LIMIT_GONE_REVISIONS + 1
    assert loads.of(("default", "iris", "predictor", "r"), 0.0) is load


def test_the_least_busy_endpoint_gets_the_next_request() -> None:
    balancer = Balancer()
    served = route(A, B, C)
    for busy in (A, A, B):
        balancer.begin(busy)
    backend = served.entry.backends[0]
    assert {balancer.endpoint(backend) for _ in range(5)} == {C}
    balancer.begin(C)
    balancer.end(A)
    assert {balancer.endpoint(backend) for _ in range(30)} == {A, B, C}


def sent(*headers: tuple[bytes, bytes], method: bytes = b"POST", length: int | None = 2) -> list[bytes]:
    head = RequestHead(method, "/serving/default/iris/x", list(headers), length, True, True)
    return (heads.to_upstream(head, "/x") + heads.forwarded_for("9.9.9.9")).split(b"\r\n")


def test_what_the_model_server_does_not_get_to_see() -> None:
    lines = sent((b"host", b"h"), (b"authorization", b"Bearer good"), (b"cookie", b"a=1; lightship_session=s; b=2"),
                 (b"connection", b"keep-alive, x-secret"), (b"x-secret", b"1"), (b"upgrade", b"h2c"),
                 (b"x-forwarded-for", b"spoofed"), (b"accept", b"*/*"))
    assert lines == [b"POST /x HTTP/1.1", b"host: h", b"cookie: a=1; b=2", b"accept: */*", b"content-length: 2",
                     b"x-forwarded-proto: http", b"x-forwarded-host: h", b"x-forwarded-for: 9.9.9.9", b"", b""]
    assert not any(line.startswith(b"cookie") for line in sent((b"cookie", b"lightship_session=s")))
    assert b"transfer-encoding: chunked" in sent(length=None)
    assert not any(b"content-length" in line for line in sent(method=b"GET", length=0))
