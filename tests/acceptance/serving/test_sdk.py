"""The unmodified ``kserve`` SDK's client against a whole platform, from an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

SCRIPT = Path(__file__).with_name("sdk_script.py")


@pytest.mark.sdk
@pytest.mark.timeout(300)
def test_a_users_script_runs_unmodified(platform: Platform, tmp_path: Path) -> None:
    python = sdk_python("kserve==0.21.0", "kubernetes==30.1.0")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([str(python), "-P", str(SCRIPT), str(platform.kubeconfig)], capture_output=True, text=True,
                          timeout=240, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all done")
