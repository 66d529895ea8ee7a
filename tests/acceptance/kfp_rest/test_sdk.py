"""An unmodified kfp SDK against our routes: compile, upload, run, wait, list, archive, delete."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.kfp_rest.place import Platform
from tests.sdks import sdk_python
from tests.unit.web import harness

SCRIPT = Path(__file__).with_name("sdk_script.py")


@pytest.mark.sdk
async def test_a_users_script_runs_unmodified(pipelines: Platform, tmp_path: Path) -> None:
    python = await asyncio.to_thread(sdk_python, "kfp==2.17.0")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [str(python), "-P", "-W", "ignore", str(SCRIPT), pipelines.site.url, harness.TOKEN, str(tmp_path)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=120, env=environment, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all done")
