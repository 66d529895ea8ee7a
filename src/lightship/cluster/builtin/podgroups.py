"""Keeps the status of PodGroups: how many members run, have succeeded or failed, and the phase of the whole.

``builtin`` builds me; I call ``client``. The phases are scheduler-plugins'. What a group waits for, the scheduler says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightship.cluster.builtin import pods
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.scheduling.facts import GROUP_LABEL
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import POD_GROUPS, PODS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "podgroup-controller"
PENDING, SCHEDULING, RUNNING, FAILED, FINISHED = "Pending", "Scheduling", "Running", "Failed", "Finished"
_ENDED = (FINISHED, FAILED)
_COUNTS = {"Running": "running", "Succeeded": "succeeded", "Failed": "failed"}


class PodGroups:
    """The pass: count, and write what differs."""

    def __init__(self, deps: Deps) -> None:
        self._groups = deps.manager.informer(POD_GROUPS)
        self._pods = deps.manager.informer(PODS)
        self._pods.index_label(GROUP_LABEL)
        self._client = deps.manager.client_for(NAME)

    async def reconcile(self, key: Key) -> Result:
        group = self._groups.get(key)
        if group is None or objects.deleting(group):
            return DONE
        members = [pod for pod in self._pods.labelled(GROUP_LABEL, key.name) if objects.namespace(pod) == key.namespace]
        wanted = status_of(group, members)
        self._groups.observe(await apply.patch_status(self._client, POD_GROUPS, group, wanted))
        return DONE


def status_of(group: Object, members: Iterable[Object]) -> dict[str, Any]:
    """The status of a group with these Pods. A group that is over stays so while its Pods are cleared away."""
    everyone = [pod for pod in members if not objects.deleting(pod)]
    before = objects.status(group)
    if before.get("phase") in _ENDED and not any(pods.active(pod) for pod in everyone):
        return dict(before)
    counts = dict.fromkeys(_COUNTS.values(), 0)
    for pod in everyone:
        if (field := _COUNTS.get(pods.phase(pod))) is not None:
            counts[field] += 1
    least = int(objects.spec(group).get("minMember") or 1)
    return dict(before) | counts | {"phase": _phase(counts, len(everyone), least)}


def _phase(counts: dict[str, int], there: int, least: int) -> str:
    if counts["succeeded"] >= least:
        return FINISHED
    if counts["failed"] and sum(counts.values()) >= least:
        return FAILED
    if counts["succeeded"] + counts["running"] >= least:
        return RUNNING
    return SCHEDULING if there >= least else PENDING


def _group_of(pod: Object) -> Iterable[Key]:
    name = objects.labels(pod).get(GROUP_LABEL)
    return (Key(objects.namespace(pod), name),) if name else ()


def controller(deps: Deps) -> Controller:
    return Controller(name=NAME, reconciler=PodGroups(deps), watches=(
        Watch(resource=POD_GROUPS), Watch(resource=PODS, keys=_group_of)))
