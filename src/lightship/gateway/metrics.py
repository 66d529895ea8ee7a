"""What the gateway counts. ``exchange`` counts, ``admin`` shows. Labels are routes' names, never what a client sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lightship.gateway.loads import Load
from lightship.gateway.routes import Endpoint
from lightship.lib import prometheus

_REVISION = ("namespace", "name", "component", "revision")


class Metrics:
    """Counters of one gateway, beside those that each revision's load keeps."""

    def __init__(self) -> None:
        self.refused = prometheus.Counter(
            "lightship_gateway_refused_total", "Requests that reached no revision", ("status",))
        self.swaps = prometheus.Counter("lightship_gateway_route_swaps_total", "Route tables taken into use")
        self.activations = prometheus.Counter(
            "lightship_gateway_activations_total", "Times that a request found its revision at zero and woke it",
            ("namespace", "name", "revision"))
        self.payloads = prometheus.Counter(
            "lightship_gateway_payloads_total", "Copies of requests and answers: logged, dropped or failed",
            ("outcome",))
        self._connections = prometheus.Gauge("lightship_gateway_connections", "Clients connected")

    def render(self, loads: Iterable[Load], in_flight: Mapping[Endpoint, int], connections: int) -> bytes:
        """The page of ``/metrics``."""
        endpoints = prometheus.Gauge("lightship_gateway_endpoint_in_flight", "Requests sent and not answered",
                                     ("endpoint",))
        endpoints.values = {(str(endpoint),): count for endpoint, count in in_flight.items()}
        self._connections.values = {(): connections}
        return prometheus.render((*_of_loads([load for load in loads if load.revision.revision]), self.refused,
                                  self.swaps, self.activations, self.payloads, endpoints, self._connections))


def _of_loads(loads: Iterable[Load]) -> Iterable[prometheus.Metric]:
    requests = prometheus.Counter("lightship_gateway_requests_total", "Requests by revision and status",
                                  (*_REVISION, "status"))
    retries = prometheus.Counter("lightship_gateway_retries_total",
                                 "Requests that went to another endpoint, none of it sent before", _REVISION)
    seconds = prometheus.Histogram("lightship_gateway_request_seconds",
                                   "From a request's head to its answer's last byte", _REVISION)
    in_flight = prometheus.Gauge("lightship_gateway_in_flight", "Requests in flight, those that wait included",
                                 _REVISION)
    queued = prometheus.Gauge("lightship_gateway_queued", "Requests that wait for an endpoint", _REVISION)
    for load in loads:
        labels = tuple(load.revision)
        for status, count in load.statuses.items():
            requests.values[(*labels, str(status))] = count
        if load.retries:
            retries.values[labels] = load.retries
        seconds.put(labels, load.buckets, load.seconds)
        in_flight.values[labels] = load.in_flight
        queued.values[labels] = len(load.waiting)
    return requests, retries, seconds, in_flight, queued
