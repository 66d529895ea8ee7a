"""Pipelines for the commands to run, compiled by the SDK's own Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.sdks import sdk_python

FILE = Path(__file__).with_name("pipelines_to_run.py")
LIMIT_SECONDS = 120


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
