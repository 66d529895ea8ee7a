"""Seeded storms over the built-in controllers: lost watches, compacted history, refused writes, conflicts, restarts.

Time is virtual and every choice comes from the seed, which a failure prints. When the storm is over the cluster must be
what it would have been without one: as many Pods as asked for, nothing without its owner, and silence.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from lightship import errors
from lightship.cluster import builtin
from lightship.cluster.builtin import job_pods, pods
from lightship.kube import conditions, objects, resources, times
from lightship.kube.objects import Key, Object
from lightship.lib import ids
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.manager import Manager, ManagerOptions
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi, Write
from tests.unit.builtin import build

SEEDS = range(12)
STORM_STEPS = 60
NAMES = ("a", "b", "c")


class World:
    """One server and one manager at a time; a restart throws the manager and all that it knew away."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = FakeClock()
        self.api = MemoryApi(self.clock, ids.SeededIds(seed))
        self.client = self.api.client()
        self.lives = 0
        self.failures: dict[str, set[str]] = {}
        """The Pods of each Job that have failed or were taken from it, by uid: what its status has to count."""
        self.manager = self._manager()
        self._run: asyncio.Task[None] | None = None
        self.node = build.node(cpu="1000", pods="1000")
        self.api.insert(resources.NODES.path(), self.node)
        self.beat()
        self.api.insert(resources.NAMESPACES.path(), {"apiVersion": "v1", "kind": "Namespace",
                                                      "metadata": {"name": "default"}})

    def _manager(self) -> Manager:
        self.lives += 1
        manager = Manager(self.api.client, self.clock, options=ManagerOptions(random=self.dice.random))
        source = ids.SeededIds(self.lives * 1000 + self.dice.randrange(1000))
        for controller in builtin.controllers(builtin.Deps(
                manager=manager, resources=build.KINDS, ca_pem="CA", clock=self.clock, id_source=source)):
            manager.add(controller)
        manager.add(Kubelet(manager, self).controller())
        return manager

    async def start(self) -> None:
        self._run = asyncio.create_task(self.manager.run())
        await settle()

    async def crash(self) -> None:
        """As ``kill -9``: nothing is finished, nothing is said."""
        assert self._run is not None
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        self.manager = self._manager()
        await self.start()

    async def stop(self) -> None:
        await self.manager.stop()
        if self._run is not None:
            await self._run

    def beat(self) -> None:
        """The node's sign of life."""
        self.api.insert(resources.LEASES.path(), {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {
                "name": objects.name(self.node), "namespace": "kube-node-lease", "uid": "lease-uid"},
            "spec": {"renewTime": times.rfc3339(self.clock.now())}})

    async def advance(self, seconds: float) -> None:
        """Let time pass on a node that lives."""
        while seconds > 0:
            await self.clock.advance(min(seconds, 10))
            self.beat()
            seconds -= 10

    def fault(self, write: Write) -> errors.LightshipError | None:
        """One write in six fails; those of the storm itself are retried by it."""
        roll = self.dice.random()
        if roll < 0.1:
            return errors.Unavailable("induced")
        return errors.Conflict("induced") if roll < 0.17 else None

    async def act(self) -> None:
        """One thing that a user, the network or fate does."""
        name = self.dice.choice(NAMES)
        key = Key("default", name)
        action = self.dice.choice(("create", "scale", "roll", "delete", "job", "set", "resize", "drop", "kill", "break",
                                   "forget", "stall", "crash", "wait", "wait", "wait"))
        try:
            if action == "create":
                await self.client.create(resources.DEPLOYMENTS, deployment(name, self.dice.randrange(5)))
            elif action == "scale":
                await self.client.patch(resources.DEPLOYMENTS, key, {"spec": {"replicas": self.dice.randrange(5)}})
            elif action == "roll":
                fresh = deployment(name, 0, f"web:{self.dice.randrange(9)}")["spec"]["template"]
                await self.client.patch(resources.DEPLOYMENTS, key, {"spec": {"template": fresh}})
            elif action == "delete":
                await self.client.delete(resources.DEPLOYMENTS, key, propagation=self.dice.choice(
                    ("Background", "Foreground")))
            elif action == "job":
                await self.client.create(resources.JOBS, job(f"{name}{self.dice.randrange(100)}"))
            elif action == "set":
                await self.client.create(resources.STATEFUL_SETS, stateful_set(name, self.dice.randrange(4)))
            elif action == "resize":
                image = f"db:{self.dice.randrange(3)}"
                await self.client.patch(resources.STATEFUL_SETS, key, {"spec": {
                    "replicas": self.dice.randrange(4), "template": stateful_set(name, 0, image)["spec"]["template"]}})
            elif action == "drop":
                await self.client.delete(resources.STATEFUL_SETS, key, propagation=self.dice.choice(
                    ("Background", "Foreground")))
            elif action == "stall":
                self.api.stall_watches()
            elif action == "kill" and (there := self.api.all(resources.PODS.path())):
                await self.kill(self.dice.choice(there))
            elif action == "break":
                self.api.break_watches()
            elif action == "forget":
                self.api.forget_history()
            elif action == "crash":
                await self.crash()
        except errors.LightshipError:
            return  # a user's request may fail like any other
        finally:
            await self.clock.advance(self.dice.random() * 2)
            self.beat()
            if action != "stall" and self.dice.random() < 0.5:
                self.api.resume_watches()

    async def kill(self, pod: Object) -> None:
        """Somebody deletes a Pod; one that was at work for a Job has failed with that."""
        await self.client.delete(resources.PODS, objects.key(pod))
        job_name = objects.labels(pod).get("job-name")
        if job_name and pods.active(pod):
            self.failures.setdefault(job_name, set()).add(objects.uid(pod))

    async def calm(self) -> None:
        """The end of the storm: all is let happen."""
        self.api.fault = None
        self.api.resume_watches()
        await self.advance(1200)


