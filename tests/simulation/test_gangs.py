"""Seeded storms over trainings that want more than the node has: crashes at any write, lost watches, Pods taken away.

A training's Pods work only while all of them do, so one that got half of what it needs would hold that for ever. When
the storm is over every training has run to its end, and at no time was there more on the node than it has.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from lightship import errors
from lightship.cluster import builtin
from lightship.cluster.builtin import pods
from lightship.domains.training import EMBEDDED, TRAINING, TrainingDeps, kinds
from lightship.kube import conditions, objects, resources
from lightship.kube.objects import Key, Object
from lightship.lib import ids
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager, ManagerOptions
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi, Write
from tests.unit.builtin import build
from tests.unit.training.objects_of import cluster_runtime, train_job

SEEDS = range(8)
STORM_STEPS, LIMIT_CALM_STEPS = 50, 150
CPUS, NAMESPACES, TRAININGS = 4, ("a", "b"), 8
GROUP = "scheduling.x-k8s.io/pod-group"


class World:
    """One server and one manager at a time; a restart throws the manager and all that it knew away."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = FakeClock()
        self.api = MemoryApi(self.clock, ids.SeededIds(seed))
        self.client = self.api.client()
        self.made = 0
        self.node = build.node(cpu=str(CPUS), pods="1000")
        self.api.insert(resources.NODES.path(), self.node)
        for name in NAMESPACES:
            self.api.insert(resources.NAMESPACES.path(), {
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.api.insert(kinds.CLUSTER_TRAINING_RUNTIMES.path(), cluster_runtime("plain-distributed"))
        self._run: asyncio.Task[None] | None = None
        self.manager = self._manager()

    def _manager(self) -> Manager:
        manager = Manager(self.api.client, self.clock, options=ManagerOptions(random=self.dice.random))
        client = manager.client_for("training")
        for controller in TRAINING.controllers(TrainingDeps(
                client=client, informer=manager.informer, recorder=Recorder(client, "training", self.clock),
                clock=self.clock, site=EMBEDDED)):
            manager.add(controller)
        for controller in builtin.controllers(builtin.Deps(
                manager=manager, resources=build.KINDS, ca_pem="CA", clock=self.clock,
                id_source=ids.SeededIds(self.dice.randrange(10**6)))):
            if controller.name != "node-controller":  # this node has no heart that beats
                manager.add(controller)
        manager.add(Kubelet(manager).controller())
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

    def fault(self, write: Write) -> errors.LightshipError | None:
        roll = self.dice.random()
        if roll < 0.1:
            return errors.Unavailable("induced")
        return errors.Conflict("induced") if roll < 0.15 else None

    async def act(self) -> None:
        """One thing that a user, the network or fate does."""
        action = self.dice.choice(("train", "train", "end", "end", "take", "break", "stall", "forget", "crash", "wait"))
        try:
            if action == "train" and self.made < TRAININGS:
                await self.train()
            elif action == "end":
                await self.end_one()
            elif action == "take" and (there := self.active()):
                await self.client.delete(resources.PODS, objects.key(self.dice.choice(there)))
            elif action == "break":
                self.api.break_watches()
            elif action == "stall":
                self.api.stall_watches()
            elif action == "forget":
                self.api.forget_history()
            elif action == "crash":
                await self.crash()
        except errors.LightshipError:
            return  # a user's request may fail like any other
        finally:
            await self.clock.advance(self.dice.random() * 20)
            if action != "stall" and self.dice.random() < 0.5:
                self.api.resume_watches()

    async def train(self) -> None:
        """A training of one to four nodes with a processor each."""
        self.made += 1
        job = train_job({"numNodes": self.dice.randint(1, CPUS), "resourcesPerNode": {"requests": {"cpu": "1"}}},
                        runtime="plain-distributed")
        job["metadata"] = {"name": f"t{self.made}", "namespace": self.dice.choice(NAMESPACES)}
        await self.client.create(kinds.TRAIN_JOBS, job)

    def active(self) -> list[Object]:
        return [pod for pod in self.api.all(resources.PODS.path()) if pods.active(pod)]

    async def end_one(self) -> None:
        """A training of which all Pods are at work comes to its end."""
        running: dict[Key, list[Object]] = {}
        done: dict[Key, int] = {}
        for pod in self.api.all(resources.PODS.path()):
            key = Key(objects.namespace(pod), objects.labels(pod)[GROUP])
            done[key] = done.get(key, 0) + (pods.phase(pod) == "Succeeded")
            if pods.active(pod) and pods.phase(pod) == "Running":
                running.setdefault(key, []).append(pod)
        groups = {objects.key(group): group["spec"]["minMember"]
                  for group in self.api.all(resources.POD_GROUPS.path())}
        whole = sorted(key for key, members in running.items() if len(members) + done[key] >= groups.get(key, 99))
        if not whole:
            return
        for pod in running[self.dice.choice(whole)]:
            await self.client.patch(resources.PODS, objects.key(pod), {"status": {"phase": "Succeeded"}},
                                    subresource="status")

    def check(self) -> None:
        """What holds at any time."""
        placed = [pod for pod in self.active() if objects.spec(pod).get("nodeName")]
        assert len(placed) <= CPUS, [objects.name(pod) for pod in placed]

    def unfinished(self) -> list[str]:
        return [str(objects.key(job)) for job in self.api.all(kinds.TRAIN_JOBS.path())
                if not conditions.is_true(job, "Complete") and not conditions.is_true(job, "Failed")]


class Kubelet:
    """Runs what is bound, and lets go of what is deleted."""

    def __init__(self, manager: Manager) -> None:
        self._pods = manager.informer(resources.PODS)
        self._client = manager.client_for("kubelet")

    def controller(self) -> Controller:
        return Controller(name="kubelet", reconciler=self, watches=(Watch(resource=resources.PODS),))

    async def reconcile(self, key: Key) -> Result:
        pod = self._pods.get(key)
        if pod is None or not objects.spec(pod).get("nodeName") or objects.deleting(pod):
            return DONE
        if objects.status(pod).get("phase", "Pending") == "Pending":
            await self._client.patch(resources.PODS, key, {
                "metadata": {"resourceVersion": objects.meta(pod)["resourceVersion"]},
                "status": {"phase": "Running", "podIP": "127.1.0.1"}}, subresource="status")
        return DONE


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_training_gets_its_turn_whole(seed: int) -> None:
    print(f"seed {seed}")
    world = World(seed)
    await world.start()
    world.api.fault = world.fault
    for _ in range(STORM_STEPS):
        await world.act()
        world.check()
    world.api.fault = None
    world.api.resume_watches()
    for _ in range(LIMIT_CALM_STEPS):
        await world.clock.advance(30)
        world.check()
        if not world.unfinished():
            break
        await world.end_one()
    assert not world.unfinished()
    assert world.made
    await world.stop()
