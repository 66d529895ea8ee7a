"""The plan of one pass: where each waiting Pod goes, who makes room for it, or why it waits. Pure.

``builtin.scheduler`` calls ``decide``. What one Pod gets another lacks, so they are decided one after the other, by
priority and age. Pods that fare alike are asked about once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightship.cluster.builtin.scheduling import preemption, scores, volumes
from lightship.cluster.builtin.scheduling.facts import POD_SLOTS, Landscape, NodeFacts, PodFacts
from lightship.cluster.builtin.scheduling.filters import Obstacle, Question
from lightship.kube.objects import Key

NO_NODES = "no nodes available to schedule pods"


@dataclass(frozen=True, kw_only=True)
class Binding:
    pod: PodFacts
    node: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A node for whose sake a volume is to be made; the Pod is bound once it is there."""

    pod: PodFacts
    node: str
    claims: tuple[Key, ...]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why ``pod`` waits, in a sentence; and, where others make room for it, on which ``node``, and who."""

    pod: PodFacts
    message: str
    node: str = ""
    victims: tuple[PodFacts, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    bindings: tuple[Binding, ...] = ()
    choices: tuple[Choice, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def decide(waiting: Iterable[PodFacts], land: Landscape) -> Plan:
    """Where the ``waiting`` Pods go; the same input gives the same plan. The landscape is left as it is."""
    stage = _Pass(land.copy())
    for pod in sorted(waiting, key=lambda pod: pod.order):
        stage.place(pod)
    return Plan(bindings=tuple(stage.bindings), choices=tuple(stage.choices), refusals=tuple(stage.refusals))


class _Pass:
    """The landscape as it fills up."""

    def __init__(self, land: Landscape) -> None:
        self._land = land
        self._refused: dict[bytes, str] = {}
        self.bindings: list[Binding] = []
        self.choices: list[Choice] = []
        self.refusals: list[Refusal] = []

    def place(self, pod: PodFacts) -> None:
        known = self._refused.get(pod.signature) if pod.signature is not None else None
        if known is not None:
            self.refusals.append(Refusal(pod=pod, message=known))
            return
        land = self._land
        blocked = (NO_NODES if not land.nodes else
                   f"0/{len(land.nodes)} nodes are available: {why}. preemption: "
                   + preemption.available(len(land.nodes), [preemption.NOT_HELPFUL] * len(land.nodes))
                   if (why := volumes.pod_obstacle(pod, land)) else "")
        if blocked:
            self.refusals.append(Refusal(pod=pod, message=blocked))
            return
        obstacles = self._try(pod)
        if obstacles is not None:
            self._refuse(pod, obstacles)

    def _try(self, pod: PodFacts) -> dict[str, Obstacle] | None:
        """Take the best node that does; else what is in the way on each."""
        land, question = self._land, Question(pod, self._land)
        obstacles: dict[str, Obstacle] = {}
        fitting: list[NodeFacts] = []
        for node in land.nodes.values():
            obstacle = question.obstacle(node)
            if obstacle is None:
                fitting.append(node)
            elif question.beyond(node) and not obstacle.final:
                obstacles[node.name] = Obstacle(reasons=obstacle.reasons, final=True)
            else:
                obstacles[node.name] = obstacle
        if not fitting:
            return obstacles
        promised = next((node for node in fitting if node.name == pod.nominated), None)
        chosen = promised or scores.best(pod, fitting, land)
        chosen.take(pod)
        claims = volumes.unbound(pod, land) if pod.claims else ()
        if claims:
            self.choices.append(Choice(pod=pod, node=chosen.name, claims=claims))
        else:
            self.bindings.append(Binding(pod=pod, node=chosen.name))
        return None

    def _refuse(self, pod: PodFacts, obstacles: dict[str, Obstacle]) -> None:
        land = self._land
        answer = preemption.find(pod, land, obstacles)
        head = preemption.available(len(land.nodes), [reason for obstacle in obstacles.values()
                                                      for reason in obstacle.reasons])
        if answer.eviction is not None:
            node = land.nodes[answer.eviction.node]
            for victim in answer.eviction.victims:
                node.release(victim)
            node.take(pod)  # the room is promised to it: nobody of this pass gets it
            self.refusals.append(Refusal(pod=pod, message=head, node=node.name, victims=answer.eviction.victims))
            return
        message = f"{head} preemption: {answer.message}"
        if answer.leaving:
            land.nodes[pod.nominated].take(pod)
        elif pod.signature is not None:
            self._refused[pod.signature] = message
        self.refusals.append(Refusal(pod=pod, message=message, node=pod.nominated if answer.leaving else ""))


def devices(pod: PodFacts, node: NodeFacts, taken: Iterable[dict[str, list[int]]]) -> dict[str, list[int]]:
    """The numbers of the devices for the Pod: the lowest that nobody on the node has. Resources other than those that
    are countable everywhere (``vendor.example/thing``) have none."""
    given: dict[str, list[int]] = {}
    others = list(taken)
    for name, amount in pod.requests.items():
        if "/" not in name or name == POD_SLOTS or name.startswith("hugepages"):
            continue
        used = {number for one in others for number in one.get(name, ())}
        free = [number for number in range(node.capacity.get(name, 0) // 1000) if number not in used]
        given[name] = free[:amount // 1000]
    return given
