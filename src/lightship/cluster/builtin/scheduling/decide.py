"""The plan of one pass: where each waiting Pod goes, who makes room for it, or why it waits. Pure.

``builtin.scheduler`` calls ``decide``. What one Pod gets another lacks, so they are decided one after the other, by
priority and age. Pods that fare alike are asked about once (``pod_pass``); Pods of one PodGroup are decided as one
(``gang_pass``), in the order that ``gangs`` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from lightship.cluster.builtin.scheduling import gangs
from lightship.cluster.builtin.scheduling.facts import POD_SLOTS, Landscape, NodeFacts, PodFacts
from lightship.cluster.builtin.scheduling.gang_pass import GangPass
from lightship.cluster.builtin.scheduling.plan import Plan
from lightship.cluster.builtin.scheduling.pod_pass import Pass


def decide(waiting: Iterable[PodFacts], land: Landscape, now: datetime) -> Plan:
    """Where the ``waiting`` Pods go; the same input gives the same plan. The landscape is left as it is."""
    stage = Pass(land.copy())
    everyone = sorted(waiting, key=lambda pod: pod.order)
    singles = [pod for pod in everyone if pod.group is None]
    together = GangPass(stage, gangs.gather([pod for pod in everyone if pod.group is not None], land, now))
    for pod in singles:
        while (gang := together.head()) is not None and (-gang.priority, gang.created) < pod.order[:2]:
            together.place()
        stage.place(pod)
    while together.head() is not None:
        together.place()
    return Plan(bindings=tuple(stage.bindings), choices=tuple(stage.choices), refusals=tuple(stage.refusals),
                verdicts=tuple(together.verdicts), look_again_seconds=together.look_again_seconds)


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
