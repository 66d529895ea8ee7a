"""The real model-registry client registers a model with us and finds it again: the newest, and an older one."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from tests.sdks import sdk_python
from tests.unit.web import harness
from tests.unit.web.harness import Site

SCRIPT = Path(__file__).with_name("sdk_script.py")


@pytest.mark.sdk
@pytest.mark.parametrize("client", ["model-registry==0.3.18", "model-registry==0.3.0"])
async def test_a_model_is_registered_and_found_again(site: Site, client: str, tmp_path: Path) -> None:
    python = await asyncio.to_thread(sdk_python, client)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [str(python), "-P", "-W", "ignore", str(SCRIPT), site.url, harness.TOKEN]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=120, env=environment, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all done")
