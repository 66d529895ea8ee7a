"""Unmodified scripts of the SDKs that tune, each in an environment of its own, against a real platform."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

HERE = Path(__file__).parent
KATIB = ("kubeflow-katib==0.19.0", "kubernetes<35")
"""The Kubernetes client of its time: a later one takes no typed objects of others."""


def run(platform: Platform, home: Path, python: Path, script: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(platform.kubeconfig)}
    done = subprocess.run([str(python), "-P", str(HERE / script)], capture_output=True, text=True, timeout=400,
                          cwd=home, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:] + platform.server_log()
    assert done.stdout.strip().endswith("all done")


@pytest.mark.sdk
@pytest.mark.timeout(500)
def test_katibs_sdk_tunes_creates_edits_and_reports(new_platform: Callable[[], Platform], tmp_path: Path) -> None:
    platform = new_platform().start()
    maps = "/api/v1/namespaces/kubeflow/configmaps/image-catalogue"
    patch = {"apiVersion": "v1", "kind": "ConfigMap", "data": {
        "katib-sdk": f"example.com/katib-sdk:* = python:3.11 {' '.join(KATIB)}"}}
    platform.kube("PATCH", f"{maps}?fieldManager=test", patch, "application/apply-patch+yaml")
    run(platform, tmp_path, sdk_python(*KATIB), "katib_script.py")


@pytest.mark.sdk
@pytest.mark.timeout(500)
def test_kubeflows_sdk_optimizes(platform: Platform, tmp_path: Path) -> None:
    platform.kube("POST", "/api/v1/namespaces", {"metadata": {"name": "optimizing"}})
    run(platform, tmp_path, sdk_python("kubeflow==0.5.0"), "optimizer_script.py")
