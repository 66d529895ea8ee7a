"""Objects for the tests of built-in controllers, and their table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lightship.cluster.builtin.deps import Deps
from lightship.kube import resources
from lightship.kube.objects import Object
from lightship.lib import ids
from lightship.runtime.controller import Controller
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.reconciler_table import ReconcilerTable

KINDS = (
    resources.PODS, resources.CONFIGMAPS, resources.SECRETS, resources.NAMESPACES, resources.NODES,
    resources.SERVICES, resources.SERVICE_ACCOUNTS, resources.EVENTS, resources.DEPLOYMENTS, resources.REPLICA_SETS,
    resources.JOBS, resources.ENDPOINT_SLICES, resources.LEASES,
    resources.PERSISTENT_VOLUMES, resources.PERSISTENT_VOLUME_CLAIMS, resources.STORAGE_CLASSES,
    resources.POD_DISRUPTION_BUDGETS, resources.HORIZONTAL_POD_AUTOSCALERS, resources.ENDPOINTS,
    resources.STATEFUL_SETS, resources.DAEMON_SETS, resources.CONTROLLER_REVISIONS, resources.CRON_JOBS,
    resources.JOB_SETS, resources.POD_GROUPS, resources.CUSTOM_RESOURCE_DEFINITIONS, resources.REPLICATION_CONTROLLERS,
)


def deps(manager: Manager, clock: FakeClock, id_source: ids.IdSource | None = None) -> Deps:
    return Deps(manager=manager, resources=KINDS, ca_pem="CA", clock=clock, id_source=id_source or ids.SeededIds(1))


@asynccontextmanager
async def running(manager: Manager) -> AsyncIterator[None]:
    """The manager at work, as it is on a server."""
    task = asyncio.create_task(manager.run())
    await manager.synced.wait()
    await settle()
    try:
        yield
    finally:
        await manager.stop()
        await task


def table(make: Callable[[Deps], Controller]) -> ReconcilerTable:
    def build(manager: Manager, clock: FakeClock, id_source: ids.IdSource) -> Controller:
        return make(deps(manager, clock, id_source))

    return ReconcilerTable(build=build, kinds=KINDS)


def owned_by(kind: str, name: str, uid: str, api_version: str = "apps/v1", *, block: bool = True) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": True,
            "blockOwnerDeletion": block}


def pod(name: str, *, phase: str = "Pending", node: str = "", ready: bool = False, labels: dict[str, str] | None = None,
        owner: dict[str, Any] | None = None, requests: dict[str, str] | None = None, **status: Any) -> Object:
    container: dict[str, Any] = {"name": "main", "image": "busybox"}
    if requests:
        container["resources"] = {"requests": requests}
    made: Object = {"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": name, "namespace": "default", "labels": labels or {}},
                    "spec": {"containers": [container]}, "status": {"phase": phase} | status}
    if node:
        made["spec"]["nodeName"] = node
    if owner:
        made["metadata"]["ownerReferences"] = [owner]
    if ready:
        made["status"]["conditions"] = [{"type": "Ready", "status": "True",
                                         "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return made


def node(name: str = "laptop", *, ready: bool = True, **allocatable: str) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"} | allocatable,
                       "conditions": [{"type": "Ready", "status": str(ready)}]}}


def deployment(replicas: int = 3, image: str = "web:1", uid: str = "deploy-uid", **spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default", "uid": uid},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}},
                                  "spec": {"containers": [{"name": "main", "image": image}]}}} | spec}


def replica_set(name: str = "web-abc", replicas: int = 3, *, uid: str = "", owner: dict[str, Any] | None = None,
                status: dict[str, Any] | None = None) -> Object:
    made: Object = {"apiVersion": "apps/v1", "kind": "ReplicaSet",
                    "metadata": {"name": name, "namespace": "default", "uid": uid or f"{name}-uid"},
                    "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                             "template": {"metadata": {"labels": {"app": "web"}},
                                          "spec": {"containers": [{"name": "main", "image": "web:1"}]}}}}
    if owner:
        made["metadata"]["ownerReferences"] = [owner]
    if status:
        made["status"] = status
    return made


def job(**spec: Any) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "train", "namespace": "default", "uid": "job-uid"},
            "spec": {"completions": 1, "parallelism": 1, "backoffLimit": 2,
                     "template": {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [
                         {"name": "main", "image": "busybox"}]}}} | spec}
