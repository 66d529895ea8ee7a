"""How a Deployment moves from one template to the next: which ReplicaSet gets how many replicas. Pure.

``deployments`` calls me once a pass and applies one step; the ReplicaSets' progress brings the next pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightship.cluster.builtin import names, pods
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.runtime import apply

DEFAULT_SHARE = "25%"
DEFAULT_HISTORY = 10
_NOT_INHERITED = frozenset({
    names.LAST_APPLIED, names.REVISION, names.REVISION_HISTORY, names.DESIRED_REPLICAS, names.MAX_REPLICAS,
    "deprecated.deployment.rollback.to"})


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Give the ReplicaSet ``name`` that many replicas."""

    name: str
    replicas: int


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How many Pods there may be more, and ready fewer, than the Deployment asks for."""

    surge: int
    unavailable: int


def bounds(deployment: Object) -> Bounds:
    """As upstream: surge rounds up, unavailable rounds down, and not both may be nothing."""
    spec = objects.spec(deployment)
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    wanted = replicas(deployment)
    surge = _share(rolling.get("maxSurge", DEFAULT_SHARE), wanted, math.ceil)
    unavailable = min(_share(rolling.get("maxUnavailable", DEFAULT_SHARE), wanted, math.floor), wanted)
    if _recreates(deployment):
        return Bounds(surge=0, unavailable=0)
    return Bounds(surge=surge, unavailable=unavailable if surge or unavailable else 1)


def replicas(obj: Object) -> int:
    value = objects.spec(obj).get("replicas")
    return 1 if value is None else int(value)


def current(deployment: Object, sets: Sequence[Object]) -> Object | None:
    """The ReplicaSet of the Deployment's present template: the oldest, if a race ever made two."""
    wanted = _template(deployment)
    fitting = [replica_set for replica_set in sets if _template(replica_set) == wanted]
    return min(fitting, key=pods.created, default=None)


def make_replica_set(deployment: Object, sets: Sequence[Object], count: int) -> Object:
    """The ReplicaSet of the present template. Its name holds the template's hash: always the same."""
    spec = objects.spec(deployment)
    template = spec.get("template") or {}
    template_hash = _hash(deployment)
    labels = objects.labels(template) | {names.TEMPLATE_HASH: template_hash}
    selector = dict(spec.get("selector") or {})
    selector["matchLabels"] = dict(selector.get("matchLabels") or {}) | {names.TEMPLATE_HASH: template_hash}
    made: Object = {
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": apply.child_name(objects.name(deployment), template_hash),
            "namespace": objects.namespace(deployment),
            "labels": labels,
            "annotations": inherited(deployment) | scale_annotations(deployment) | {
                names.REVISION: str(next_revision(sets))},
            "ownerReferences": [objects.owner_reference(deployment)],
        },
        "spec": {
            "replicas": count,
            "selector": selector,
            "template": template | {"metadata": objects.meta(template) | {"labels": labels}},
        },
    }
    if spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return made


def _hash(deployment: Object) -> str:
    """Of the template; another one where a ReplicaSet of somebody else has the name that it led to."""
    collisions = objects.status(deployment).get("collisionCount")
    template = _template(deployment)
    return apply.digest([template, collisions] if collisions else template)


def inherited(deployment: Object) -> dict[str, str]:
    """The annotations that a ReplicaSet has from its Deployment, such as the cause of a change."""
    return {name: value for name, value in objects.annotations(deployment).items() if name not in _NOT_INHERITED}


def scale_annotations(deployment: Object) -> dict[str, str]:
    """By which the next pass knows that the Deployment was scaled, and from what."""
    wanted = replicas(deployment)
    return {names.DESIRED_REPLICAS: str(wanted), names.MAX_REPLICAS: str(wanted + _surge(deployment))}


def updates(deployment: Object, new: Object, sets: Sequence[Object]) -> dict[str, Any]:
    """The patch that brings the present ReplicaSet's metadata up to date: a template that is rolled back to becomes
    the latest revision. Empty where all is well."""
    annotations = {name: value for name, value in inherited(deployment).items()
                   if names.annotation(new, name) != value}
    latest = max((revision(other) for other in sets if objects.uid(other) != objects.uid(new)), default=0)
    if revision(new) <= latest:
        annotations[names.REVISION] = str(latest + 1)
        if former := names.annotation(new, names.REVISION):
            history = names.annotation(new, names.REVISION_HISTORY)
            annotations[names.REVISION_HISTORY] = f"{history},{former}" if history else former
    patch: dict[str, Any] = {"metadata": {"annotations": annotations}} if annotations else {}
    seconds = int(objects.spec(deployment).get("minReadySeconds") or 0)
    if int(objects.spec(new).get("minReadySeconds") or 0) != seconds:
        patch["spec"] = {"minReadySeconds": seconds}
    return patch


