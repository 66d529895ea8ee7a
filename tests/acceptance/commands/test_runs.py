"""``lightship run`` and ``lightship runs`` as a user types them, against a running platform."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.commands.conftest import FILE, LIMIT_SECONDS
from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

Run = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.sdk


@pytest.fixture
def lightship(platform: Platform, tmp_path: Path) -> Run:
    """Runs one command. Nothing but a kubeconfig says where the platform is."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("LIGHTSHIP_") and name != "VIRTUAL_ENV"}
    environment |= {"KUBECONFIG": str(platform.kubeconfig), "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}

    def run(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "lightship", *words], capture_output=True, text=True,
                              timeout=LIMIT_SECONDS, env=environment, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    return run


def test_a_compiled_pipeline_is_run_and_followed(lightship: Run, compiled: dict[str, Path]) -> None:
    done = lightship("run", str(compiled["checks"]), "-p", "n=1", "--name", "followed", "--follow", "--no-cache")

    assert "succeeded" in done.stdout
    assert "for-loop-2[1]/check-2" in done.stdout
    shown = lightship("runs", "get", "followed").stdout
    assert "followed: succeeded, 3 steps" in shown
    assert "looking at 2" in lightship("runs", "logs", "followed", "for-loop-2[1]/check-2").stdout
    assert "[check] looking at 1" in lightship("runs", "logs", "followed").stdout


def test_python_is_compiled_by_the_users_own(lightship: Run) -> None:
    python = str(sdk_python("kfp==2.17.0"))

    made = lightship("run", f"{FILE}:single", "--python", python, "-o", "json", "--follow")

    run = json.loads(made.stdout)
    assert run["state"] == "SUCCEEDED"
    assert "a file may print" in made.stderr
    several = lightship("run", str(FILE), "--python", python, expect=2)
    assert "name one of them: checks, lines, single" in several.stderr


def test_a_failed_step_shows_its_log_and_is_retried(lightship: Run, compiled: dict[str, Path]) -> None:
    done = lightship("run", str(compiled["single"]), "-p", "n=7", "--name", "too big", "--follow", expect=1)

    assert "ValueError: 7 is too big" in done.stdout
    assert "lightship debug" in done.stdout
    failed = json.loads(lightship("runs", "list", "--state", "failed", "-o", "json").stdout)
    assert {run["state"] for run in failed} == {"FAILED"}
    [mine] = [run["run_id"] for run in failed if run["display_name"] == "too big"]
    again = lightship("runs", "retry", mine[:8], "--follow", expect=1)
    assert "7 is too big" in again.stdout


def test_runs_are_listed_stopped_archived_and_deleted(lightship: Run, compiled: dict[str, Path]) -> None:
    run_id = lightship("run", str(compiled["single"]), "-o", "name", "--experiment", "mine").stdout.strip()

    listed = json.loads(lightship("runs", "list", "--experiment", "mine", "-o", "json").stdout)
    assert [run["run_id"] for run in listed] == [run_id]
    lightship("runs", "get", run_id, "--follow")
    lightship("runs", "archive", run_id)
    assert run_id not in lightship("runs", "list", "-o", "name").stdout
    assert run_id in lightship("runs", "list", "--archived", "-o", "name").stdout
    lightship("runs", "delete", run_id)
    gone = lightship("runs", "get", run_id, expect=1)
    assert run_id in gone.stderr


@pytest.mark.parametrize(("words", "said"), [
    (("-p", "n=x"), "the parameter n must be a whole number, not 'x'"),
    (("-p", "m=1", "-p", "n=1"), 'the pipeline has no parameter "m"; it has n, tags'),
    ((), "the pipeline needs n (a whole number)"),
    (("-p", "n=1", "-p", "tags={}"), "the parameter tags must be a JSON list"),
    (("-p", "n"), "'n' gives no parameter"),
])
def test_wrong_parameters_are_named_before_anything_starts(
        lightship: Run, compiled: dict[str, Path], words: tuple[str, ...], said: str) -> None:
    before = lightship("runs", "list", "-o", "name").stdout

    assert said in lightship("run", str(compiled["checks"]), *words, expect=2).stderr
    assert lightship("runs", "list", "-o", "name").stdout == before


def test_a_terminal_sees_a_live_tree(lightship: Run, platform: Platform, compiled: dict[str, Path]) -> None:
    main, side = pty.openpty()
    command = [sys.executable, "-m", "lightship", "run", str(compiled["checks"]), "-p", "n=1", "--follow", "--no-cache",
               "--data-dir", str(platform.data_dir)]
    started = subprocess.Popen(command, stdin=side, stdout=side, stderr=side,
                               env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"})
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # Linux answers so when the other side is closed.
        pass
    os.close(main)

    assert started.wait(LIMIT_SECONDS) == 0, seen.decode(errors="replace")
    text = seen.decode(errors="replace")
    assert "✓" in text and "for-loop-2[0]" in text
    assert "\x1b[" in text
