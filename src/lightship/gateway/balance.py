"""Who gets the next request: revisions by weight, then the endpoint with the fewest requests in flight. Pure state.

``core`` owns one balancer for the life of the process; it outlives the route tables that are swapped under it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightship.gateway.routes import Backend, Component, Endpoint, Match, Table

LIMIT_TURNS = 1000
"""Of a round of turns; finer shares are rounded."""


class Balancer:
    """Smooth weighted round robin among revisions: exact shares, evenly spread, no randomness."""

    def __init__(self) -> None:
        self.in_flight: dict[Endpoint, int] = {}
        self._wheels: dict[tuple[str, str, str], _Wheel] = {}
        self._turn = 0

    def choose(self, match: Match, tried: Sequence[Endpoint] = ()) -> Backend | None:
        """A revision that has an endpoint that is not among ``tried``, or will be made one; None where there is none.

        Revisions that have no such endpoint are passed over, their share going to the others; a revision of weight 0
        gets traffic never, not even then. A request with a tag goes to the tag's revision and nowhere else; a tag that
        nobody has counts for nothing, as in Knative.
        """
        backends = match.component.backends
        if match.tag:
            tagged = [backend for backend in backends if backend.tag == match.tag]
            if tagged:
                return tagged[0] if _able(tagged[0], tried) else None
        if len(backends) == 1:
            return backends[0] if backends[0].weight > 0 and _able(backends[0], tried) else None
        if tried:
            able = [backend for backend in backends if backend.weight > 0 and _able(backend, tried)]
            return max(able, key=lambda backend: backend.weight) if able else None
        key = (match.route.namespace, match.route.name, match.component.name)
        wheel = self._wheels.get(key)
        if wheel is None or wheel.component is not match.component:
            wheel = self._wheels[key] = _Wheel(match.component, wheel)
        return wheel.turn()

    def endpoint(self, backend: Backend, tried: Sequence[Endpoint] = ()) -> Endpoint | None:
        """The endpoint with the fewest requests in flight; None where each has as many as the revision's limit."""
        endpoints = backend.endpoints
        if tried:
            endpoints = tuple(endpoint for endpoint in endpoints if endpoint not in tried)
        if not endpoints:
            return None
        found = endpoints[0] if len(endpoints) == 1 else self._least(endpoints)
        if backend.limit and self.in_flight.get(found, 0) >= backend.limit:
            return None
        return found

    def begin(self, endpoint: Endpoint) -> None:
        self.in_flight[endpoint] = self.in_flight.get(endpoint, 0) + 1

    def end(self, endpoint: Endpoint) -> None:
        left = self.in_flight[endpoint] - 1
        if left:
            self.in_flight[endpoint] = left
        else:
            del self.in_flight[endpoint]

    def forget(self, table: Table) -> None:
        """Drop what belongs to revisions that are in no route any more."""
        known = {revision[:3] for route in table.routes for revision, _ in route.revisions()}
        self._wheels = {key: wheel for key, wheel in self._wheels.items() if key in known}

    def _least(self, endpoints: Sequence[Endpoint]) -> Endpoint:
        # Ties go round, so that an idle service does not use one Pod only.
        self._turn += 1
        start = self._turn % len(endpoints)
        return min((*endpoints[start:], *endpoints[:start]), key=lambda endpoint: self.in_flight.get(endpoint, 0))


class _Wheel:
    """The turns of a component's revisions: each as often as its weight says, as evenly as that can be."""

    __slots__ = ("_at", "_shares", "_turns", "component")

    def __init__(self, component: Component, before: _Wheel | None) -> None:
        self.component = component
        able = [backend for backend in component.backends if backend.weight > 0 and _able(backend, ())]
        self._shares = tuple((backend.revision, backend.weight) for backend in able)
        self._turns = _turns(able)
        # Endpoints come and go while shares stay; whoever was next then is next now, or a small share might never be.
        self._at: int = before._at if before is not None and before._shares == self._shares else 0

    def turn(self) -> Backend | None:
        turns, at = self._turns, self._at
        if not turns:
            return None
        self._at = at + 1 if at + 1 < len(turns) else 0
        return turns[at]


def _turns(able: Sequence[Backend]) -> tuple[Backend, ...]:
    """One round of smooth weighted round robin."""
    if not able:
        return ()
    weights = [backend.weight for backend in able]
    divisor = max(math.gcd(*weights), sum(weights) / LIMIT_TURNS)
    shares = [max(1, int(weight / divisor)) for weight in weights]
    credits, total, turns = [0] * len(able), sum(shares), []
    for _ in range(total):
        for number, share in enumerate(shares):
            credits[number] += share
        best = credits.index(max(credits))
        credits[best] -= total
        turns.append(able[best])
    return tuple(turns)


def _able(backend: Backend, tried: Sequence[Endpoint]) -> bool:
    if not tried:
        return bool(backend.endpoints) or backend.activate
    return any(endpoint not in tried for endpoint in backend.endpoints)
