"""Every example runs as its own docstring says, on a real platform, with the SDK that it needs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

EXAMPLES = sorted((Path(__file__).resolve().parent.parent.parent / "examples").glob("*.py"))
TIMEOUT_SECONDS = 600

pytestmark = [pytest.mark.sdk, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = Platform(tmp_path_factory.mktemp("examples") / "data").start()
    yield made
    made.stop()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example(example: Path, platform: Platform) -> None:
    needs = re.search(r"^Needs: (.+)$", example.read_text(), re.M)
    assert needs, "an example says what it needs, in a line of its docstring: Needs: kfp==2.17.0"
    status = platform.run("status", "-o", "json")
    assert status.returncode == 0, status.stderr
    done = subprocess.run([sdk_python(*needs[1].split()), example], input=status.stdout, capture_output=True, text=True,
                          timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}\n{platform.server_log()}"
