"""Which GPUs a node has, and which of them a container is told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightship.cluster.node import layout, node_object, variables
from lightship.kube.objects import Object


def test_gpus_are_counted_by_their_devices(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia2x", "null"):
        (tmp_path / name).touch()
    assert node_object.count_gpus(tmp_path) == 2


def test_a_node_offers_what_it_has(tmp_path: Path) -> None:
    found = node_object.machine(tmp_path)
    offered = node_object.capacity(found, 7)
    assert offered["pods"] == "7" and int(offered["ephemeral-storage"].removesuffix("Ki")) == found.disk_kib > 0
    bare = node_object.Machine(cpus=1, memory_kib=1, release="", os_name="", gpus=2)
    assert node_object.capacity(bare, 7) == {"cpu": "1", "memory": "1Ki", "pods": "7", node_object.GPUS: "2"}


def container(name: str, gpus: str = "") -> Object:
    return {"name": name, "resources": {"limits": {variables.GPUS: gpus}} if gpus else {}}


@pytest.mark.parametrize(("annotation", "told"), [
    ('{"nvidia.com/gpu": [3, 5, 6]}', {"first": "3", "none": "", "last": "5,6"}),
    ("nonsense", {"first": "", "none": "", "last": ""}), ("", {"first": "", "none": "", "last": ""}),
])
def test_containers_share_out_the_pods_gpus_in_order(annotation: str, told: dict[str, str]) -> None:
    containers = [container("first", "1"), container("none"), container("last", "2")]
    metadata: dict[str, Any] = {"annotations": {variables.DEVICES: annotation}} if annotation else {}
    pod = {"metadata": metadata, "spec": {"containers": containers}}
    assert {one["name"]: variables.devices(pod, one).get("CUDA_VISIBLE_DEVICES", "") for one in containers} == told
    given = variables.resolve(pod, container("first") | {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "9"}]},
                              variables.Sources(), {})
    assert given["CUDA_VISIBLE_DEVICES"] == "9", "who names them himself is believed"


def test_a_condition_keeps_the_moment_of_its_change() -> None:
    told = [{"type": "Ready", "status": "True", "lastTransitionTime": "now"},
            {"type": "Egress", "status": "False", "lastTransitionTime": "now"}]
    there = {"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "then"},
                                       {"type": "Egress", "status": "True", "lastTransitionTime": "then"}]}}
    assert [entry["lastTransitionTime"] for entry in node_object.since_when(told, there)] == ["then", "now"]


def test_a_container_with_gpus_finds_the_drivers_devices(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidiactl", "null"):
        (tmp_path / name).touch()
    (tmp_path / "nvidia-caps").mkdir()
    assert layout.gpu_devices(tmp_path) == ("nvidia0", "nvidiactl")
    root = layout.Root(survey=layout.Survey(entries=()), mountpoint="/r", environment=(), scratch="/s", volumes=(),
                       identity=layout.Identity(hostname="h", pod_ip=""), user_namespace=False, tmpfs={},
                       devices=("nvidia0",))
    assert layout.sandbox_of(root)["devices"] == ["nvidia0"]