def scaled(deployment: Object, sets: Sequence[Object]) -> bool:
    """Whether the Deployment was given another number of replicas since its sets were last scaled."""
    known = (names.annotation(replica_set, names.DESIRED_REPLICAS) for replica_set in sets if replicas(replica_set))
    return any(text.isdigit() and int(text) != replicas(deployment) for text in known)


def proportional(deployment: Object, sets: Sequence[Object], new: Object | None) -> list[Scale]:
    """Spread a change of scale over the sets as they are, without rolling on: for one that is paused or was scaled."""
    filled = [replica_set for replica_set in sets if replicas(replica_set)]
    if len(filled) <= 1:
        only = filled[0] if filled else new or max(sets, key=pods.created, default=None)
        return [] if only is None else _rescaled(deployment, {objects.name(only): replicas(deployment)}, sets)
    if new is not None and replicas(new) == _available(new) == replicas(deployment):
        old = {objects.name(replica_set): 0 for replica_set in filled if replica_set is not new}
        return _rescaled(deployment, old, sets)
    if _recreates(deployment):
        return []
    allowed = replicas(deployment) + _surge(deployment) if replicas(deployment) else 0
    change = allowed - sum(map(replicas, filled))
    # The largest first; of those of one size the newest when it grows, the oldest when it shrinks.
    order = sorted(sorted(filled, key=pods.created, reverse=change > 0), key=replicas, reverse=True)
    sizes, given = {}, 0
    for replica_set in order:
        share = _fraction(deployment, replica_set) if change else 0
        left = change - given
        share = min(share, left) if change > 0 else max(share, left)
        sizes[objects.name(replica_set)] = replicas(replica_set) + share
        given += share
    first = objects.name(order[0])
    sizes[first] = max(0, sizes[first] + change - given)
    return _rescaled(deployment, sizes, sets)


def _fraction(deployment: Object, replica_set: Object) -> int:
    """By how much a set's size changes when the whole is scaled."""
    if not replicas(deployment):
        return -replicas(replica_set)
    before = names.annotation(replica_set, names.MAX_REPLICAS)
    whole = int(before) if before.isdigit() else int(objects.status(deployment).get("replicas") or 0)
    if not whole:
        return 0
    size = replicas(replica_set) * (replicas(deployment) + _surge(deployment)) / whole
    return math.floor(size + 0.5) - replicas(replica_set)


def _rescaled(deployment: Object, sizes: dict[str, int], sets: Sequence[Object]) -> list[Scale]:
    """The changes to these sizes, and to the annotations that tell of them."""
    marks = scale_annotations(deployment)
    return [Scale(name=objects.name(replica_set), replicas=sizes[objects.name(replica_set)]) for replica_set in sets
            if objects.name(replica_set) in sizes and (
                replicas(replica_set) != sizes[objects.name(replica_set)]
                or (replicas(replica_set) and not marks.items() <= objects.annotations(replica_set).items()))]


def revision(replica_set: Object) -> int:
    text = str(names.annotation(replica_set, names.REVISION))
    return int(text) if text.isdigit() else 0


def next_revision(sets: Sequence[Object]) -> int:
    return max((revision(replica_set) for replica_set in sets), default=0) + 1


def first_count(deployment: Object, sets: Sequence[Object], *, old_run: bool = False) -> int:
    """How many replicas a new ReplicaSet begins with."""
    if _recreates(deployment):
        waits = old_run or any(_occupied(old) or replicas(old) for old in sets)
        return 0 if waits else replicas(deployment)
    return _room(deployment, sets, 0)


