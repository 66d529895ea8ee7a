"""Rolls a Deployment's template out through ReplicaSets, and says in its status how far it is.

``builtin`` builds me; ``rollout`` decides, ``deployment_status`` tells; I call ``client``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lightship import errors
from lightship.cluster.builtin import children, deployment_status, names, pods, rollout
from lightship.cluster.builtin.deps import Deps
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Announcement, Recorder

NAME = "deployment-controller"


class Deployments:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._deployments = deps.manager.informer(DEPLOYMENTS)
        self._sets = deps.manager.informer(REPLICA_SETS)
        self._pods = deps.manager.informer(PODS)
        self.children = children.Children(deps, NAME, owner=DEPLOYMENTS, child=REPLICA_SETS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        deployment = self._deployments.get(key)
        if deployment is None:
            return DONE
        done: list[Announcement] = []
        sets = _living(await self.children.claim(deployment, children.selector_of(deployment)))
        new = rollout.current(deployment, sets)
        if objects.deleting(deployment):
            return await self._write_status(deployment, sets, new)
        if not objects.spec(deployment).get("paused") and not rollout.scaled(deployment, sets):
            new = await self._present(deployment, new, sets, done)
        sets = self._owned(deployment)
        for change in rollout.step(deployment, sets, new, old_run=self._old_run(deployment, sets, new)):
            await self._scale(deployment, change, done)
        sets = self._owned(deployment)
        await self.children.delete(rollout.spent(deployment, sets, new), [])
        sets = self._owned(deployment)
        if new is not None:
            new = self.children.get(objects.key(new)) or new
            deployment = await self._mark_revision(deployment, new)
        result = await self._write_status(deployment, sets, new)
        await self._events.announce(deployment, done)
        return result

    def _owned(self, deployment: Object) -> list[Object]:
        selector = children.selector_of(deployment)
        return [found for found in _living(self.children.owned(deployment)) if selector.matches(objects.labels(found))]

    async def _present(self, deployment: Object, new: Object | None, sets: Sequence[Object],
                       done: list[Announcement]) -> Object:
        """The ReplicaSet of the present template, made or brought up to date."""
        if new is None:
            return await self._create(deployment, sets, done)
        patch = rollout.updates(deployment, new, sets)
        return (await self.children.patch(new, patch) if patch else None) or new

    async def _create(self, deployment: Object, sets: Sequence[Object], done: list[Announcement]) -> Object:
        count = rollout.first_count(deployment, sets, old_run=self._old_run(deployment, sets, None))
        made = rollout.make_replica_set(deployment, sets, count)
        try:
            new = await self._client.create(REPLICA_SETS, made)
        except errors.AlreadyExists as error:
            new = await self._taken(deployment, made, error)
        self._sets.observe(new)
        if rollout.replicas(new):
            done.append(Announcement("Normal", "ScalingReplicaSet", f"Scaled up replica set {objects.name(new)} "
                                                                    f"from 0 to {rollout.replicas(new)}"))
        return new

    async def _taken(self, deployment: Object, made: Object, error: errors.AlreadyExists) -> Object:
        """A ReplicaSet has the name already: ours, which the cache has not shown; or else we take another name."""
        there = await self._client.get(REPLICA_SETS, objects.name(made), objects.namespace(made))
        if ((objects.controller_of(there) or {}).get("uid") == objects.uid(deployment)
                and rollout.current(deployment, [there]) is not None):
            return there
        count = int(objects.status(deployment).get("collisionCount") or 0) + 1
        self._deployments.observe(await self._client.patch(
            DEPLOYMENTS, objects.key(deployment), {"status": {"collisionCount": count}}, subresource="status"))
        raise errors.Conflict(f'could not create ReplicaSet "{objects.key(made)}": the name is taken') from error

    def _old_run(self, deployment: Object, sets: Sequence[Object], new: Object | None) -> bool:
        """Whether Pods of an old template are still there, which Recreate waits for."""
        if (objects.spec(deployment).get("strategy") or {}).get("type") != "Recreate":
            return False
        return any(not pods.finished(pod) for replica_set in sets
                   if new is None or objects.uid(replica_set) != objects.uid(new)
                   for pod in self._pods.owned_by(objects.uid(replica_set)))

    async def _scale(self, deployment: Object, change: rollout.Scale, done: list[Announcement]) -> None:
        before = self._sets.get(rollout.key_of(deployment, change.name))
        if before is None:
            return
        changed = await self.children.patch(before, {
            "metadata": {"annotations": rollout.scale_annotations(deployment)}, "spec": {"replicas": change.replicas}})
        was = rollout.replicas(before)
        if changed is not None and was != change.replicas:
            direction = "up" if change.replicas > was else "down"
            done.append(Announcement("Normal", "ScalingReplicaSet",
                                     f"Scaled {direction} replica set {change.name} from {was} to {change.replicas}"))

    async def _mark_revision(self, deployment: Object, new: Object) -> Object:
        number = names.annotation(new, names.REVISION)
        if not number or names.annotation(deployment, names.REVISION) == number:
            return deployment
        changed = await self._client.patch(DEPLOYMENTS, objects.key(deployment),
                                           {"metadata": {"annotations": {names.REVISION: number}}})
        self._deployments.observe(changed)
        return changed

    async def _write_status(self, deployment: Object, sets: Sequence[Object], new: Object | None) -> Result:
        now = self._clock.now()
        wanted: dict[str, Any] = deployment_status.status(deployment, sets, new, now)
        deployment = await apply.patch_status(self._client, DEPLOYMENTS, deployment, wanted)
        self._deployments.observe(deployment)
        progressing = conditions.find(deployment, "Progressing")
        if progressing is None or progressing.get("reason") not in ("ReplicaSetUpdated", "DeploymentResumed"):
            return DONE
        left = deployment_status.overdue_seconds(deployment, progressing, now)
        return Result(requeue_after_seconds=max(0.0, left) + 1)

    def of_pod(self, pod: Object) -> Iterable[Key]:
        """The Deployment that waits for the end of a Pod, in order to recreate it."""
        owner = objects.controller_of(pod)
        if owner is None or owner.get("kind") != "ReplicaSet":
            return ()
        replica_set = self._sets.get(Key(objects.namespace(pod), str(owner["name"])))
        parent = objects.controller_of(replica_set) if replica_set is not None else None
        key = Key(objects.namespace(pod), str(parent["name"])) if parent is not None else None
        deployment = self._deployments.get(key) if key is not None else None
        if key is None or deployment is None or (
                objects.spec(deployment).get("strategy") or {}).get("type") != "Recreate":
            return ()
        return (key,)


def _living(sets: Sequence[Object]) -> list[Object]:
    return [replica_set for replica_set in sets if not objects.deleting(replica_set)]


def controller(deps: Deps) -> Controller:
    deployments = Deployments(deps)
    return Controller(name=NAME, reconciler=deployments,
                      watches=(*deployments.children.watches(), Watch(resource=PODS, keys=deployments.of_pod)))
