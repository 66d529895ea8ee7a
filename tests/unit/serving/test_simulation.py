"""A service's life by a seed: specs change, writes fail, Pods come and go; what is promised holds at every step.

The seed is in the test's name. A small stand-in does what the Deployment controller does, one Pod a step.
"""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from lightship import errors
from lightship.domains.serving import kinds
from lightship.kube import conditions, objects
from lightship.kube.objects import Object
from lightship.kube.resources import DEPLOYMENTS, PODS
from lightship.testing.memory import Write
from tests.unit.serving.world import KEY, World, new_world, service

STEPS = 40
LIMIT_SETTLING = 120


class Life:
    """One world and its chance."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self._number = 0

    async def step(self) -> None:
        """Something happens, then the reconciler looks, and perhaps fails half way."""
        await self.chance.choice((self._user, self._pods, self._pods, self._pods, self._crash))()
        fails_at = self.chance.randrange(1, 6) if self.chance.random() < 0.3 else 0
        await self.look(fails_at)

    async def look(self, fails_at: int = 0) -> None:
        count = 0

        def fault(write: Write) -> errors.LightshipError | None:
            nonlocal count
            count += 1
            return errors.Unavailable("induced") if count == fails_at else None

        self.world.api.fault = fault if fails_at else None
        with contextlib.suppress(errors.Unavailable):
            await self.world.reconcile()
        self.world.api.fault = None
        if not fails_at:
            self.check()

    def check(self) -> None:
        """After a whole pass: the route leads to ready Pods only, and to some where there are any to lead to."""
        if conditions.is_true(self.world.find(kinds.INFERENCE_SERVICES, "iris"), "Stopped"):
            return
        ready = {f"{objects.status(pod)['podIP']}:8080": pod for pod in self._all(PODS) if _is_ready(pod)}
        backends = self.world.route()["backends"]
        reached = {endpoint for each in backends for endpoint in each["endpoints"]}
        assert reached <= set(ready), "the route leads to Pods that are not there"
        old = {endpoint for endpoint, pod in ready.items() if objects.labels(pod)["app"].endswith("iris-predictor")}
        if old:
            assert any(each["weight"] and each["endpoints"] for each in backends), (backends, sorted(ready))

    async def settle(self) -> None:
        """All Pods become ready, and nothing else happens."""
        for _ in range(LIMIT_SETTLING):
            moved = await self._pods(certain=True)
            await self.look()
            if not moved and not self.world.writes():
                return
        raise AssertionError("it does not come to rest")

    async def _user(self) -> None:
        version = self.chance.randrange(3)
        predictor: dict[str, Any] = {"sklearn": {"storageUri": f"minio://m/{version}"},
                                     "minReplicas": self.chance.choice((1, 1, 2))}
        if self.chance.random() < 0.5:
            predictor["canaryTrafficPercent"] = self.chance.choice((0, 10, 50, 100))
        spec: dict[str, Any] = {}
        if self.chance.random() < 0.3:
            spec["canary"] = [{"trafficPercent": 20, "predictor": {
                "name": "v2", "sklearn": {"storageUri": "minio://m/7"}, "minReplicas": 1}}]
        elif self.chance.random() < 0.2:
            predictor["name"] = "v2"
        stop = {"serving.kserve.io/stop": "true"} if self.chance.random() < 0.1 else {}
        self.world.apply(service(predictor, spec, annotations=stop))

    async def _crash(self) -> None:
        """A Pod is lost."""
        pods = self._all(PODS)
        if pods:
            await self.world.remove(PODS, objects.name(self.chance.choice(pods)))

    def _all(self, resource: Any) -> list[Object]:
        return sorted(self.world.api.all(resource.path()), key=objects.name)

    async def _pods(self, *, certain: bool = False) -> bool:
        """One move of each Deployment's rolling update; whether there was one."""
        deployments = {objects.name(each): each for each in self._all(DEPLOYMENTS)}
        moved = False
        for pod in self._all(PODS):
            if objects.labels(pod)["app"].removeprefix("isvc.") not in deployments:
                await self.world.remove(PODS, objects.name(pod))
                moved = True
        for deployment in deployments.values():
            moved = await self._move(deployment, certain=certain) or moved
        return moved

    async def _move(self, deployment: Object, *, certain: bool) -> bool:
        template = deployment["spec"]["template"]
        revision = template["metadata"]["labels"]["lightship.dev/revision"]
        mine = [pod for pod in self._all(PODS)
                if objects.labels(pod)["app"] == template["metadata"]["labels"]["app"]]
        new = [pod for pod in mine if objects.labels(pod)["lightship.dev/revision"] == revision]
        old = [pod for pod in mine if pod not in new]
        wanted = deployment["spec"]["replicas"]
        waiting = [pod for pod in new if not _is_ready(pod)]
        if waiting:
            if certain or self.chance.random() < 0.6:
                self.world.insert(PODS, waiting[0] | {"status": waiting[0]["status"] | {
                    "conditions": [{"type": "Ready", "status": "True"}]}})
            return True
        if len(new) < wanted:
            self._number += 1
            self.world.pod(f"pod{self._number}", ready=False, ip=f"10.0.{self._number // 250}.{self._number % 250}",
                           deployment=objects.name(deployment))
            return True
        surplus = old or new[wanted:]
        if surplus:
            await self.world.remove(PODS, objects.name(surplus[0]))
        return bool(surplus)


def _is_ready(pod: Object) -> bool:
    return conditions.is_true(pod, "Ready")


async def live(seed: int) -> None:
    async with new_world() as world:
        life = Life(world, seed)
        world.apply(service({"sklearn": {"storageUri": "minio://m/0"}}))
        for _ in range(STEPS):
            await life.step()
        world.apply(service({"sklearn": {"storageUri": "minio://m/9"}}))
        await life.settle()
        status = world.status()
        assert world.condition("Ready")["status"] == "True", status
        names = {objects.name(each) for each in world.api.all(DEPLOYMENTS.path())}
        assert names == {"iris-predictor"}, names
        component = status["components"]["predictor"]
        assert component["latestRolledoutRevision"] == component["latestCreatedRevision"]
        (backend,) = world.route()["backends"]
        assert backend["weight"] == 100
        assert backend["endpoints"]
        await world.clock.advance(1000)
        await world.reconciler.reconcile(KEY)
        assert world.writes() == []


@pytest.mark.parametrize("seed", range(12))
async def test_a_life(seed: int) -> None:
    await live(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
async def test_many_lives(seed: int) -> None:
    await live(seed)
