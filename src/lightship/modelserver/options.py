"""What a model server is started with: the command line that serving runtimes write, and the limits.

``__main__`` parses me once. The flags are upstream's (``--model_name``, ``--model_dir``, ``--http_port``), so that
upstream's ServingRuntimes start this server unchanged; flags of upstream's that mean nothing here are accepted.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Everything that is bounded, each with its unit in its name."""

    body_bytes: int = 64 * 1024 * 1024
    head_bytes: int = 64 * 1024
    queue_requests: int = 1000
    batch_rows: int = 1024
    pipelined_requests: int = 16
    read_seconds: float = 30.0
    """From a request's first byte to its last; slower clients get 408."""
    idle_seconds: float = 120.0
    """How long a kept-alive connection may say nothing."""
    drain_seconds: float = 25.0
    """From SIGTERM to the end, whatever is in flight; under Kubernetes' 30 s of grace."""
    drain_idle_seconds: float = 1.0
    """How long a draining server lets silent connections send one more request before it closes them."""
    decode_inline_bytes: int = 64 * 1024
    """Larger bodies are decoded in a thread, so that parsing them does not hold up health checks."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """One model server. ``host`` empty means: the Pod's address where it is a loopback one, else every address."""

    model_name: str
    model_dir: Path
    http_port: int = 8080
    host: str = ""
    format: str = "sklearn"
    predict_proba: bool = False
    limits: Limits = field(default_factory=Limits)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Read the command line; exits with a usage message as argparse does."""
    defaults = Limits()
    parser = argparse.ArgumentParser(prog="lightship.modelserver", description="Serve one model over V1 and V2.")
    parser.add_argument("--model_name", required=True, help="the name in the URL")
    parser.add_argument("--model_dir", default="/mnt/models", type=Path, help="where the model's files lie")
    parser.add_argument("--http_port", default=8080, type=int, help="port for HTTP; 0 takes any free one")
    parser.add_argument("--host", default="", help="address to bind; default: $POD_IP if it is a loopback, else all")
    parser.add_argument("--format", default="sklearn", help="the model's format")
    parser.add_argument("--max_body_bytes", default=defaults.body_bytes, type=int, help="largest request body")
    parser.add_argument("--max_queue", default=defaults.queue_requests, type=int, help="most requests that may wait")
    parser.add_argument("--max_batch_rows", default=defaults.batch_rows, type=int, help="most rows of one predict")
    known, _ = parser.parse_known_args(argv)
    return Options(
        model_name=known.model_name,
        model_dir=known.model_dir,
        http_port=known.http_port,
        host=known.host or _pod_host(environ.get("POD_IP", "")),
        format=known.format,
        predict_proba=environ.get("PREDICT_PROBA", "").lower() == "true",
        limits=Limits(body_bytes=known.max_body_bytes, queue_requests=known.max_queue,
                      batch_rows=known.max_batch_rows),
    )


def _pod_host(pod_ip: str) -> str:
    # On the embedded node without network namespaces each Pod has a loopback address of its own, and two Pods that
    # bind every address would clash. On a cluster binding the Pod's address alone would break kubectl port-forward.
    return pod_ip if pod_ip.startswith("127.") else ""