class Kubelet:
    """Runs what is bound: a Job's Pod ends, well or not; another is ready after a while."""

    def __init__(self, manager: Manager, world: World) -> None:
        self._pods = manager.informer(resources.PODS)
        self._client = manager.client_for("kubelet")
        self._world = world

    def controller(self) -> Controller:
        return Controller(name="kubelet", reconciler=self, watches=(Watch(resource=resources.PODS),))

    async def reconcile(self, key: Key) -> Result:
        pod = self._pods.get(key)
        if pod is None or not objects.spec(pod).get("nodeName") or objects.deleting(pod):
            return DONE
        if objects.status(pod).get("phase", "Pending") != "Pending":
            return DONE
        job_name = objects.labels(pod).get("job-name")
        fails = bool(job_name) and self._world.dice.random() < 0.2
        ready = conditions.make("Ready", not job_name) | {"lastTransitionTime": times.rfc3339(self._world.clock.now())}
        now = await self._client.get(resources.PODS, key.name, key.namespace)
        if objects.deleting(now) or objects.uid(now) != objects.uid(pod) or pods.finished(now):
            return DONE
        await self._client.patch(resources.PODS, key, {"status": {
            "phase": "Failed" if fails else "Succeeded" if job_name else "Running", "podIP": "127.1.0.1",
            "conditions": [ready]}}, subresource="status")
        if job_name and fails:
            self._world.failures.setdefault(job_name, set()).add(objects.uid(pod))
        return DONE


def deployment(name: str, replicas: int, image: str = "web:1") -> Object:
    made = build.deployment(replicas, image)
    made["metadata"] = {"name": name, "namespace": "default"}
    made["spec"]["selector"] = {"matchLabels": {"app": name}}
    made["spec"]["template"]["metadata"] = {"labels": {"app": name}}
    return made


def stateful_set(name: str, replicas: int, image: str = "db:0") -> Object:
    template = {"metadata": {"labels": {"set": name}}, "spec": {"containers": [{"name": "main", "image": image}]}}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"set": name}}, "template": template}}


def job(name: str) -> Object:
    made = build.job(completions=3, parallelism=2, backoffLimit=100)
    made["metadata"] = {"name": name, "namespace": "default"}
    return made


def check(world: World) -> None:
    """What must be so when all is calm."""
    api = world.api
    sets, found = api.all(resources.REPLICA_SETS.path()), api.all(resources.PODS.path())
    uids = {objects.uid(obj) for path in api.collections() for obj in api.all(path)}
    for obj in [*sets, *found]:
        assert all(ref["uid"] in uids for ref in objects.meta(obj).get("ownerReferences") or ()), obj
        assert not objects.deleting(obj), obj
    for made in api.all(resources.DEPLOYMENTS.path()):
        mine = [pod for pod in found if objects.labels(pod).get("app") == objects.name(made)]
        wanted = made["spec"]["replicas"]
        images = {pod["spec"]["containers"][0]["image"] for pod in mine}
        assert len(mine) == wanted, f"{objects.key(made)} wants {wanted}, has {len(mine)}"
        assert images <= {made["spec"]["template"]["spec"]["containers"][0]["image"]}
        status = objects.status(made)
        assert status.get("availableReplicas", 0) == status.get("updatedReplicas", 0) == wanted
        assert status["observedGeneration"] == objects.generation(made)
    for made in api.all(resources.STATEFUL_SETS.path()):
        mine = [pod for pod in found if objects.labels(pod).get("set") == objects.name(made)]
        assert sorted(map(objects.name, mine)) == [f"{objects.name(made)}-{n}" for n in range(made["spec"]["replicas"])]
        assert {pod["spec"]["containers"][0]["image"] for pod in mine} <= {
            made["spec"]["template"]["spec"]["containers"][0]["image"]}
        status = objects.status(made)
        assert status["currentRevision"] == status["updateRevision"] and status["replicas"] == len(mine)
    assert not [pod for pod in found if job_pods.TRACKING in objects.finalizers(pod)], "all are counted"
    for made in api.all(resources.JOBS.path()):
        assert conditions.is_true(made, "Complete"), made
        assert objects.status(made)["succeeded"] == 3 and not objects.status(made)["uncountedTerminatedPods"]
        done = [pod for pod in found if objects.labels(pod).get("job-name") == objects.name(made)
                and pods.phase(pod) == "Succeeded"]
        assert len(done) <= 3, "no Pod too many was run to its end"
        assert objects.status(made).get("failed", 0) == len(world.failures.get(objects.name(made), ())), "none twice"


@pytest.mark.parametrize("seed", SEEDS)
async def test_after_any_storm_the_cluster_is_what_was_asked_for(seed: int) -> None:
    print(f"seed {seed}")
    world = World(seed)
    await world.start()
    world.api.fault = world.fault
    for _ in range(STORM_STEPS):
        await world.act()
    await world.calm()
    check(world)
    world.api.writes.clear()
    await world.advance(700)
    assert world.api.writes == [], "at rest nothing is written"
    await world.stop()
