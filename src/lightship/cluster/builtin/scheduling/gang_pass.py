"""The part of a pass that places gangs: all members that a group needs, or none. Pure; ``decide`` calls me.

A gang that fits is placed at once. One that does not is told why; once it is overdue, and would fit were no gang there,
those of its priority and below wait behind it, so that small ones do not keep it out for ever. One that would not fit
even so holds nobody up.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship.cluster.builtin.scheduling import gang_preemption, gangs, preemption
from lightship.cluster.builtin.scheduling.facts import PodFacts
from lightship.cluster.builtin.scheduling.filters import Obstacle
from lightship.cluster.builtin.scheduling.gangs import Gang, Queue
from lightship.cluster.builtin.scheduling.plan import Refusal, Verdict
from lightship.cluster.builtin.scheduling.pod_pass import Pass


class GangPass:
    """``head`` says whose turn it is and ``place`` decides it, on the same landscape as the Pods' own pass."""

    def __init__(self, stage: Pass, waiting: Iterable[Gang]) -> None:
        self._stage = stage
        self._queue = Queue(waiting, stage.land)
        guarded = any(node.guarded for node in stage.land.nodes.values())
        self._refused: dict[tuple[bytes, int, int], tuple[str, str]] | None = None if guarded else {}
        """What was said to gangs of a shape in this pass: it only fills up. None where labels matter, too."""
        self._holder: Gang | None = None
        """Behind whom the others wait."""
        self.verdicts: list[Verdict] = []
        self.look_again_seconds: float | None = None

    def head(self) -> Gang | None:
        return self._queue.head()

    def place(self) -> None:
        """Decide the gang whose turn it is."""
        gang = self._queue.pop()
        if gang.group is None:
            self._refuse(gang, f'PodGroup "{gang.key}" is not there: its Pods wait until it is made')
        elif gang.lacking:
            self._wait_for_members(gang)
        elif self._holder is not None and not gang.broken and gang.priority <= self._holder.priority:
            self._refuse(gang, f'PodGroup "{gang.key}" waits behind PodGroup "{self._holder.key}", which has waited '
                               "longer than its scheduleTimeoutSeconds")
        else:
            self._try(gang)

    def _wait_for_members(self, gang: Gang) -> None:
        if gang.lately:
            self.look_again_seconds = gangs.INCOMPLETE_SECONDS
            return
        there = len(gang.members) + gang.present
        assert gang.group is not None
        self._refuse(gang, f'PodGroup "{gang.key}" waits until {gang.group.min_member} of its Pods are there '
                           f"(minMember): {there} are")

    def _try(self, gang: Gang) -> None:
        known = self._refused.get(shape) if self._refused and (shape := gang.shape) is not None else None
        if known is not None:
            self._wait_for_room(gang, known)
            return
        stage = self._stage
        blocked = next((why for pod in gang.members if (why := stage.blocked(pod))), "")
        if blocked:
            self._refuse(gang, f'{_all_of(gang)} wait together: {blocked}')
            return
        bindings, choices = len(stage.bindings), len(stage.choices)
        placed, failed = self._place_members(gang)
        if len(placed) < gang.needed:
            for pod in placed:
                stage.land.release(pod)
            del stage.bindings[bindings:], stage.choices[choices:]
            self._make_room(gang, failed)
            return
        if len(stage.choices) > choices:
            del stage.bindings[bindings:]  # volumes first: then all of them are bound at once
        self._queue.placed(placed)
        for pod, obstacles in failed:
            stage.refusals.append(Refusal(pod=pod, message=f'PodGroup "{gang.key}" has as many Pods as it needs; this '
                                                           f"one waits for room: {self._summary(obstacles)}"))
        self.verdicts.append(Verdict(group=gang.key))

    def _place_members(self, gang: Gang) -> tuple[list[PodFacts], list[tuple[PodFacts, dict[str, Obstacle]]]]:
        """Who found a node, and what is in the others' way; given up once too few are left."""
        placed: list[PodFacts] = []
        failed: list[tuple[PodFacts, dict[str, Obstacle]]] = []
        for pod in gang.members:
            obstacles = self._stage.attempt(pod)
            if obstacles is None:
                placed.append(pod)
                continue
            failed.append((pod, obstacles))
            if len(gang.members) - len(failed) < gang.needed:
                break
        return placed, failed

    def _make_room(self, gang: Gang, failed: list[tuple[PodFacts, dict[str, Obstacle]]]) -> None:
        """Have others leave for it, or tell it why it waits."""
        land, members = self._stage.land, gang.members[:gang.needed]
        why = self._summary(failed[0][1])
        clearing = gang_preemption.find(members, gang.priority, land)
        if clearing is None:
            wanted = gang.wants()
            told = (f" wait until they fit together, wanting {gangs.shown(wanted)}: {why}",
                    f" Free when told: {gangs.shown(gangs.free_of(wanted, land))}.")
            if self._refused is not None and (shape := gang.shape) is not None:
                self._refused[shape] = told
            self._wait_for_room(gang, told)
            return
        for victim in clearing.victims:
            land.release(victim)
        for pod in members:
            if pod.uid in clearing.nodes:
                land.nodes[clearing.nodes[pod.uid]].take(pod)  # promised: nobody of this pass gets it
        message = f"{_all_of(gang)} wait for others to leave: {why}"
        for place, pod in enumerate(members):
            self._stage.refusals.append(Refusal(
                pod=pod, message=message, node=clearing.nodes.get(pod.uid, ""),
                victims=clearing.victims if place == 0 else ()))
        self.verdicts.append(Verdict(group=gang.key, message=message, lasting=message))

    def _wait_for_room(self, gang: Gang, told: tuple[str, str]) -> None:
        lasting = f"{_all_of(gang)}{told[0]}"
        self._refuse(gang, lasting + told[1], lasting)
        if gang.overdue and self._holder is None and gangs.fit(
                gang.members[:gang.needed], gangs.without_gangs(self._stage.land)) is not None:
            self._holder = gang

    def _refuse(self, gang: Gang, message: str, lasting: str = "") -> None:
        self._stage.refusals += [Refusal(pod=pod, message=message, lasting=lasting) for pod in gang.members]
        self.verdicts.append(Verdict(group=gang.key, message=message, lasting=lasting or message))

    def _summary(self, obstacles: dict[str, Obstacle]) -> str:
        return preemption.available(len(self._stage.land.nodes), [
            reason for obstacle in obstacles.values() for reason in obstacle.reasons])


def _all_of(gang: Gang) -> str:
    return f'PodGroup "{gang.key}": all {gang.needed} Pods' if gang.needed != 1 else f'PodGroup "{gang.key}": its Pod'
