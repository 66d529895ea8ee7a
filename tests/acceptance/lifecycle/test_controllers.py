"""``lightship controllers --kubeconfig``: the domains' controllers as a process of their own, one at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform

New = Callable[[], Platform]
LIMIT_SECONDS = 60
SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/{name}-predictor"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kubeflow/leases/lightship-controllers"


class Controllers:
    """``lightship controllers`` with a data directory and a log of its own."""

    def __init__(self, directory: Path, kubeconfig: Path, *flags: str) -> None:
        self.log = directory.with_suffix(".log")
        words = ["controllers", "--data-dir", str(directory), "--kubeconfig", str(kubeconfig), *flags]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen([sys.executable, "-m", "lightship", *words], stdout=output, stderr=output)

    def wait_to_say(self, text: str) -> None:
        wait_until(lambda: text in self.said() or self.process.poll() is not None)
        assert text in self.said(), self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_SECONDS)


Start = Callable[[Path], Controllers]


@pytest.fixture
def start_controllers(tmp_path: Path) -> Iterator[Start]:
    started: list[Controllers] = []

    def start(kubeconfig: Path) -> Controllers:
        started.append(Controllers(tmp_path / f"controllers{len(started)}", kubeconfig))
        return started[-1]

    yield start
    for controllers in started:
        if controllers.process.poll() is None:
            controllers.process.kill()
            controllers.process.wait()


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def service(name: str) -> dict[str, Any]:
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": name},
            "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"},
                                             "storageUri": "minio://mlpipeline/no/such/model"}}}}


def has_deployment(platform: Platform, name: str) -> bool:
    try:
        made = platform.kube("GET", DEPLOYMENT.format(name=name))
    except urllib.error.HTTPError as error:
        error.close()
        assert error.code == 404
        return False
    assert made["metadata"]["ownerReferences"][0]["kind"] == "InferenceService"
    return True


def holder(platform: Platform) -> str:
    return str(platform.kube("GET", LEASE)["spec"].get("holderIdentity") or "")


def test_controllers_of_another_process_reconcile_and_a_second_one_waits_for_its_turn(
        new_platform: New, start_controllers: Start) -> None:
    platform = new_platform().start("--no-controllers")
    platform.kube("POST", SERVICES, service("first"))
    first = start_controllers(platform.kubeconfig)
    first.wait_to_say("the controllers are ready")
    wait_until(lambda: has_deployment(platform, "first"))
    leader = holder(platform)
    assert f"_{first.process.pid}_" in leader

    second = start_controllers(platform.kubeconfig)
    second.wait_to_say(f"another process ({leader}) runs the controllers")
    platform.kube("POST", SERVICES, service("second"))
    wait_until(lambda: has_deployment(platform, "second"))
    assert "the controllers are ready" not in second.said()
    assert holder(platform) == leader

    assert first.stop() == 0, first.said()
    second.wait_to_say("the controllers are ready")
    assert f"_{second.process.pid}_" in holder(platform)
    platform.kube("POST", SERVICES, service("third"))
    wait_until(lambda: has_deployment(platform, "third"))
    assert second.stop() == 0, second.said()
    assert "Traceback" not in first.said() + second.said()


def test_without_controllers_nothing_reconciles(new_platform: New) -> None:
    platform = new_platform().start("--no-controllers")
    platform.kube("POST", SERVICES, service("waits"))

    time.sleep(1)

    assert not has_deployment(platform, "waits")


@pytest.mark.parametrize(("change", "code", "said"), [
    (("token:", "    token: wrong"), 1, "refuses the user"),
    (("server:", "    server: https://127.0.0.1:1"), 3, "could not reach"),
    (("clusters:", "nothing:"), 2, "clusters"),
])
def test_a_wrong_kubeconfig_is_named_with_what_to_do(
        platform: Platform, tmp_path: Path, change: tuple[str, str], code: int, said: str) -> None:
    wrong = tmp_path / "wrong.yaml"
    lines = [change[1] if line.strip().startswith(change[0]) else line
             for line in platform.kubeconfig.read_text().splitlines()]
    wrong.write_text("\n".join(lines))

    done = subprocess.run([sys.executable, "-m", "lightship", "controllers", "--data-dir", str(tmp_path / "other"),
                           "--kubeconfig", str(wrong)], capture_output=True, text=True, timeout=LIMIT_SECONDS)

    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert str(wrong) in done.stderr
    assert "what to do" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_data_directory_of_the_server_is_not_shared(platform: Platform) -> None:
    done = platform.run("controllers", "--kubeconfig", str(platform.kubeconfig))

    assert done.returncode == 5
    assert f"pid {platform.info['pid']}" in done.stderr


def test_what_upstreams_controller_runs_is_left_to_it(new_platform: New, start_controllers: Start) -> None:
    platform = new_platform().start("--no-controllers")
    labels = {"app": "kserve"}
    platform.kube("POST", "/api/v1/namespaces", {"metadata": {"name": "kserve"}})
    platform.kube("POST", "/apis/apps/v1/namespaces/kserve/deployments", {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "kserve-controller-manager"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "manager", "image": "busybox"}]}}}})

    controllers = start_controllers(platform.kubeconfig)
    controllers.wait_to_say("the controllers are ready")

    assert "serving: left to upstream's kserve/kserve-controller-manager" in controllers.said()
    assert controllers.said().count("left to") == 1
