"""An S3 server for tests: moto's, from an environment of its own, with no other state than this process's memory.

``tests/unit/launcher`` and the tests of artifact stores call me. It takes any keys; that signatures are right is tested
against botocore, which lies in the same environment (``botocore_python``).
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.sdks import sdk_python

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret"}
START_LIMIT_SECONDS = 60


def botocore_python() -> Path:
    """The interpreter of an environment that holds moto and botocore."""
    return sdk_python("moto")


@contextlib.contextmanager
def running(address: str = "127.0.0.1") -> Iterator[str]:
    """The endpoint of a server that runs inside the block, with a bucket ``mlpipeline``."""
    with subprocess.Popen([str(botocore_python()), "-m", "moto.server", "-H", address, "-p", "0"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        try:
            endpoint = _endpoint(server)
            # A line for every request: unread, they would fill the pipe and hold the server up.
            threading.Thread(target=server.stdout.read, daemon=True).start()
            make_bucket(endpoint, "mlpipeline")
            yield endpoint
        finally:
            server.kill()


def make_bucket(endpoint: str, name: str) -> None:
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT", data=b"", headers={
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3"})
    with urllib.request.urlopen(request, timeout=START_LIMIT_SECONDS):
        return


def _endpoint(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    said = []
    for line in server.stdout:
        said.append(line)
        found = re.search(r"Running on (http://\S+)", line)
        if found:
            return found[1]
    raise AssertionError("moto did not start: " + "".join(said))
