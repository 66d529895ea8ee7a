"""Runs DaemonSets: one Pod on every node that suits, replaced a few at a time when the template changes.

``builtin`` builds me; ``daemon_plan`` decides; I call ``client``. The scheduler binds the Pods, each of which asks for
its node by name.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship import errors
from lightship.cluster.builtin import children, controller_revisions, daemon_plan
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import DAEMON_SETS, NODES, PODS
from lightship.lib import ids
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Announcement, Recorder

NAME = "daemonset-controller"


class DaemonSets:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._sets = deps.manager.informer(DAEMON_SETS)
        self._nodes = deps.manager.informer(NODES)
        self.children = children.Children(deps, NAME, owner=DAEMON_SETS, child=PODS)
        self._revisions = controller_revisions.Revisions(deps, NAME, DAEMON_SETS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._ids: ids.IdSource = deps.id_source
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        daemon_set = self._sets.get(key)
        if daemon_set is None or objects.deleting(daemon_set):
            return DONE
        selector = children.selector_of(daemon_set)
        owned = await self.children.claim(daemon_set, selector)
        history = await self._revisions.history(daemon_set)
        revision = controller_revisions.hash_of(history.present)
        seen = daemon_plan.Seen(daemon_set, self._nodes.list(), owned, revision, self._clock.now())
        plan = daemon_plan.decide(seen)
        done: list[Announcement] = []
        trouble: errors.LightshipError | None = None
        try:
            await self.children.delete(plan.delete, done)
            await self.children.create([daemon_plan.make_pod(daemon_set, node, self._ids.suffix(5), revision)
                                        for node in plan.create], done)
        except errors.LightshipError as error:
            trouble = error
        # Counted anew, so that the status tells of the Pods just made and no second write follows for them.
        after = [pod for pod in self.children.owned(daemon_set) if selector.matches(objects.labels(pod))]
        status, soonest = daemon_plan.status(
            daemon_plan.Seen(daemon_set, self._nodes.list(), after, revision, self._clock.now()))
        daemon_set = await apply.patch_status(self._client, DAEMON_SETS, daemon_set, status)
        self._sets.observe(daemon_set)
        used = {controller_revisions.revision_of(pod) for pod in after}
        await self._revisions.prune(history, daemon_set, {
            objects.name(found) for found in history.all if controller_revisions.hash_of(found) in used})
        await self._events.announce(daemon_set, done)
        if trouble is not None:
            raise trouble
        return Result(requeue_after_seconds=soonest)

    def of_node(self, node: Object) -> Iterable[Key]:
        """Any of them may want, or no longer want, a node that has changed."""
        return [objects.key(daemon_set) for daemon_set in self._sets.list()]


def controller(deps: Deps) -> Controller:
    sets = DaemonSets(deps)
    return Controller(name=NAME, reconciler=sets,
                      watches=(*sets.children.watches(), Watch(resource=NODES, keys=sets.of_node)))
