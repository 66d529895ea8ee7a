"""A Google Cloud Storage server for tests: ``gcp-storage-emulator`` in an environment of its own, in memory."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from tests.sdks import sdk_python

START_LIMIT_SECONDS = 60


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The endpoint of a server that runs inside the block, with a bucket ``mlpipeline``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    program = "from gcp_storage_emulator.__main__ import main; main()"
    command = [str(sdk_python("gcp-storage-emulator")), "-c", program, "start", "--host", "127.0.0.1", "--port",
               str(port), "--in-memory"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _make_bucket(f"http://127.0.0.1:{port}", "mlpipeline", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _make_bucket(endpoint: str, name: str, server: subprocess.Popen[bytes]) -> None:
    request = urllib.request.Request(f"{endpoint}/storage/v1/b", data=json.dumps({"name": name}).encode(),
                                     headers={"Content-Type": "application/json"})
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=START_LIMIT_SECONDS):
                return
        except urllib.error.URLError:
            assert server.poll() is None, "the emulator did not start"
            assert time.monotonic() < deadline, "the emulator does not answer"
            time.sleep(0.05)
