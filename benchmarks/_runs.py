"""Runs of pipelines over plain HTTP, and what a process has cost so far. ``pipelines`` calls me."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightship.daemon.process import ServerInfo

RUNS = "/apis/v2beta1/runs"
RUN_LIMIT_SECONDS = 600
POLL_SECONDS = 0.1
CALM_SECONDS = 1.0
ENDED = ("SUCCEEDED", "FAILED", "CANCELED")
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class Runs:
    """A client with one kept connection to each API."""

    def __init__(self, info: ServerInfo) -> None:
        self._headers = {"authorization": f"Bearer {Path(info.tokenFile).read_text().strip()}",
                         "content-type": "application/json"}
        rest, kube = urlsplit(info.url), urlsplit(info.kubeUrl)
        context = ssl.create_default_context(cafile=str(Path(info.dataDir) / "pki" / "ca.crt"))
        self._rest = http.client.HTTPConnection(rest.hostname or "", rest.port, timeout=RUN_LIMIT_SECONDS)
        self._kube = http.client.HTTPSConnection(kube.hostname or "", kube.port, context=context,
                                                 timeout=RUN_LIMIT_SECONDS)

    def seconds(self, document: dict[str, Any], parameters: dict[str, Any] | None = None) -> float:
        return self.finish(document, parameters)[1]

    def finish(self, document: dict[str, Any], parameters: dict[str, Any] | None = None) -> tuple[str, float]:
        """Run the pipeline once: the run's id, and seconds from its creation to its end, by its own record.

        The list is polled and not the run, whose tasks would make the question dearer than many a step.
        """
        began = time.monotonic()
        made = self._ask(self._rest, "POST", RUNS, {
            "display_name": document["pipelineInfo"]["name"], "pipeline_spec": document,
            "runtime_config": {"parameters": parameters or {}}})
        while (record := self._newest())["run_id"] == made["run_id"] and record["state"] not in ENDED:
            if time.monotonic() - began > RUN_LIMIT_SECONDS:
                raise SystemExit(f"the run {made['run_id']} did not end within {RUN_LIMIT_SECONDS} s")
            time.sleep(POLL_SECONDS)
        if record["state"] != "SUCCEEDED":
            raise SystemExit(f"the run {made['run_id']} ended {record['state']}: {record.get('error')}")
        created, finished = (datetime.fromisoformat(record[key]) for key in ("created_at", "finished_at"))
        return str(made["run_id"]), (finished - created).total_seconds()

    def timed(self, path: str) -> float:
        """Milliseconds of one ``GET`` below the runs."""
        return self._timed(self._rest, RUNS + path)

    def timed_kube(self, path: str) -> float:
        return self._timed(self._kube, path)

    def _newest(self) -> Any:
        return self._ask(self._rest, "GET", f"{RUNS}?page_size=1&sort_by=created_at%20desc")["runs"][0]

    def _timed(self, connection: http.client.HTTPConnection, path: str) -> float:
        began = time.perf_counter()
        self._ask(connection, "GET", path)
        return (time.perf_counter() - began) * 1000

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Any:
        connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path} answered {answer.status}: {content[:300].decode(errors='replace')}")
        return json.loads(content)


def memory_bytes(pid: int) -> int:
    """The process's proportional share of memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"the kernel does not tell the memory of process {pid}")


def processor_seconds(pid: int) -> float:
    """CPU time of the process itself, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def percentile(values: Sequence[float], hundredth: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * hundredth // 100)]
