"""What a model server is started with: the command line that serving runtimes write, and the limits.

``__main__`` parses me once. The flags are upstream's (``--model_name``, ``--model_dir``, ``--http_port``), so that
upstream's ServingRuntimes start this server unchanged; flags that I do not know are handed to the format.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightship.modelserver import cloudevents


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Everything that is bounded, each with its unit in its name."""

    body_bytes: int = 64 * 1024 * 1024
    head_bytes: int = 64 * 1024
    queue_requests: int = 1000
    batch_rows: int = 1024
    batch_latency_seconds: float = float("inf")
    """How much longer than alone a predict may take for the sake of its batch; nothing ever waits for it."""
    pipelined_requests: int = 16
    read_seconds: float = 30.0
    """From a request's first byte to its last; slower clients get 408. A stream that is not read on so long ends."""
    idle_seconds: float = 120.0
    """How long a kept-alive connection may say nothing."""
    drain_seconds: float = 25.0
    """From SIGTERM to the end, whatever is in flight; under Kubernetes' 30 s of grace."""
    drain_idle_seconds: float = 1.0
    """How long a draining server lets silent connections send one more request before it closes them."""
    inline_bytes: int = 64 * 1024
    """Larger bodies are decoded and encoded in a thread, so that this does not hold up health checks."""
    models: int = 1000
    """How many models may be loaded at once."""
    choices: int = 16
    """The most choices, prompts or texts times choices, that one OpenAI request may ask for."""
    texts: int = 2048
    """The most texts or documents of one embedding or rerank request."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """One model server. ``host`` empty means: the Pod's address where it is a loopback one, else every address."""

    model_name: str
    model_dir: Path
    http_port: int = 8080
    grpc_port: int | None = None
    """A port for gRPC alone; it is spoken on the HTTP port in any case."""
    host: str = ""
    format: str = "sklearn"
    predict_proba: bool = False
    multi_model: bool = False
    """Whether ``model_dir`` holds a folder for each model, loaded at the start and as the repository API says."""
    access_log: bool = False
    events: cloudevents.Options = field(default_factory=cloudevents.Options)
    flags: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Read the command line; exits with a usage message as argparse does."""
    known, rest = _parser().parse_known_args(argv)
    return Options(
        model_name=known.model_name,
        model_dir=known.model_dir,
        http_port=known.http_port,
        grpc_port=known.grpc_port if _truth(known.enable_grpc) else None,
        host=known.host or _pod_host(environ.get("POD_IP", "")),
        format=known.format,
        predict_proba=environ.get("PREDICT_PROBA", "").lower() == "true",
        multi_model=_truth(known.multi_model),
        access_log=_truth(known.access_log),
        events=cloudevents.Options(
            merge=_truth(environ.get("CE_MERGE", "")), source=environ.get("CE_SOURCE", ""),
            type=environ.get("CE_TYPE") or cloudevents.Options.type),
        flags=further(rest),
        limits=Limits(body_bytes=known.max_body_bytes, queue_requests=known.max_queue,
                      batch_rows=known.max_batch_rows, batch_latency_seconds=known.max_batch_latency_ms / 1000,
                      drain_seconds=known.drain_seconds),
    )


def _parser() -> argparse.ArgumentParser:
    defaults = Limits()
    parser = argparse.ArgumentParser(prog="lightship.modelserver", allow_abbrev=False,
                                     description="Serve models over V1, V2 (REST and gRPC) and OpenAI's API.")
    add = parser.add_argument
    add("--model_name", default="model", help="the name in the URL")
    add("--model_dir", default="/mnt/models", type=Path, help="where the model's files lie")
    add("--http_port", default=8080, type=int, help="port for HTTP and gRPC; 0 takes any free one")
    add("--grpc_port", default=8081, type=int, help="port for gRPC alone; 0 takes any free one")
    add("--enable_grpc", default="true", help="whether to listen on the gRPC port")
    add("--host", default="", help="address to bind; default: $POD_IP if it is a loopback, else all")
    add("--format", default="sklearn", help="the model's format")
    add("--multi_model", default="false", nargs="?", const="true", help="model_dir holds a folder for each model")
    add("--access_log", "--enable_latency_logging", default="false", nargs="?", const="true",
        help="a log line for each request")
    add("--max_body_bytes", default=defaults.body_bytes, type=int, help="largest request body")
    add("--max_queue", default=defaults.queue_requests, type=int, help="most requests that may wait")
    add("--max_batch_rows", default=defaults.batch_rows, type=int, help="most rows of one predict")
    add("--max_batch_latency_ms", default=defaults.batch_latency_seconds, type=float,
        help="how much longer than alone a predict may take for its batch")
    add("--drain_seconds", default=defaults.drain_seconds, type=float, help="longest wait for requests at the end")
    return parser


def further(rest: Sequence[str]) -> dict[str, str]:
    """Flags for the format: ``--name=value``, ``--name value`` or ``--name``, which means true."""
    flags: dict[str, str] = {}
    name = ""
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            flags[name.replace("-", "_")] = value if equals else "true"
            name = "" if equals else name.replace("-", "_")
        elif name:
            flags[name], name = word, ""
    return flags


def _truth(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on", "y", "t")


def _pod_host(pod_ip: str) -> str:
    # On the embedded node without network namespaces each Pod has a loopback address of its own, and two Pods that
    # bind every address would clash. On a cluster binding the Pod's address alone would break kubectl port-forward.
    return pod_ip if pod_ip.startswith("127.") else ""
