"""``lightship debug``: a step again apart from its run, run by itself or open to a shell."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.commands.conftest import LIMIT_SECONDS
from tests.acceptance.conftest import Platform

pytestmark = pytest.mark.sdk


def _lightship(platform: Platform, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lightship", *words, "--data-dir", str(platform.data_dir)],
                          capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)


@pytest.fixture
def failed(platform: Platform, compiled: dict[str, Path]) -> str:
    """A run whose one step failed."""
    made = _lightship(platform, "run", str(compiled["single"]), "-p", "n=5", "--follow", "-o", "name")
    assert made.returncode == 1, made.stderr
    return made.stdout.strip()


def _tasks(platform: Platform, run_id: str) -> object:
    return platform.rest("GET", f"/apis/v2beta1/runs/{run_id}")["tasks"]


def _debug_pods(platform: Platform) -> list[str]:
    found = platform.kube("GET", "/api/v1/namespaces/default/pods?labelSelector=lightship.dev/debug-of")
    return [pod["metadata"]["name"] for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]


def test_a_step_runs_again_and_nothing_of_it_is_recorded(platform: Platform, failed: str) -> None:
    before = _tasks(platform, failed)

    done = _lightship(platform, "debug", failed, "check", "--run")

    assert done.returncode == 1, done.stderr
    assert "looking at 5" in done.stdout and "ValueError: 5 is too big" in done.stdout
    assert _tasks(platform, failed) == before
    assert _debug_pods(platform) == []


def test_a_step_that_is_not_there_is_named(platform: Platform, failed: str) -> None:
    done = _lightship(platform, "debug", failed, "chekc", "--run")

    assert done.returncode == 1
    assert 'no step "chekc"' in done.stderr and "it has check" in done.stderr


def test_a_shell_opens_where_the_step_would_run(platform: Platform, failed: str) -> None:
    terminal = _Terminal([sys.executable, "-m", "lightship", "debug", failed, "check", "--data-dir",
                          str(platform.data_dir)])

    terminal.until("/tmp/step")
    terminal.type("sed -i 's/n > 2/n > 9/' component.py && ./run && echo ended $?\n")
    assert "looking at 5" in terminal.until("ended 0")
    terminal.type("exit 7\n")

    assert terminal.end() == 7
    assert _debug_pods(platform) == []


class _Terminal:
    """A program with a terminal of its own."""

    def __init__(self, command: list[str]) -> None:
        self._main, side = pty.openpty()
        self._program = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, start_new_session=True,
                                         env=os.environ | {"TERM": "dumb"})
        os.close(side)
        self._seen = ""

    def type(self, text: str) -> None:
        self._seen = ""
        os.write(self._main, text.encode())

    def until(self, text: str) -> str:
        """What was shown since the last typing, once ``text`` is part of it."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while text not in self._seen:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._main], [], [], left)[0], self._seen
            self._seen += os.read(self._main, 65536).decode(errors="replace")
        return self._seen

    def end(self) -> int:
        try:
            while os.read(self._main, 65536):
                pass
        except OSError:  # Linux answers so when the other side is closed.
            pass
        os.close(self._main)
        return self._program.wait(LIMIT_SECONDS)
