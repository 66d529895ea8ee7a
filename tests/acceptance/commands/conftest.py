"""The command as a user types it, and pipelines for it to run, compiled by the SDK's own Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

FILE = Path(__file__).with_name("pipelines_to_run.py")
LIMIT_SECONDS = 120
Lightship = Callable[..., str]
"""Runs one command, which must end with the exit code ``expect``; what it printed, with its errors where it fails."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("compiled")
    found = {}
    for name in ("checks", "single"):
        target = folder / f"{name}.yaml"
        script = ("import sys, runpy; from kfp import compiler; "
                  "compiler.Compiler().compile(runpy.run_path(sys.argv[1])[sys.argv[2]], sys.argv[3])")
        subprocess.run([str(sdk_python("kfp==2.17.0")), "-W", "ignore", "-c", script, str(FILE), name, str(target)],
                       check=True, capture_output=True, timeout=LIMIT_SECONDS)
        found[name] = target
    return found


@pytest.fixture
def lightship(platform: Platform) -> Lightship:
    def run(*words: str, expect: int = 0) -> str:
        done = subprocess.run([sys.executable, "-m", "lightship", *words, "--data-dir", str(platform.data_dir)],
                              capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + (done.stderr if expect else "")

    return run
