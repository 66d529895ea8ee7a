"""Gangs: Pods of one PodGroup that wait together, in the order in which they are tried. Pure; ``decide`` calls me.

What matters more comes first; then who has lost a member and cannot go on without; then who has waited longer than its
group's ``scheduleTimeoutSeconds``, the oldest first; then whoever's namespace holds least of the cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from lightship.cluster.builtin import pods
from lightship.cluster.builtin.scheduling.facts import POD_SLOTS, Amounts, Group, Landscape, NodeFacts, PodFacts
from lightship.cluster.builtin.scheduling.filters import Question
from lightship.kube import objects, quantities, times
from lightship.kube.objects import Key

INCOMPLETE_SECONDS = 5.0
"""So long a gang may lack Pods that nobody has made yet before its Pods say so: whoever makes them is at it."""


@dataclass(kw_only=True)
class Gang:
    """The members of one group that wait. ``present`` others have a node, or have succeeded."""

    key: Key
    group: Group | None
    members: tuple[PodFacts, ...]
    present: int
    overdue: bool
    lately: bool
    """Whether its youngest member has only just been made."""

    @cached_property
    def priority(self) -> int:
        return max(pod.priority for pod in self.members)

    @cached_property
    def created(self) -> str:
        return min(pods.created(pod.pod) for pod in self.members)

    @cached_property
    def rank(self) -> tuple[int, bool, bool]:
        """What comes before whose turn it is among equals: priority, a broken gang, one that is overdue."""
        return (-self.priority, not self.broken, not self.overdue)

    @property
    def shape(self) -> tuple[bytes, int, int] | None:
        """Equal for gangs that fare alike in one pass; None where that cannot be told beforehand."""
        first = self.members[0].shape
        if first is None or any(pod.shape != first for pod in self.members):
            return None
        return (first, len(self.members), self.needed)

    @property
    def needed(self) -> int:
        """So many of the members must be placed for any to be; none where the group runs already."""
        return max(0, self.group.min_member - self.present) if self.group is not None else len(self.members)

    @property
    def broken(self) -> bool:
        """Some of it runs, and waits for those that it lost."""
        return self.present > 0 and self.needed > 0

    @property
    def lacking(self) -> int:
        """Pods that nobody has made yet."""
        return max(0, self.needed - len(self.members))

    def wants(self) -> Amounts:
        """What the members that are needed ask for together."""
        return _sum(self.members[:max(self.needed, 1)])


class Queue:
    """Gangs one by one; ``placed`` tells me what a namespace has been given meanwhile."""

    def __init__(self, gangs: Iterable[Gang], land: Landscape) -> None:
        self._lines: dict[str, deque[Gang]] = {}
        for gang in sorted(gangs, key=lambda gang: (*gang.rank, gang.created, gang.key)):
            self._lines.setdefault(gang.key.namespace, deque()).append(gang)
        self._capacity = _sum_amounts(node.capacity for node in land.nodes.values())
        self._held: dict[str, Amounts] = {}
        if len(self._lines) > 1:
            for _, pod in land.placed():
                self.placed((pod,))

    def head(self) -> Gang | None:
        """Whose turn it is."""
        if not self._lines:
            return None
        return min((line[0] for line in self._lines.values()), key=self._order)

    def pop(self) -> Gang:
        gang = self.head()
        assert gang is not None, "only asked while there are any"
        line = self._lines[gang.key.namespace]
        line.popleft()
        if not line:
            del self._lines[gang.key.namespace]
        return gang

    def placed(self, given: Iterable[PodFacts]) -> None:
        for pod in given:
            held = self._held.setdefault(pod.key.namespace, {})
            for name, amount in pod.requests.items():
                held[name] = held.get(name, 0) + amount

    def _order(self, gang: Gang) -> tuple[int, bool, bool, float, str, Key]:
        share = 0.0 if gang.overdue else self._share(gang.key.namespace)
        return (*gang.rank, share, gang.created, gang.key)

    def _share(self, namespace: str) -> float:
        """How much of the resource that it holds most of, as a part of the cluster's."""
        held = self._held.get(namespace) or {}
        return max((amount / self._capacity[name] for name, amount in held.items() if self._capacity.get(name)),
                   default=0.0)


