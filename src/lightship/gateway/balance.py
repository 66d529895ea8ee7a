"""Who gets the next request: revisions by weight, then the endpoint with the fewest requests in flight. Pure state.

``core`` owns one balancer for the life of the process; it outlives the route tables that are swapped under it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lightship.gateway.routes import Backend, Endpoint, Match, Revision, Table


class Balancer:
    """Smooth weighted round robin among revisions: exact shares, evenly spread, no randomness."""

    def __init__(self) -> None:
        self.in_flight: dict[Endpoint, int] = {}
        self._credit: dict[tuple[str, str, str, str], int] = {}
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
        able = [backend for backend in backends if backend.weight > 0 and _able(backend, tried)]
        if len(able) < 2:
            return able[0] if able else None
        return self._weighted(match, able)

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
        known = {revision for route in table.routes for revision, _ in route.revisions()}
        self._credit = {key: credit for key, credit in self._credit.items() if Revision(*key) in known}

    def _weighted(self, match: Match, able: Sequence[Backend]) -> Backend:
        best, most, total = able[0], None, 0
        route, component = match.route, match.component.name
        for backend in able:
            key = (route.namespace, route.name, component, backend.revision)
            credit = self._credit.get(key, 0) + backend.weight
            self._credit[key] = credit
            total += backend.weight
            if most is None or credit > most:
                best, most = backend, credit
        self._credit[route.namespace, route.name, component, best.revision] -= total
        return best

    def _least(self, endpoints: Sequence[Endpoint]) -> Endpoint:
        # Ties go round, so that an idle service does not use one Pod only.
        self._turn += 1
        start = self._turn % len(endpoints)
        return min((*endpoints[start:], *endpoints[:start]), key=lambda endpoint: self.in_flight.get(endpoint, 0))


def _able(backend: Backend, tried: Sequence[Endpoint]) -> bool:
    if not tried:
        return bool(backend.endpoints) or backend.activate
    return any(endpoint not in tried for endpoint in backend.endpoints)
