"""The scheduler's book against one that is made anew, after every one of many random changes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lightship.cluster.builtin.scheduling.facts import NodeFacts, PodFacts
from lightship.cluster.builtin.scheduling.model import Model
from lightship.kube import objects
from lightship.kube.objects import Object
from tests.unit.builtin import build

STEPS = 250


class World:
    """Pods and nodes as a server has them, and the model that hears of every change."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.model = Model()
        self.pods: dict[str, Object] = {}
        self.nodes: dict[str, Object] = {}
        self.assumed: dict[str, str] = {}
        self._made = 0

    def step(self) -> None:
        self.random.choice((self.create, self.create, self.bind, self.assume, self.finish, self.delete, self.status,
                            self.label, self.replace, self.add_node, self.remove_node, self.heartbeat))()

    def _put(self, name: str, new: Object | None) -> None:
        old = self.pods.get(name)
        if new is None:
            self.pods.pop(name, None)
        else:
            self.pods[name] = new
        self.model.pod_changed(old, new)

    def _pick(self, *, bound: bool) -> str | None:
        found = [name for name, pod in self.pods.items() if bool(pod["spec"].get("nodeName")) == bound]
        return self.random.choice(found) if found else None

    def _pod(self, name: str) -> Object:
        self._made += 1
        made = build.pod(name, requests={"cpu": f"{self.random.randint(1, 4) * 100}m"}, labels={"app": "x"})
        made["metadata"]["uid"] = f"uid-{self._made}"
        if self.random.random() < 0.1:
            made["spec"]["schedulingGates"] = [{"name": "g"}]
        return made

    def create(self) -> None:
        name = f"p{self.random.randint(0, 30)}"
        if name not in self.pods:
            self._put(name, self._pod(name))

    def replace(self) -> None:
        """Deleted and made anew while nobody looked."""
        if self.pods:
            name = self.random.choice(list(self.pods))
            self.assumed.pop(objects.uid(self.pods[name]), None)
            self._put(name, self._pod(name))

    def bind(self) -> None:
        name = self._pick(bound=False)
        if name is None:
            return
        pod = self.pods[name]
        node = self.assumed.pop(objects.uid(pod), f"n{self.random.randint(0, 4)}")
        self._put(name, pod | {"spec": pod["spec"] | {"nodeName": node}})

    def assume(self) -> None:
        waiting = list(self.model.waiting.values())
        if waiting and self.nodes:
            pod, node = self.random.choice(waiting), self.random.choice(list(self.nodes))
            self.assumed[pod.uid] = node
            self.model.assume(pod, node)

    def finish(self) -> None:
        name = self._pick(bound=True)
        if name is not None:
            self._put(name, self.pods[name] | {"status": {"phase": "Succeeded"}})

    def status(self) -> None:
        if self.pods:
            name = self.random.choice(list(self.pods))
            status = self.pods[name]["status"] | {"n": self.random.random()}
            self._put(name, self.pods[name] | {"status": status})

    def label(self) -> None:
        if self.pods:
            name = self.random.choice(list(self.pods))
            metadata = self.pods[name]["metadata"] | {"labels": {"app": str(self.random.random())}}
            self._put(name, self.pods[name] | {"metadata": metadata})

    def delete(self) -> None:
        if self.pods:
            name = self.random.choice(list(self.pods))
            self.assumed.pop(objects.uid(self.pods[name]), None)
            self._put(name, None)

    def add_node(self) -> None:
        self._node(f"n{self.random.randint(0, 4)}", build.node(f"n{self.random.randint(0, 4)}"))

    def _node(self, name: str, made: Object) -> None:
        made["metadata"]["name"] = name
        old, self.nodes[name] = self.nodes.get(name), made
        self.model.node_changed(old, made)

    def heartbeat(self) -> None:
        if self.nodes:
            name = self.random.choice(list(self.nodes))
            made = build.node(name, cpu=str(self.random.choice((4, 4, 8))))
            made["spec"]["unschedulable"] = self.random.random() < 0.2
            self._node(name, made)

    def remove_node(self) -> None:
        if self.nodes and self.random.random() < 0.3:
            name = self.random.choice(list(self.nodes))
            self.model.node_changed(self.nodes.pop(name), None)

    def expected(self) -> dict[str, Any]:
        """What the nodes hold, counted from the objects alone."""
        fresh = {name: NodeFacts(node=node) for name, node in self.nodes.items()}
        for pod in self.pods.values():
            place = pod["spec"].get("nodeName") or self.assumed.get(objects.uid(pod))
            if place in fresh and pod["status"].get("phase") not in ("Succeeded", "Failed"):
                fresh[place].take(PodFacts(pod))
        return {name: (sorted(node.pods), _nonzero(node.used)) for name, node in fresh.items()}


def _nonzero(amounts: dict[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount}


@pytest.mark.parametrize("seed", (1, 2, 3, 5, 8, 13, 21))
def test_the_book_is_right_after_every_change(seed: int) -> None:
    world = World(seed)
    for step in range(STEPS):
        world.step()
        found = {name: (sorted(node.pods), _nonzero(node.used)) for name, node in world.model.nodes.items()}
        assert found == world.expected(), f"seed {seed}, step {step}"
        ours = {objects.uid(pod) for pod in world.pods.values() if PodFacts(pod).ours()} - world.assumed.keys()
        assert set(world.model.waiting) == ours, f"seed {seed}, step {step}"
    for name in list(world.pods):
        world._put(name, None)
    assert not world.model.waiting and not world.model.gated
    assert all(not node.pods for node in world.model.nodes.values()) and not world.model._homeless
