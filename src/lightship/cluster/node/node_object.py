"""The Node object: what this machine offers and how it stands. Pure but for ``machine()``; ``agent`` calls me."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lightship import __version__
from lightship.cluster.node.isolation import Isolation
from lightship.kube import conditions, times
from lightship.kube.objects import Object

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What was found: cores that this process may use, memory in KiB."""

    cpus: int
    memory_kib: int
    release: str
    os_name: str


def machine() -> Machine:
    """Looks at the machine."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:
        cpus = os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    return Machine(cpus=cpus, memory_kib=memory, release=platform.release(), os_name=platform.platform())


def capacity(found: Machine, max_pods: int) -> dict[str, str]:
    return {"cpu": str(found.cpus), "memory": f"{found.memory_kib}Ki", "pods": str(max_pods)}


def make(name: str) -> Object:
    """The object as it is registered, without status."""
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": _architecture(),
              "node.kubernetes.io/instance-type": "lightship"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}


def status(found: Machine, resources: Mapping[str, str], isolation: Isolation, memory_limits: bool,
           now: datetime) -> dict[str, Any]:
    told = [
        conditions.make("Ready", True, "NodeReady", "the node agent runs Pods"),
        conditions.make("MemoryPressure", False, "NodeHasSufficientMemory"),
        conditions.make("DiskPressure", False, "NodeHasNoDiskPressure"),
        conditions.make("PIDPressure", False, "NodeHasSufficientPID"),
        conditions.make("IsolationAvailable", isolation.available,
                        "Namespaces" if isolation.available else "NoNamespaces", isolation.reason),
        conditions.make("MemoryLimitsAvailable", memory_limits, "Cgroups" if memory_limits else "NoCgroups",
                        "memory limits are enforced by cgroups" if memory_limits else
                        "no cgroup can be made here, so memory limits are not enforced"),
    ]
    stamp = times.rfc3339(now)
    return {
        "capacity": dict(resources), "allocatable": dict(resources),
        "conditions": [entry | {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp} for entry in told],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "nodeInfo": {
            "architecture": _architecture(), "operatingSystem": "linux", "osImage": found.os_name,
            "kernelVersion": found.release, "kubeletVersion": f"v1.36.0+lightship-{__version__}",
            "containerRuntimeVersion": f"lightship://{__version__}", "kubeProxyVersion": "", "machineID": "",
            "systemUUID": "", "bootID": "",
        },
    }


def lease(name: str, now: datetime) -> Object:
    return {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": times.rfc3339_micro(now)},
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
