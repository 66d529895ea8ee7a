"""Who gets the next request: revisions by weight, then the endpoint with the fewest requests in flight. Pure state.

``proxy`` owns one balancer for the life of the process: its counters outlive the route tables that are swapped under
it, and are the only in-flight counters there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightship.gateway.routes import Backend, Endpoint, Route, Table


class Balancer:
    """Smooth weighted round robin among revisions: exact shares, evenly spread, no randomness."""

    def __init__(self) -> None:
        self.in_flight: dict[Endpoint, int] = {}
        self._credit: dict[tuple[str, str], int] = {}
        self._turn = 0

    def pick(self, route: Route, tried: Iterable[Endpoint] = ()) -> tuple[Backend, Endpoint] | None:
        """A revision and an endpoint of it that is not among ``tried``; None where there is none left.

        Revisions that have no such endpoint are passed over, their share going to the others; a revision of weight 0
        gets traffic never, not even then.
        """
        tried = frozenset(tried)
        able = [backend for backend in route.backends if backend.weight > 0
                and any(endpoint not in tried for endpoint in backend.endpoints)]
        if not able:
            return None
        backend = able[0] if len(able) == 1 else self._weighted(route, able)
        return backend, self._least([endpoint for endpoint in backend.endpoints if endpoint not in tried])

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
        known = {(route.key, backend.revision) for route in table.routes for backend in route.backends}
        self._credit = {key: credit for key, credit in self._credit.items() if key in known}

    def _weighted(self, route: Route, able: Sequence[Backend]) -> Backend:
        best, most, total = able[0], None, 0
        for backend in able:
            key = (route.key, backend.revision)
            credit = self._credit.get(key, 0) + backend.weight
            self._credit[key] = credit
            total += backend.weight
            if most is None or credit > most:
                best, most = backend, credit
        self._credit[route.key, best.revision] -= total
        return best

    def _least(self, endpoints: Sequence[Endpoint]) -> Endpoint:
        if len(endpoints) == 1:
            return endpoints[0]
        # Ties go round, so that an idle service does not use one Pod only.
        self._turn += 1
        start = self._turn % len(endpoints)
        return min((*endpoints[start:], *endpoints[:start]), key=lambda endpoint: self.in_flight.get(endpoint, 0))