def step(deployment: Object, sets: Sequence[Object], new: Object | None, *, old_run: bool = False) -> list[Scale]:
    """The next changes of scale; none when the rollout has arrived or must wait.

    ``old_run`` says that Pods of old templates are still there, be it that they are ending.
    """
    old = [replica_set for replica_set in sets if new is None or objects.key(replica_set) != objects.key(new)]
    if objects.spec(deployment).get("paused") or scaled(deployment, sets):
        return proportional(deployment, sets, new)
    if new is None:
        return []
    if _recreates(deployment):
        down = [Scale(name=objects.name(replica_set), replicas=0) for replica_set in old if replicas(replica_set)]
        if down or old_run or any(_occupied(replica_set) for replica_set in old):
            return down
        return _to(new, replicas(deployment))
    wanted = replicas(deployment)
    if replicas(new) > wanted:
        return _to(new, wanted)
    if replicas(new) < wanted:
        grown = _room(deployment, sets, replicas(new))
        if grown > replicas(new):
            return _to(new, grown)
    return _shrink_old(deployment, old, new)


def spent(deployment: Object, sets: Sequence[Object], new: Object | None) -> list[Object]:
    """Old ReplicaSets beyond the history limit, the oldest first."""
    value = objects.spec(deployment).get("revisionHistoryLimit")
    limit = DEFAULT_HISTORY if value is None else int(value)
    empty = [replica_set for replica_set in sets
             if (new is None or objects.key(replica_set) != objects.key(new))
             and not replicas(replica_set) and not _occupied(replica_set) and not objects.deleting(replica_set)]
    empty.sort(key=revision)
    return empty[:max(0, len(empty) - limit)]


def _template(obj: Object) -> dict[str, Any]:
    """A template without the label that we add to it."""
    template = objects.spec(obj).get("template") or {}
    metadata = {name: value for name, value in objects.meta(template).items() if name != "creationTimestamp"}
    labels = {name: value for name, value in objects.labels(template).items() if name != names.TEMPLATE_HASH}
    return {"metadata": metadata | {"labels": labels}, "spec": objects.spec(template)}


def _recreates(deployment: Object) -> bool:
    return (objects.spec(deployment).get("strategy") or {}).get("type") == "Recreate"


def _occupied(replica_set: Object) -> bool:
    return int(objects.status(replica_set).get("replicas") or 0) > 0


def _available(replica_set: Object) -> int:
    return int(objects.status(replica_set).get("availableReplicas") or 0)


def _room(deployment: Object, sets: Sequence[Object], now: int) -> int:
    """How many replicas the new set may have, it having ``now``: no more in all than asked for and the surge."""
    total = sum(replicas(replica_set) for replica_set in sets)
    free = max(0, replicas(deployment) + bounds(deployment).surge - total)
    return now + min(free, replicas(deployment) - now)


def _shrink_old(deployment: Object, old: Sequence[Object], new: Object) -> list[Scale]:
    """Take Pods from old sets, those that do not work first, while enough others are available."""
    least = replicas(deployment) - bounds(deployment).unavailable
    total = sum(replicas(replica_set) for replica_set in old) + replicas(new)
    new_missing = max(0, replicas(new) - _available(new))
    spare = total - least - new_missing
    if spare <= 0:
        return []
    counts = {objects.name(replica_set): replicas(replica_set) for replica_set in old}
    ordered = sorted(old, key=pods.created)
    for replica_set in ordered:
        broken = max(0, replicas(replica_set) - _available(replica_set))
        taken = min(spare, broken)
        counts[objects.name(replica_set)] -= taken
        spare -= taken
    working = sum(_available(replica_set) for replica_set in [*old, new]) - least
    for replica_set in ordered:
        taken = max(0, min(spare, working, counts[objects.name(replica_set)]))
        counts[objects.name(replica_set)] -= taken
        spare, working = spare - taken, working - taken
    return [Scale(name=objects.name(replica_set), replicas=counts[objects.name(replica_set)])
            for replica_set in ordered if counts[objects.name(replica_set)] != replicas(replica_set)]


def _to(replica_set: Object, count: int) -> list[Scale]:
    return [] if replicas(replica_set) == count else [Scale(name=objects.name(replica_set), replicas=count)]


def _surge(deployment: Object) -> int:
    return 0 if _recreates(deployment) else bounds(deployment).surge


def _share(value: Any, whole: int, rounded: Any) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return int(rounded(whole * int(value[:-1]) / 100))
    return int(value)


def key_of(deployment: Object, name: str) -> Key:
    return Key(objects.namespace(deployment), name)
