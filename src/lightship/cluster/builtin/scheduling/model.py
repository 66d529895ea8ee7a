"""The scheduler's own book: nodes with what is taken of them, and who waits, kept current change by change.

``builtin.scheduler`` subscribes me to its informers, so that a pass costs what waits and not what runs. ``stirred``
says whether something has changed since the last pass that could help a Pod which waits: a pass is not made for less.
"""

from __future__ import annotations

from lightship.cluster.builtin import names, pods
from lightship.cluster.builtin.scheduling.facts import NodeFacts, PodFacts
from lightship.kube import objects
from lightship.kube.objects import Key, Object


class Model:
    """Subscribers get ``(old, new)`` as an informer tells them."""

    def __init__(self) -> None:
        self.stirred = False
        self.nodes: dict[str, NodeFacts] = {}
        self.waiting: dict[str, PodFacts] = {}
        """Those that are ours to place, by uid, less those that were placed just now."""
        self.gated: dict[str, PodFacts] = {}
        self._done: dict[Key, set[str]] = {}
        """Members of PodGroups that have succeeded, by uid."""
        self._homeless: dict[str, dict[str, PodFacts]] = {}
        """Pods on nodes that I have not heard of (yet), by the node's name."""
        self._assumed: dict[str, str] = {}
        """The node of each Pod (by uid) that was bound and that the informer still shows as waiting."""

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or (old is not None and objects.uid(old) != objects.uid(new)):
            if old is not None:
                self._gone(PodFacts(old))
            if new is None:
                return
        facts = PodFacts(new)
        if facts.node:
            self._bound(facts, old)
            return
        if facts.uid in self._assumed:
            return
        known = self.waiting.pop(facts.uid, None)
        self.gated.pop(facts.uid, None)
        if facts.ours():
            if known is not None and objects.spec(known.pod) == facts.spec and known.labels == facts.labels:
                known.pod = new  # only its status: nothing to try again for
                self.waiting[facts.uid] = known
                return
            self.waiting[facts.uid] = facts
            self.stirred = True
        elif facts.spec.get("schedulingGates") and pods.active(new):
            self.gated[facts.uid] = facts
            self.stirred = True

    def node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None and (gone := self.nodes.pop(objects.name(old), None)) is not None:
                if gone.pods:
                    self._homeless[gone.name] = gone.pods
                self.stirred = True
            return
        name = objects.name(new)
        fresh = NodeFacts(node=new)
        known = self.nodes.get(name)
        if known is not None and _same(known, fresh):
            known.node = new  # a heartbeat
            return
        inhabitants = known.pods if known is not None else self._homeless.pop(name, {})
        for pod in inhabitants.values():
            fresh.take(pod)
        self.nodes[name] = fresh
        self.stirred = True

    def group_changed(self, old: Object | None, new: Object | None) -> None:
        """A PodGroup came, went, or wants something else; its status is the scheduler's own."""
        changed = old is None or new is None or objects.spec(old) != objects.spec(new)
        if changed and any(pod.group is not None for pod in self.waiting.values()):
            self.stirred = True

    def done(self, group: Key) -> int:
        """How many members of the group have succeeded and are still there."""
        return len(self._done.get(group, ()))

    def surroundings_changed(self, old: Object | None, new: Object | None) -> None:
        """Of a claim, a volume, a class or a namespace: who waits may be waiting for that."""
        if self.waiting:
            self.stirred = True

    def assume(self, pod: PodFacts, node: str) -> None:
        """It was bound: count it there before the informer says so."""
        self._assumed[pod.uid] = node
        self.waiting.pop(pod.uid, None)
        place = self.nodes.get(node)
        if place is not None:
            place.take(pod)

    def _bound(self, facts: PodFacts, old: Object | None) -> None:
        self.waiting.pop(facts.uid, None)
        self.gated.pop(facts.uid, None)
        self._assumed.pop(facts.uid, None)
        node = self.nodes.get(facts.node)
        inhabitants = node.pods if node is not None else self._homeless.setdefault(facts.node, {})
        known = inhabitants.get(facts.uid)
        if facts.group is not None and pods.phase(facts.pod) == "Succeeded":
            self._done.setdefault(facts.group, set()).add(facts.uid)
        if pods.finished(facts.pod):
            if known is not None:
                self._leave(known, facts.node)
            elif node is None and not inhabitants:
                del self._homeless[facts.node]
            return
        if known is not None:
            if known.labels != facts.labels:
                self.stirred = True  # others may want to be beside it now, or need not avoid it
            known.pod = facts.pod
        elif node is not None:
            node.take(facts)
            self.stirred = True
        else:
            inhabitants[facts.uid] = facts

    def _gone(self, facts: PodFacts) -> None:
        self.waiting.pop(facts.uid, None)
        self.gated.pop(facts.uid, None)
        if facts.group in self._done:
            self._done[facts.group].discard(facts.uid)
            if not self._done[facts.group]:
                del self._done[facts.group]
        assumed = self._assumed.pop(facts.uid, "")
        for place in {facts.node, assumed} - {""}:
            self._leave(facts, place)

    def _leave(self, facts: PodFacts, place: str) -> None:
        node = self.nodes.get(place)
        if node is not None:
            if facts.uid in node.pods:
                node.release(facts)
                self.stirred = True
            return
        inhabitants = self._homeless.get(place, {})
        inhabitants.pop(facts.uid, None)
        if not inhabitants:
            self._homeless.pop(place, None)

    def devices(self, node: str) -> list[dict[str, list[int]]]:
        """What devices the Pods on a node have, as their annotations say."""
        place = self.nodes.get(node)
        return [names.devices(pod.pod) for pod in place.pods.values()] if place is not None else []


def _same(known: NodeFacts, fresh: NodeFacts) -> bool:
    return (known.capacity == fresh.capacity and known.labels == fresh.labels and known.taints == fresh.taints
            and bool(objects.spec(known.node).get("unschedulable"))
            == bool(objects.spec(fresh.node).get("unschedulable")))
