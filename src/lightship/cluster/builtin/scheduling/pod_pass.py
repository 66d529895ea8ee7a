"""One pass over the landscape as it fills up, Pod by Pod. Pure; ``decide`` and ``gang_pass`` call me."""

from __future__ import annotations

from lightship.cluster.builtin.scheduling import preemption, scores, volumes
from lightship.cluster.builtin.scheduling.facts import Landscape, NodeFacts, PodFacts
from lightship.cluster.builtin.scheduling.filters import Obstacle, Question
from lightship.cluster.builtin.scheduling.plan import Binding, Choice, Refusal

NO_NODES = "no nodes available to schedule pods"


class Pass:
    """The landscape as it fills up, and what comes of it."""

    def __init__(self, land: Landscape) -> None:
        self.land = land
        self._refused: dict[bytes, str] = {}
        self.bindings: list[Binding] = []
        self.choices: list[Choice] = []
        self.refusals: list[Refusal] = []

    def place(self, pod: PodFacts) -> None:
        known = self._refused.get(pod.signature) if pod.signature is not None else None
        if known is not None:
            self.refusals.append(Refusal(pod=pod, message=known))
            return
        blocked = self.blocked(pod)
        if blocked:
            self.refusals.append(Refusal(pod=pod, message=blocked))
            return
        obstacles = self.attempt(pod)
        if obstacles is not None:
            self._refuse(pod, obstacles)

    def blocked(self, pod: PodFacts) -> str:
        """Why it cannot go anywhere, whatever the nodes have; empty where it can."""
        land = self.land
        if not land.nodes:
            return NO_NODES
        why = volumes.pod_obstacle(pod, land)
        return (f"0/{len(land.nodes)} nodes are available: {why}. preemption: "
                + preemption.available(len(land.nodes), [preemption.NOT_HELPFUL] * len(land.nodes)) if why else "")

    def attempt(self, pod: PodFacts) -> dict[str, Obstacle] | None:
        """Take the best node that does; else what is in the way on each."""
        land, question = self.land, Question(pod, self.land)
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
        land = self.land
        answer = preemption.find(pod, land, obstacles)
        head = preemption.available(len(land.nodes), [reason for obstacle in obstacles.values()
                                                      for reason in obstacle.reasons])
        if answer.eviction is not None:
            node = land.nodes[answer.eviction.node]
            for victim in answer.eviction.victims:
                land.release(victim)
            node.take(pod)  # the room is promised to it: nobody of this pass gets it
            self.refusals.append(Refusal(pod=pod, message=head, node=node.name, victims=answer.eviction.victims))
            return
        message = f"{head} preemption: {answer.message}"
        if answer.leaving:
            land.nodes[pod.nominated].take(pod)
        elif pod.signature is not None:
            self._refused[pod.signature] = message
        self.refusals.append(Refusal(pod=pod, message=message, node=pod.nominated if answer.leaving else ""))
