"""A server in memory with the InferenceService reconciler on it, for the tables of this folder."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from lightship.domains.serving import ServingDeps, Site, bootstrap, kinds
from lightship.domains.serving.inference_service import admission
from lightship.domains.serving.inference_service.reconciler import InferenceServiceReconciler
from lightship.kube import conditions
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, DEPLOYMENTS, PODS, Resource
from lightship.runtime.controller import Result
from lightship.runtime.events import Recorder
from lightship.runtime.informer import Informer
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi

KEY = Key("default", "iris")
SITE = Site(gateway_url="http://127.0.0.1:8782", domain="example.com")
URL = "http://127.0.0.1:8782/serving/default/iris"


@dataclass
class World:
    """A server in memory, informers on it and the reconciler."""

    api: MemoryApi
    manager: Manager
    reconciler: InferenceServiceReconciler
    clock: FakeClock
    informers: list[Informer]

    async def reconcile(self) -> Result:
        await self.catch_up()
        self.api.writes.clear()
        result = await self.reconciler.reconcile(KEY)
        await self.catch_up()
        return result

    async def catch_up(self) -> None:
        await settle(50)

    def writes(self) -> list[tuple[str, str, str]]:
        return [(write.verb, write.plural, write.subresource) for write in self.api.writes if write.plural != "events"]

    def find(self, resource: Resource, name: str, namespace: str = "default") -> Object:
        found = self.api.find(resource.path(), Key(namespace, name))
        assert found is not None
        return found

    def status(self) -> dict[str, Any]:
        return self.find(kinds.INFERENCE_SERVICES, "iris")["status"]

    def condition(self, type: str) -> dict[str, Any]:
        return conditions.find(self.find(kinds.INFERENCE_SERVICES, "iris"), type) or {}

    def route(self) -> dict[str, Any]:
        return json.loads(self.find(CONFIGMAPS, "iris-route")["data"]["route.json"])

    def revision(self, deployment: str = "iris-predictor") -> str:
        return self.find(DEPLOYMENTS, deployment)["spec"]["template"]["metadata"]["labels"][
            "lightship.dev/revision"]

    def insert(self, resource: Resource, obj: Object) -> Object:
        return self.api.insert(resource.path(), obj)

    def pod(self, name: str, *, revision: str | None = None, ready: bool = True, ip: str = "127.1.0.5",
            deployment: str = "iris-predictor", status: dict[str, Any] | None = None) -> Object:
        component = deployment.removesuffix("-canary").rpartition("-")[2]
        return self.insert(PODS, {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {
                "serving.kserve.io/inferenceservice": "iris", "app": f"isvc.{deployment}", "component": component,
                "lightship.dev/revision": revision or self.revision(deployment)}},
            "spec": self.find(DEPLOYMENTS, deployment)["spec"]["template"]["spec"],
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]} | (status or {})})

    def apply(self, obj: Object) -> Object:
        """The service as a user applies it again: its uid and status stay, its generation moves."""
        old = self.api.find(kinds.INFERENCE_SERVICES.path(), KEY)
        if old is None:
            return self.insert(kinds.INFERENCE_SERVICES, obj)
        metadata = obj["metadata"] | {"uid": old["metadata"]["uid"], "generation": old["metadata"]["generation"] + 1}
        return self.insert(kinds.INFERENCE_SERVICES, obj | {"metadata": metadata, "status": old.get("status") or {}})

    async def remove(self, resource: Resource, name: str) -> None:
        """Delete an object as somebody else does."""
        await self.api.client("somebody").delete(resource, Key("default", name))


@asynccontextmanager
async def new_world() -> AsyncIterator[World]:
    clock = FakeClock()
    api = MemoryApi(clock)
    manager = Manager(lambda name: api.client(name), clock)
    informers: list[Informer] = []

    def informer(resource: Resource, selection: Any) -> Informer:
        found = manager.informer(resource, selection)
        if found not in informers:
            informers.append(found)
        return found

    client = api.client("serving")
    deps = ServingDeps(client=client, informer=informer, recorder=Recorder(client, "serving", clock), clock=clock,
                       site=SITE)
    reconciler = InferenceServiceReconciler(deps)
    await bootstrap(client)
    for each in informers:
        await each.start()
        await each.synced.wait()
    yield World(api, manager, reconciler, clock, informers)
    for each in informers:
        await each.stop()


def service(predictor: dict[str, Any] | None = None, spec: dict[str, Any] | None = None, **metadata: Any) -> Object:
    """An InferenceService as it passes admission; ``spec`` has what is beside the predictor."""
    obj = admission.default({
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {"name": "iris", "namespace": "default", "uid": "u1", "generation": 3} | metadata,
        "spec": {"predictor": predictor or {"sklearn": {"storageUri": "minio://mlpipeline/models/iris"}}}
        | (spec or {})})
    assert not admission.validate(obj, None)
    return obj
