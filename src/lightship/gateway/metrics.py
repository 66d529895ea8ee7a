"""What the gateway counts. ``proxy`` counts, ``admin`` shows. Labels are routes' names, never what a client sent."""

from __future__ import annotations

from collections.abc import Mapping

from lightship.gateway.routes import Endpoint
from lightship.lib import prometheus


class Metrics:
    """Counters of one gateway."""

    def __init__(self) -> None:
        route = ("namespace", "name", "revision")
        self.requests = prometheus.Counter(
            "lightship_gateway_requests_total", "Requests by route, revision and status", (*route, "status"))
        self.seconds = prometheus.Histogram(
            "lightship_gateway_request_seconds", "From a request's head to its answer's last byte", route)
        self.retries = prometheus.Counter(
            "lightship_gateway_retries_total", "Requests that went to another endpoint, none of it sent before", route)
        self.refused = prometheus.Counter(
            "lightship_gateway_refused_total", "Requests that reached no route", ("status",))
        self.swaps = prometheus.Counter("lightship_gateway_route_swaps_total", "Route tables taken into use")
        self._in_flight = prometheus.Gauge("lightship_gateway_in_flight", "Requests in flight", ("endpoint",))
        self._connections = prometheus.Gauge("lightship_gateway_connections", "Clients connected")

    def render(self, in_flight: Mapping[Endpoint, int], connections: int) -> bytes:
        """The page of ``/metrics``."""
        self._in_flight.values = {(str(endpoint),): count for endpoint, count in in_flight.items()}
        self._connections.values = {(): connections}
        return prometheus.render((self.requests, self.seconds, self.retries, self.refused, self.swaps,
                                  self._in_flight, self._connections))