def gather(waiting: Iterable[PodFacts], land: Landscape, now: datetime) -> list[Gang]:
    """The gangs among ``waiting``, all of whose Pods have a group."""
    found: dict[Key, list[PodFacts]] = {}
    for pod in waiting:
        assert pod.group is not None
        found.setdefault(pod.group, []).append(pod)
    present: dict[Key, int] = {}
    if found:
        for _, pod in land.placed():
            if pod.group in found and not objects.deleting(pod.pod):
                present[pod.group] = present.get(pod.group, 0) + 1
    return [_gang(key, members, land.groups.get(key), present.get(key, 0), now) for key, members in found.items()]


def _gang(key: Key, members: list[PodFacts], group: Group | None, placed: int, now: datetime) -> Gang:
    members.sort(key=lambda pod: pod.order)
    stamps = [stamp for pod in members if (stamp := pods.created(pod.pod))]
    oldest, youngest = (_age_seconds(stamp, now) for stamp in (min(stamps, default=""), max(stamps, default="")))
    return Gang(key=key, group=group, members=tuple(members), present=placed + (group.done if group else 0),
                overdue=group is not None and oldest >= group.timeout_seconds,
                lately=youngest < INCOMPLETE_SECONDS)


def _age_seconds(stamp: str, now: datetime) -> float:
    return (now - times.parse(stamp)).total_seconds() if stamp else 0.0


def fit(members: Sequence[PodFacts], land: Landscape) -> dict[str, str] | None:
    """A node for each of the Pods (by uid), all of them on the landscape at once; None where they do not fit."""
    stage = land.copy()
    if short(_sum(members), stage):
        return None
    chosen: dict[str, str] = {}
    for pod in members:
        question = Question(pod, stage)
        node = next((node for node in _by_promise(pod, stage) if question.obstacle(node) is None), None)
        if node is None:
            return None
        node.take(pod)
        chosen[pod.uid] = node.name
    return chosen


def _by_promise(pod: PodFacts, land: Landscape) -> Iterable[NodeFacts]:
    return sorted(land.nodes.values(), key=lambda node: (node.name != pod.nominated, node.name))


def short(wanted: Mapping[str, int], land: Landscape) -> list[str]:
    """The resources of which the nodes have less free, all together, than is wanted."""
    free = free_of(wanted, land)
    return [name for name, amount in wanted.items() if amount > free[name]]


def free_of(names: Iterable[str], land: Landscape) -> Amounts:
    """What is free on all nodes together."""
    return {name: sum(node.free(name) for node in land.nodes.values()) for name in names}


def without_gangs(land: Landscape) -> Landscape:
    """The landscape as it would be, were no gang on it: what a gang may hope for in time."""
    stage = land.copy()
    for node in stage.nodes.values():
        for pod in [pod for pod in node.pods.values() if pod.group is not None]:
            node.release(pod)
    return stage


def shown(amounts: Mapping[str, int]) -> str:
    """``cpu 8, memory 4Gi``: what is asked for, less the places that every Pod takes."""
    named = [(name, amount) for name, amount in sorted(amounts.items()) if name != POD_SLOTS]
    return ", ".join(f"{name} {_amount(name, amount)}" for name, amount in named) or "no resources by name"


def _amount(name: str, thousandths: int) -> str:
    return quantities.canonical(Decimal(max(0, thousandths)) / 1000, binary=name != "cpu")


def _sum(members: Iterable[PodFacts]) -> Amounts:
    return _sum_amounts(pod.requests for pod in members)


def _sum_amounts(everything: Iterable[Mapping[str, int]]) -> Amounts:
    total: Amounts = {}
    for amounts in everything:
        for name, amount in amounts.items():
            total[name] = total.get(name, 0) + amount
    return total
