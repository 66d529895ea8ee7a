"""The runtime and the built-in controllers on the real API server and store, in process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.client.inprocess import InProcess
from lightship.client.transport import Request, Response, User
from lightship.cluster import builtin
from lightship.cluster.apiserver import bootstrap, tokens
from lightship.cluster.apiserver.server import ApiServer, ApiServerOptions
from lightship.cluster.store.store import Store
from lightship.kube import conditions, objects, resources
from lightship.kube.objects import Key, Object
from lightship.lib.clock import SYSTEM
from lightship.runtime import apply, finalizers
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.informer import Informer, InformerOptions
from lightship.runtime.manager import Manager
from lightship.testing.clock import until
from tests.unit.builtin import build

LIMIT_SECONDS = 20.0
"""How long a condition may take to come true before the test fails; nothing is timed."""


class Cluster:
    """The API server on a store in a temporary folder, all built-in controllers, and a node that only pretends."""

    def __init__(self, store: Store) -> None:
        self.server = ApiServer(ApiServerOptions(
            store=store, authenticator=NobodyKnown(), tokens=tokens.TokenAuthority(b"k" * 32, SYSTEM)))
        self.writes: list[str] = []
        self.client = self.client_for("tester")
        self.manager = Manager(self.client_for)
        kinds = [served.resource for served in self.server.registry.served
                 if "watch" in served.verbs and not served.storage]
        for controller in builtin.controllers(builtin.Deps(manager=self.manager, resources=kinds, ca_pem="CA")):
            self.manager.add(controller)
        self.manager.add(PretendNode(self.manager).controller())
        self._run: asyncio.Task[None] | None = None

    async def handle(self, request: Request) -> Response:
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
        return await self.server.handle(request)

    def client_for(self, name: str) -> Client:
        """As the platform gives them: each name with its own rights, but for the test itself and its pretended node."""
        user = bootstrap.IDENTITY if name in ("tester", "node") else tokens.service_account("kubeflow", name)
        return Client(InProcess(self.handle, user), field_manager=name)

    async def start(self) -> None:
        await bootstrap.ensure(Client(InProcess(self.server.handle, bootstrap.IDENTITY)))
        await self.client.create(resources.NAMESPACES, {
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        node = build.node()
        await self.client.create(resources.NODES, node)
        await self.client.patch(resources.NODES, Key("", "laptop"), {"status": node["status"]}, subresource="status")
        self._run = asyncio.create_task(self.manager.run())
        await asyncio.wait_for(self.manager.synced.wait(), LIMIT_SECONDS)

    async def stop(self) -> None:
        await self.manager.stop()
        if self._run is not None:
            await self._run

    async def rest(self) -> None:
        """Wait until nothing waits and the informers have seen the last write."""
        unseen = Client(InProcess(self.server.handle, bootstrap.IDENTITY))
        mark = await unseen.create(resources.CONFIGMAPS, {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "mark-", "namespace": "default"}})
        await self.until(resources.CONFIGMAPS, lambda found: any(objects.uid(o) == objects.uid(mark) for o in found))
        await until(self.manager.idle)

    async def until(self, resource: resources.Resource, met: Callable[[list[Object]], Any]) -> list[Object]:
        """Wait, by watching, until ``met`` holds of all objects of the kind."""
        informer, changed = self.manager.informer(resource), asyncio.Event()
        stop = informer.subscribe(lambda old, new: changed.set())
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await informer.synced.wait()
                while not met(informer.list()):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise AssertionError(f"it never came true; there are {informer.list()}") from None
        finally:
            stop()
        return informer.list()


class NobodyKnown:
    """Requests in these tests come with their identity."""

    async def authenticate(self, token: str) -> User | None:
        return None


class PretendNode:
    """Says of every Pod that is bound to it that it runs and is ready, or, with a command, that it has ended."""

    def __init__(self, manager: Manager) -> None:
        self._pods = manager.informer(resources.PODS)
        self._client = manager.client_for("node")

    def controller(self) -> Controller:
        return Controller(name="node", reconciler=self, watches=(Watch(resource=resources.PODS),))

    async def reconcile(self, key: Key) -> Result:
        pod = self._pods.get(key)
        if pod is None or not objects.spec(pod).get("nodeName"):
            return DONE
        if objects.deleting(pod):
            try:
                await self._client.delete(resources.PODS, key, grace_seconds=0)
            except errors.NotFound:
                return DONE
            return DONE
        command = objects.spec(pod)["containers"][0].get("command")
        phase = {"true": "Succeeded", "false": "Failed"}.get(command[0] if command else "", "Running")
        if objects.status(pod).get("phase") != phase:
            ready = conditions.make("Ready", phase == "Running")
            status = {"phase": phase, "podIP": "127.1.0.1",
                      "conditions": [ready | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
            await self._client.patch(resources.PODS, key, {"status": status}, subresource="status")
        return DONE


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await Store.open(tmp_path / "cluster.db")
    yield made
    await made.close()


@pytest.fixture
async def cluster(store: Store) -> AsyncIterator[Cluster]:
    made = Cluster(store)
    await made.start()
    yield made
    await made.stop()


def all_available(found: list[Object], count: int) -> bool:
    return any(objects.status(deployment).get("availableReplicas") == count
               and objects.status(deployment).get("updatedReplicas") == count
               and objects.status(deployment).get("replicas") == count for deployment in found)


async def test_a_deployment_comes_up_rolls_and_goes(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(resources.DEPLOYMENTS, build.deployment(3))
    await client.create(resources.SERVICES, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})
    await cluster.until(resources.DEPLOYMENTS, lambda found: all_available(found, 3))
    await cluster.until(resources.ENDPOINT_SLICES, lambda found: any(
        sum(1 for e in made.get("endpoints") or () if e["conditions"]["ready"]) == 3 for made in found))

    await client.patch(resources.DEPLOYMENTS, Key("default", "web"), {
        "spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}})
    await cluster.until(resources.REPLICA_SETS, lambda found: len(found) == 2)
    await cluster.until(resources.DEPLOYMENTS, lambda found: all_available(found, 3) and conditions.is_true(
        found[0], "Progressing") and found[0]["status"]["observedGeneration"] == 2)

    await client.delete(resources.DEPLOYMENTS, Key("default", "web"), propagation="Foreground")
    await cluster.until(resources.DEPLOYMENTS, lambda found: not found)
    await cluster.until(resources.PODS, lambda found: not found)
    assert (await client.list(resources.REPLICA_SETS)).items == []


async def test_at_rest_a_pass_over_every_key_writes_nothing(cluster: Cluster) -> None:
    await cluster.client.create(resources.DEPLOYMENTS, build.deployment(2))
    await cluster.client.create(resources.SERVICES, {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}})
    job = build.job()
    job["spec"]["template"]["spec"]["containers"][0]["command"] = ["true"]
    await cluster.client.create(resources.JOBS, job)
    await cluster.until(resources.DEPLOYMENTS, lambda found: all_available(found, 2))
    await cluster.until(resources.JOBS, lambda found: found and conditions.is_true(found[0], "Complete"))
    await cluster.until(resources.ENDPOINT_SLICES, lambda found: (
        found and len(found[0].get("endpoints") or ()) == 2))
    await cluster.rest()
    passes = {name: counters.passes for name, counters in cluster.manager.counters().items()}
    cluster.writes.clear()
    woken = {"deployment-controller": resources.DEPLOYMENTS, "replicaset-controller": resources.REPLICA_SETS,
             "job-controller": resources.JOBS, "endpointslice-controller": resources.SERVICES,
             "namespace-furnisher": resources.NAMESPACES}
    for name, kind in woken.items():
        for obj in cluster.manager.informer(kind).list():
            cluster.manager.wake(name, objects.key(obj))
    cluster.manager.wake("scheduler", Key("", "pending"))
    await cluster.rest()
    assert all(cluster.manager.counters()[name].passes > passes[name] for name in woken)
    assert cluster.writes == []


async def test_a_job_completes_and_one_that_may_not_fail_fails(cluster: Cluster) -> None:
    def job(name: str, command: str, **spec: Any) -> Object:
        made = build.job(**spec)
        made["metadata"] = {"name": name, "namespace": "default"}
        made["spec"]["template"]["spec"]["containers"][0]["command"] = [command]
        return made

    await cluster.client.create(resources.JOBS, job("good", "true", completions=4, parallelism=2))
    await cluster.client.create(resources.JOBS, job("bad", "false", backoffLimit=0))
    found = await cluster.until(resources.JOBS, lambda found: len(found) == 2 and all(
        conditions.is_true(made, "Complete") or conditions.is_true(made, "Failed") for made in found))
    ends = {objects.name(made): [c["type"] for c in made["status"]["conditions"]][-1] for made in found}
    assert ends == {"good": "Complete", "bad": "Failed"}
    good = next(made for made in found if objects.name(made) == "good")
    assert good["status"]["succeeded"] == 4


async def test_a_namespace_goes_with_all_that_is_in_it(cluster: Cluster) -> None:
    team = build.deployment(2)
    team["metadata"] = {"name": "web", "namespace": "team"}
    await cluster.client.create(resources.DEPLOYMENTS, team)
    await cluster.until(resources.DEPLOYMENTS, lambda found: all_available(found, 2))
    await cluster.until(resources.SERVICE_ACCOUNTS, lambda found: sum(
        objects.namespace(made) == "team" for made in found) == 2)
    await cluster.client.delete(resources.NAMESPACES, Key("", "team"))
    await cluster.until(resources.NAMESPACES, lambda found: not any(objects.name(made) == "team" for made in found))
    for kind in (resources.PODS, resources.DEPLOYMENTS, resources.SERVICE_ACCOUNTS, resources.CONFIGMAPS,
                 resources.EVENTS):
        assert [obj for obj in (await cluster.client.list(kind)).items if objects.namespace(obj) == "team"] == []


async def test_a_pod_that_does_not_fit_waits_until_there_is_room(cluster: Cluster) -> None:
    for name in ("first", "second"):
        await cluster.client.create(resources.PODS, build.pod(name, requests={"cpu": "3"}) | {"status": {}})
    await cluster.until(resources.PODS, lambda found: {
        objects.status(pod).get("phase") for pod in found} == {"Running", "Pending"} and any(
        (conditions.find(pod, "PodScheduled") or {}).get("reason") == "Unschedulable" for pod in found))
    running = next(pod for pod in cluster.manager.informer(resources.PODS).list()
                   if objects.status(pod)["phase"] == "Running")
    await cluster.client.delete(resources.PODS, objects.key(running))
    await cluster.until(resources.PODS, lambda found: [
        objects.status(pod).get("phase") for pod in found] == ["Running"])


async def test_the_informer_keeps_up_with_a_storm_of_writes(cluster: Cluster) -> None:
    informer = Informer(cluster.client, resources.CONFIGMAPS, options=InformerOptions(page_objects=7))
    await informer.start()

    async def write(number: int) -> None:
        key = Key("default", f"m{number}")
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key.name, "namespace": "default"}}
        await cluster.client.create(resources.CONFIGMAPS, made)
        await cluster.client.patch(resources.CONFIGMAPS, key, {"data": {"n": str(number)}})
        if number % 3 == 0:
            await cluster.client.delete(resources.CONFIGMAPS, key)

    await asyncio.gather(*(write(number) for number in range(60)))
    mark = await cluster.client.create(resources.CONFIGMAPS, {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mark", "namespace": "default"}})
    await until(lambda: informer.get(objects.key(mark)) is not None)
    there = (await cluster.client.list(resources.CONFIGMAPS)).items
    assert {objects.key(obj): objects.meta(obj)["resourceVersion"] for obj in informer.list()} == {
        objects.key(obj): objects.meta(obj)["resourceVersion"] for obj in there}
    await informer.stop()


async def test_minimal_patches_and_finalizers_on_the_real_thing(cluster: Cluster) -> None:
    client = cluster.client
    wanted = build.deployment(1)
    wanted["metadata"].pop("uid")
    made = await apply.ensure(client, resources.DEPLOYMENTS, wanted, None)
    again = await apply.ensure(client, resources.DEPLOYMENTS, wanted, made)
    assert again is made, "what the server filled in is no difference"
    held = await finalizers.add(client, resources.DEPLOYMENTS, made, "lightship.dev/test")
    await client.delete(resources.DEPLOYMENTS, objects.key(held))
    assert objects.deleting(await client.get(resources.DEPLOYMENTS, "web", "default"))
    await finalizers.remove(client, resources.DEPLOYMENTS, held, "lightship.dev/test")
    with pytest.raises(errors.NotFound):
        await client.get(resources.DEPLOYMENTS, "web", "default")
