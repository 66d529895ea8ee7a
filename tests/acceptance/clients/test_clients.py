"""The Python clients that people have, each in an environment of its own, against a real platform.

Every script plays the same scene in its client's words: objects are made, found, watched, changed and deleted; a Pod
runs, is read and is entered; a kind of one's own is defined and used. It prints what it saw as one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

SCRIPTS = Path(__file__).parent
LIMIT_SECONDS = 120
CLIENTS = {
    "kubernetes==30.1.0": "kubernetes_script.py",
    "kubernetes==37.0.2": "kubernetes_script.py",
    "kubernetes_asyncio==36.1.0": "kubernetes_asyncio_script.py",
    "lightkube==1.0.1": "lightkube_script.py",
    "kr8s==0.20.15": "kr8s_script.py",
}
SEEN = {
    "created": "1", "patched": "2", "replaced": "3", "listed": ["first", "second"], "selected": ["second"],
    "watched": ["ADDED w1", "MODIFIED w1", "DELETED w1"], "conflict": 409, "missing": 404, "invalid": 422,
    "log": "hello from the pod\n", "exec": "in the pod", "custom": {"size": 3, "colour": "red"}, "custom_invalid": 422,
    "custom_listed": ["w"], "scaled": 2, "deleted": 404,
}
"""What every client must have seen; a client leaves out what it cannot ask."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    place = Platform(tmp_path_factory.mktemp("clients") / "data")
    place.start()
    yield place
    place.stop()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_sees_kubernetes(up: Platform, client: str) -> None:
    namespace = client.replace("==", "-").replace(".", "-").replace("_", "-")
    done = subprocess.run(
        [sdk_python(client), SCRIPTS / CLIENTS[client], namespace], capture_output=True, text=True, check=False,
        timeout=LIMIT_SECONDS, env=os.environ | {"KUBECONFIG": str(up.kubeconfig)})
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert seen == {name: SEEN[name] for name in seen}
    left_out = set(SEEN) - set(seen)
    assert left_out <= LEFT_OUT.get(client, set()), f"{client} did not say {left_out}"


LEFT_OUT = {"lightkube==1.0.1": {"exec"}}
"""lightkube has no exec."""
