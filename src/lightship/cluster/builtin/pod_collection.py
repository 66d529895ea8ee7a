"""Clears away Pods that nobody else will: of nodes that are no more, and finished ones beyond a limit.

``builtin`` builds me; I call ``client``. A finished Pod that something holds (a finalizer) is left to its keeper.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from functools import partial

from lightship import errors
from lightship.cluster.builtin import pods
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import NODES, PODS
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "pod-garbage-collector"
LIMIT_FINISHED_PODS = 1000
LEEWAY_FINISHED_PODS = 100
"""So many more may be there before I go back to the limit, so that not each Pod's end costs a look at all."""
LIMIT_WRITES_AT_ONCE = 16
ALL = Key("", "pods")
_PLACE = "collection:place"
_FINISHED = "collection:finished"


def decide(found: Sequence[Object], node_names: frozenset[str], limit: int) -> list[Object]:
    """The Pods to delete at once, without grace: nobody would end them otherwise."""
    lost = [pod for pod in found if _lost(pod, node_names)]
    finished = [pod for pod in found if _may_go(pod) and not _lost(pod, node_names)]
    over = len(finished) - limit
    return lost + heapq.nsmallest(max(0, over), finished, key=lambda pod: (pods.created(pod), objects.key(pod)))


def _lost(pod: Object, node_names: frozenset[str]) -> bool:
    node = objects.spec(pod).get("nodeName")
    if node:
        return node not in node_names
    return objects.deleting(pod) and not objects.finalizers(pod)


def _may_go(pod: Object) -> bool:
    return pods.finished(pod) and not objects.deleting(pod) and not objects.finalizers(pod)


class PodCollection:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._pods = deps.manager.informer(PODS)
        self._nodes = deps.manager.informer(NODES)
        self._client = deps.manager.client_for(NAME)
        self._pods.add_index(_PLACE, _place)
        self._pods.add_index(_FINISHED, _is_finished)

    async def reconcile(self, key: Key) -> Result:
        there = frozenset(objects.name(node) for node in self._nodes.list())
        doomed = decide(self._candidates(there), there, LIMIT_FINISHED_PODS)
        unknown = {str(objects.spec(pod).get("nodeName") or "") for pod in doomed} - there - {""}
        doubtful = {name for name in unknown if await self._exists(name)}
        works = [partial(apply.delete_if_there, self._client, PODS, pod, grace_seconds=0) for pod in doomed
                 if objects.spec(pod).get("nodeName") not in doubtful]
        await tasks.each(works, at_once=LIMIT_WRITES_AT_ONCE)
        return DONE

    def _candidates(self, there: frozenset[str]) -> list[Object]:
        """Those of which some may have to go: found by index, for I look again at the end of every Pod."""
        found = [pod for place in self._pods.index_values(_PLACE) if place not in there
                 for pod in self._pods.indexed(_PLACE, place)]
        finished = self._pods.indexed(_FINISHED, "yes")
        if len(finished) > LIMIT_FINISHED_PODS + LEEWAY_FINISHED_PODS:
            found += finished
        return list({objects.key(pod): pod for pod in found}.values())

    async def _exists(self, node: str) -> bool:
        """Whether the cache is only behind."""
        try:
            await self._client.get(NODES, node)
        except errors.NotFound:
            return False
        return True


def _place(pod: Object) -> Iterable[str]:
    """The node, or "" for a Pod on none that is lost all the same."""
    node = str(objects.spec(pod).get("nodeName") or "")
    return (node,) if node or _lost(pod, frozenset()) else ()


def _is_finished(pod: Object) -> Iterable[str]:
    return ("yes",) if _may_go(pod) else ()


def _ended(pod: Object) -> Iterable[Key]:
    return (ALL,) if pods.finished(pod) or objects.deleting(pod) else ()


def _always(obj: Object) -> Iterable[Key]:
    return (ALL,)


def controller(deps: Deps) -> Controller:
    return Controller(name=NAME, reconciler=PodCollection(deps), workers=1,
                      watches=(Watch(resource=PODS, keys=_ended), Watch(resource=NODES, keys=_always)))
