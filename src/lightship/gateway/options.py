"""What a gateway is started with, and its limits. ``__main__`` parses me once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Everything that is bounded, each with its unit in its name."""

    head_bytes: int = 64 * 1024
    body_bytes: int = 256 * 1024 * 1024
    buffer_bytes: int = 256 * 1024
    """Of one direction of one request, beyond which its sender is not read from."""
    whole_response_bytes: int = 64 * 1024
    """Answers that say they are no longer than this are forwarded whole, so that one that breaks off is a 502."""
    connections: int = 10_000
    pipelined_requests: int = 64
    idle_upstreams: int = 64
    """Idle kept-alive connections to one endpoint."""
    idle_upstream_seconds: float = 60.0
    """Less than the model server's own limit, so that it is not the one who hangs up."""
    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    """From a request's first byte to the end of its head, and between two pieces of its body."""
    idle_seconds: float = 75.0
    """How long a kept-alive client may say nothing."""
    write_seconds: float = 60.0
    """How long a client may leave an answer unread."""
    hold_seconds: float = 1.0
    """How long a request waits for the first endpoint of its route, which covers the moment between a Pod's being
    ready and the route's saying so."""
    activation_seconds: float = 120.0
    """How long a request waits for a service at zero, where its own timeout is not longer."""
    queued_requests: int = 1000
    """That wait for one revision."""
    waiting_requests: int = 8000
    waiting_bytes: int = 128 * 1024 * 1024
    """Of bodies that wait with their requests."""
    tunnel_idle_seconds: float = 3600.0
    """How long a WebSocket may carry nothing."""
    payload_bytes: int = 1024 * 1024
    """A copy of a longer body is dropped."""
    payload_queue: int = 10_000
    """Copies that wait for one sink."""
    payload_queue_bytes: int = 32 * 1024 * 1024
    """Of all copies that wait."""
    payload_batch: int = 256
    payload_carriers: int = 4
    """That speak to one sink at a time."""
    payload_gather_seconds: float = 10.0
    """How long copies are gathered for a Parquet file."""
    payload_line_seconds: float = 0.25
    """How long they are gathered for lines of JSON."""
    payload_drain_seconds: float = 3.0
    payload_seconds: float = 10.0
    """For a sink to take one copy."""
    payload_file_bytes: int = 32 * 1024 * 1024
    payload_files: int = 8
    """Of one InferenceService; older ones are deleted."""
    grpc_ports: range = range(0)
    """Ports that services may have for their own."""
    load_wait_seconds: float = 30.0
    """How long a reader of the loads may wait for the next poke."""
    drain_seconds: float = 25.0
    drain_idle_seconds: float = 1.0
    review_seconds: float = 60.0
    """How long an answer of the API server about a token is believed; a revoked token works this long at most."""
    refusal_seconds: float = 5.0
    reviews_cached: int = 4096


@dataclass(frozen=True, kw_only=True)
class Options:
    """One gateway process."""

    kubeconfig: Path
    host: str = "127.0.0.1"
    port: int = 8782
    context: str = ""
    with_parent: bool = False
    pod_sockets: Path | None = None
    payload_dir: Path | None = None
    limits: Limits = field(default_factory=Limits)


def parse(argv: Sequence[str]) -> Options:
    """Read the command line; exits with a usage message as argparse does."""
    parser = argparse.ArgumentParser(prog="lightship.gateway", description="Front proxy of all InferenceServices.")
    parser.add_argument("--kubeconfig", required=True, type=Path, help="how to reach the Kubernetes API")
    parser.add_argument("--context", default="", help="the kubeconfig's context; default: its current one")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind")
    parser.add_argument("--port", default=8782, type=int, help="port for HTTP; 0 takes any free one")
    parser.add_argument("--with-parent", action="store_true",
                        help="end when standard input ends, or the process that started this one")
    parser.add_argument("--pod-sockets", type=Path,
                        help="a packet socket whose owner hands out sockets of the Pods' own network")
    parser.add_argument("--payload-dir", type=Path,
                        help="where copies of requests and answers go that are logged to files")
    parser.add_argument("--grpc-ports", type=_ports, default=range(0), metavar="FIRST-LAST",
                        help="ports that services may have for their own, for gRPC clients that can name no host")
    known = parser.parse_args(argv)
    return Options(kubeconfig=known.kubeconfig, context=known.context, host=known.host, port=known.port,
                   with_parent=known.with_parent, pod_sockets=known.pod_sockets, payload_dir=known.payload_dir,
                   limits=Limits(grpc_ports=known.grpc_ports))


def _ports(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)
