"""The Node object: what this machine offers and how it stands. Pure but for ``machine()``; ``agent`` calls me."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lightship import __version__
from lightship.cluster.node import memory_pressure
from lightship.cluster.node.isolation import Isolation
from lightship.kube import conditions, times
from lightship.kube.objects import Object

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
STATUS_SECONDS = 300.0
"""The status is told anew after so long, and at once when a renewal came so late that I was given up."""
GPUS = "nvidia.com/gpu"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What was found: cores that this process may use, memory in KiB, disk below the node's directory, GPUs."""

    cpus: int
    memory_kib: int
    release: str
    os_name: str
    disk_kib: int = 0
    gpus: int = 0
    machine_id: str = ""
    boot_id: str = ""


def machine(directory: Path) -> Machine:
    """Looks at the machine. ``directory`` is where Pods' files are."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:
        cpus = os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limited = memory_pressure.look_at()
    if limited is not None:  # a control group may leave us less than the machine has
        memory = min(memory, limited.size_bytes)
    disk = os.statvfs(directory)
    return Machine(cpus=cpus, memory_kib=memory // 1024, release=platform.release(), os_name=platform.platform(),
                   disk_kib=disk.f_blocks * disk.f_frsize // 1024, gpus=count_gpus(Path("/dev")),
                   machine_id=_word(Path("/etc/machine-id")), boot_id=_word(Path("/proc/sys/kernel/random/boot_id")))


def count_gpus(devices: Path) -> int:
    """NVIDIA's driver makes ``nvidia0``, ``nvidia1`` and so on, one a GPU, beside ``nvidiactl`` and the like."""
    return sum(1 for path in devices.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit())


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # there is none on this machine
        return ""


def capacity(found: Machine, max_pods: int) -> dict[str, str]:
    amounts = {"cpu": str(found.cpus), "memory": f"{found.memory_kib}Ki", "pods": str(max_pods)}
    if found.disk_kib:
        amounts["ephemeral-storage"] = f"{found.disk_kib}Ki"
    if found.gpus:
        amounts[GPUS] = str(found.gpus)
    return amounts


def make(name: str) -> Object:
    """The object as it is registered, without status."""
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": _architecture(),
              "node.kubernetes.io/instance-type": "lightship"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}


def status(found: Machine, resources: Mapping[str, str], isolation: Isolation, controllers: frozenset[str],
           now: datetime) -> dict[str, Any]:
    told = [
        conditions.make("Ready", True, "NodeReady", "the node agent runs Pods"),
        conditions.make("PIDPressure", False, "NodeHasSufficientPID"),
        conditions.make("IsolationAvailable", isolation.available,
                        "Namespaces" if isolation.available else "NoNamespaces", isolation.reason),
        _limited("MemoryLimitsAvailable", "memory" in controllers, "memory limits",
                 "what limited containers use is looked at once a second"),
        _limited("CpuLimitsAvailable", "cpu" in controllers, "CPU limits",
                 "a container with a CPU limit is kept to so many whole processors"),
        _limited("ProcessLimitsAvailable", "pids" in controllers, "process limits",
                 "they are counted in each container's user namespace" if isolation.user_namespace else
                 "processes are not limited"),
    ]
    stamp = times.rfc3339(now)
    return {
        "capacity": dict(resources), "allocatable": dict(resources),
        "conditions": [entry | {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp} for entry in told],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "nodeInfo": {
            "architecture": _architecture(), "operatingSystem": "linux", "osImage": found.os_name,
            "kernelVersion": found.release, "kubeletVersion": f"v1.36.0+lightship-{__version__}",
            "containerRuntimeVersion": f"lightship://{__version__}", "kubeProxyVersion": "",
            "machineID": found.machine_id, "systemUUID": found.machine_id, "bootID": found.boot_id,
        },
    }


def _limited(type_: str, available: bool, what: str, otherwise: str) -> dict[str, Any]:
    message = f"{what} are enforced by control groups" if available else f"no control group can be made: {otherwise}"
    return conditions.make(type_, available, "Cgroups" if available else "NoCgroups", message)


def since_when(told: Sequence[conditions.Condition], node: Mapping[str, Any]) -> list[conditions.Condition]:
    """The conditions with the moment of their last change, which is an earlier one where ``node`` says the same."""
    result = []
    for entry in told:
        there = conditions.find(node, entry["type"]) or {}
        same = there.get("status") == entry["status"] and there.get("lastTransitionTime")
        result.append(entry | ({"lastTransitionTime": there["lastTransitionTime"]} if same else {}))
    return result


def lease(name: str, now: datetime) -> Object:
    return {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": times.rfc3339_micro(now)},
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
