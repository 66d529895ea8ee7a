"""An unmodified kfp SDK on a real platform: compile, run, wait, list; with no argument but the kubeconfig."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

pytestmark = pytest.mark.sdk

SCRIPT = '''
import kfp
from kfp import dsl

@dsl.component
def double(number: int) -> int:
    return 2 * number

@dsl.pipeline(name="doubles")
def doubles(number: int = 4) -> int:
    first = double(number=number)
    return double(number=first.output).output

client = {client}
run = client.create_run_from_pipeline_func(doubles, arguments={{"number": 5}}, enable_caching=False)
done = client.wait_for_run_completion(run.run_id, timeout=150)
assert done.state == "SUCCEEDED", done
assert run.run_id in [each.run_id for each in client.list_runs(page_size=100).runs]
print("state", client.get_run(run.run_id).state)
'''


@pytest.mark.parametrize("client", ["kfp.Client()", "kfp.Client(host={url!r}, existing_token={token!r})"])
def test_the_sdk_runs_a_pipeline(platform: Platform, client: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(client=client.format(url=platform.info["url"], token=platform.token)))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KF_")}

    done = subprocess.run([sdk_python("kfp==2.17.0"), str(script)], capture_output=True, text=True, timeout=170,
                          env=environ | {"KUBECONFIG": str(platform.kubeconfig), "HOME": str(tmp_path)})

    assert done.returncode == 0, done.stdout + done.stderr
    assert "state SUCCEEDED" in done.stdout


def test_a_users_script_does_all_that_the_sdk_can(platform: Platform, tmp_path: Path) -> None:
    script = Path(__file__).with_name("sdk_platform_script.py")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KF_")}

    done = subprocess.run([sdk_python("kfp==2.17.0"), "-P", "-W", "ignore", str(script), str(tmp_path)],
                          capture_output=True, text=True, timeout=400,
                          env=environ | {"KUBECONFIG": str(platform.kubeconfig), "HOME": str(tmp_path)})

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all done")


def test_a_service_is_behind_the_kubernetes_apis_own_token(platform: Platform) -> None:
    path = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy/apis/v2beta1/healthz"

    assert platform.kube("GET", path)["multi_user"] is False
    registry = "/api/v1/namespaces/kubeflow/services/model-registry-service:8080/proxy/api/model_registry/v1alpha3"
    assert "items" in platform.kube("GET", f"{registry}/registered_models")
