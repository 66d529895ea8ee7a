"""Runs StatefulSets: Pods with names of their own, in order, each with claims that outlive it.

``builtin`` builds me; ``stateful_plan`` decides, ``stateful_pods`` makes; I call ``client``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lightship import errors
from lightship.cluster.builtin import children, controller_revisions, stateful_plan, stateful_pods
from lightship.cluster.builtin.controller_revisions import History
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.stateful_plan import Make, Versions
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result
from lightship.runtime.events import Announcement, Recorder

NAME = "statefulset-controller"
_WORDS = children.Words("create Pod {name} in StatefulSet {owner} successful",
                        "delete Pod {name} in StatefulSet {owner} successful")


class StatefulSets:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._sets = deps.manager.informer(STATEFUL_SETS)
        self._claims = deps.manager.informer(PERSISTENT_VOLUME_CLAIMS)
        self.children = children.Children(deps, NAME, owner=STATEFUL_SETS, child=PODS, words=_WORDS)
        self._revisions = controller_revisions.Revisions(deps, NAME, STATEFUL_SETS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        stateful_set = self._sets.get(key)
        if stateful_set is None or objects.deleting(stateful_set):
            return DONE
        selector = children.selector_of(stateful_set)
        owned = await self.children.claim(stateful_set, selector, may=partial(_is_named_for, stateful_set))
        history = await self._revisions.history(stateful_set)
        versions = _versions(stateful_set, history)
        await self._keep_claims(stateful_set, owned)
        plan = stateful_plan.decide(stateful_set, owned, versions, self._clock.now())
        done: list[Announcement] = []
        trouble: errors.LightshipError | None = None
        try:
            await self.children.delete(plan.delete, done)
            for wanted in plan.create:
                await self._create(stateful_set, wanted, history, done)
        except errors.LightshipError as error:
            trouble = error
        # Counted anew, so that the status tells of the Pods just made and no second write follows for them.
        now = self._clock.now()
        after = [pod for pod in self.children.owned(stateful_set) if selector.matches(objects.labels(pod))]
        status = stateful_plan.status(stateful_set, after, versions, now)
        stateful_set = await apply.patch_status(self._client, STATEFUL_SETS, stateful_set, status)
        self._sets.observe(stateful_set)
        used = {status["currentRevision"], versions.update, *(controller_revisions.revision_of(pod) for pod in after)}
        await self._revisions.prune(history, stateful_set, used)
        await self._events.announce(stateful_set, done)
        if trouble is not None:
            raise trouble
        return Result(requeue_after_seconds=plan.requeue_after_seconds)

    async def _create(self, stateful_set: Object, wanted: Make, history: History, done: list[Announcement]) -> None:
        for claim in stateful_pods.make_claims(stateful_set, wanted.ordinal):
            if self._claims.get(objects.key(claim)) is None:
                await self._create_claim(claim, stateful_pods.pod_name(stateful_set, wanted.ordinal),
                                         stateful_set, done)
        revision = history.find(wanted.revision) or history.present
        template = controller_revisions.pod_template(stateful_set, revision)
        await self.children.create([stateful_pods.make_pod(stateful_set, template, wanted.ordinal,
                                                           objects.name(revision))], done)

    async def _create_claim(self, claim: Object, pod: str, stateful_set: Object, done: list[Announcement]) -> None:
        name, parent = objects.name(claim), objects.name(stateful_set)
        with_set, _ = stateful_pods.retention(stateful_set)
        if with_set:
            claim["metadata"]["ownerReferences"] = stateful_pods.claim_owners(stateful_set, claim, None)
        try:
            self._claims.observe(await self._client.create(PERSISTENT_VOLUME_CLAIMS, claim))
        except errors.AlreadyExists:
            return  # the cache has not shown it
        except errors.LightshipError as error:
            done.append(Announcement("Warning", "FailedCreate", f"create Claim {name} for Pod {pod} in StatefulSet "
                                                                f"{parent} failed error: {error}"))
            raise
        done.append(Announcement("Normal", "SuccessfulCreate",
                                 f"create Claim {name} Pod {pod} in StatefulSet {parent} success"))

    async def _keep_claims(self, stateful_set: Object, owned: Sequence[Object]) -> None:
        """Have the claims' owners say what the retention policy asks for, before Pods are scaled away."""
        if not stateful_pods.claim_templates(stateful_set):
            return
        going = {objects.uid(pod) for pod in stateful_plan.condemned(stateful_set, owned)}
        for pod in owned:
            ordinal = stateful_plan.ordinal_of(stateful_set, pod)
            for key in stateful_pods.claim_keys(stateful_set, ordinal) if ordinal is not None else ():
                claim = self._claims.get(key)
                if claim is None or objects.deleting(claim):
                    continue
                wanted = stateful_pods.claim_owners(stateful_set, claim, pod if objects.uid(pod) in going else None)
                if wanted != (objects.meta(claim).get("ownerReferences") or []):
                    metadata = {"ownerReferences": wanted or None,
                                "resourceVersion": objects.meta(claim).get("resourceVersion")}
                    self._claims.observe(await self._client.patch(PERSISTENT_VOLUME_CLAIMS, key,
                                                                  {"metadata": metadata}))


def _is_named_for(stateful_set: Object, pod: Object) -> bool:
    return stateful_plan.ordinal_of(stateful_set, pod) is not None


def _versions(stateful_set: Object, history: History) -> Versions:
    """A current revision that is gone, or was never told of, is the present one."""
    current = str(objects.status(stateful_set).get("currentRevision") or "")
    update = objects.name(history.present)
    return Versions(current=current if history.find(current) else update, update=update)


def controller(deps: Deps) -> Controller:
    sets = StatefulSets(deps)
    return Controller(name=NAME, reconciler=sets, watches=sets.children.watches())


