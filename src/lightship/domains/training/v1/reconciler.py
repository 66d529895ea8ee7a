"""Brings a v1 job's Pods and Services to what it says, and tells how it is: one of me for each framework.

``runtime.manager`` calls me with keys. I read informers, call ``plan.decide``, and write through ``client``: what the
job counts first, then deletions and creations, the status once, then events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from lightship import errors
from lightship.client.client import EVERYTHING
from lightship.domains.training import last_words
from lightship.domains.training.deps import TrainingDeps
from lightship.domains.training.v1 import names, plan
from lightship.domains.training.v1.framework import Extra, Framework, Job, read
from lightship.domains.training.v1.plan import Observed, Plan
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import POD_GROUPS, PODS, SERVICES
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.events import Announcement, Recorder
from lightship.runtime.expectations import Expectations

LIMIT_WRITES_AT_ONCE = 16
FIRST_BATCH = 1
"""Creations begin with so many and double while they succeed: where all would be refused, few are tried."""
TAKEN_RETRY_SECONDS = 5.0
_CHILDREN = {PODS.kind: PODS, SERVICES.kind: SERVICES}


class JobReconciler:
    """One pass: observe, decide, apply, write status last, then events."""

    def __init__(self, deps: TrainingDeps, framework: Framework) -> None:
        self._deps = deps
        self._framework = framework
        self._jobs = deps.informer(framework.resource, EVERYTHING)
        self._informers = {kind: deps.informer(resource, EVERYTHING) for kind, resource in _CHILDREN.items()}
        self._expectations = {kind: Expectations(informer) for kind, informer in self._informers.items()}
        self._extras = {resource: deps.informer(resource, selection) for resource, selection in framework.extra_kinds}
        self._groups = deps.informer(POD_GROUPS, EVERYTHING) if deps.site.gangs else None
        self._events = Recorder(deps.client, names.operator(framework.resource.kind), deps.clock)

    async def reconcile(self, key: Key) -> Result:
        found = self._jobs.get(key)
        if found is None or objects.deleting(found):
            return DONE  # children go by their owner references
        job = read(self._framework, found)
        if job.policy.managed_by != names.MANAGER:
            return DONE
        made = plan.decide(self._observe(job), self._deps.clock.now())
        if made.culprit is not None:
            words = await last_words.read(self._deps.client, objects.key(made.culprit), self._framework.container)
            made = plan.explained(made, job, words)
        said: list[Announcement] = []
        trouble: errors.LightshipError | None = None
        try:
            await self._apply(job, made, said)
        except errors.InvalidInput as problem:
            made = plan.refused(made, job, problem.message, self._deps.clock.now())
        except errors.LightshipError as problem:
            trouble = problem  # what was done is told of all the same
        changed = await self._write_status(job, made)
        await self._events.announce(changed, [*said, *made.said])
        if made.expired and trouble is None:
            await apply.delete_if_there(self._deps.client, self._framework.resource, changed)
            return DONE
        if isinstance(trouble, errors.AlreadyExists):
            return Result(requeue_after_seconds=TAKEN_RETRY_SECONDS)
        if trouble is not None:
            raise trouble
        return Result(requeue_after_seconds=made.requeue_after_seconds)

    def _observe(self, job: Job) -> Observed:
        uid = objects.uid(job.obj)
        found = {kind: [child for child in self._expectations[kind].view(informer.owned_by(uid))
                        if (objects.controller_of(child) or {}).get("uid") == uid]
                 for kind, informer in self._informers.items()}
        return Observed(job=job, pods=found[PODS.kind], services=found[SERVICES.kind],
                        gang=self._groups is not None)

    async def _apply(self, job: Job, made: Plan, said: list[Announcement]) -> None:
        if made.restarts is not None:
            self._jobs.observe(await self._deps.client.patch(
                self._framework.resource, objects.key(job.obj),
                {"metadata": {"annotations": {names.RESTARTS_ANNOTATION: made.restarts}}}))
        await tasks.each([partial(self._delete, child, said) for child in made.delete], at_once=LIMIT_WRITES_AT_ONCE)
        for extra in made.extras:
            await self._put(extra)
        await self._settle_group(job, made, said)
        await self._create(made.make, said)

    async def _put(self, extra: Extra) -> None:
        informer = self._extras[extra.resource]
        there = informer.get(objects.key(extra.obj))
        if extra.wanted:
            informer.observe(await apply.ensure(self._deps.client, extra.resource, extra.obj, there))
        elif there is not None and _same_owner(there, extra.obj):
            await apply.delete_if_there(self._deps.client, extra.resource, there)

    async def _settle_group(self, job: Job, made: Plan, said: list[Announcement]) -> None:
        """The gang's PodGroup, before its first Pod; gone with its last."""
        if self._groups is None:
            return
        there = self._groups.get(objects.key(job.obj))
        if made.group is not None:
            try:
                self._groups.observe(await apply.ensure(self._deps.client, POD_GROUPS, made.group, there))
            except errors.AlreadyExists as problem:
                said.append(Announcement("Warning", "FailedCreatePodGroup", f"Error creating: {problem}"))
                raise
        elif made.group_gone and there is not None and (
                objects.controller_of(there) or {}).get("uid") == objects.uid(job.obj):
            await apply.delete_if_there(self._deps.client, POD_GROUPS, there)

    async def _create(self, bodies: Sequence[Object], said: list[Announcement]) -> None:
        size, start = FIRST_BATCH, 0
        while start < len(bodies):
            batch = bodies[start:start + size]
            await tasks.each([partial(self._create_one, body, said) for body in batch], at_once=LIMIT_WRITES_AT_ONCE)
            start, size = start + size, size * 2

    async def _create_one(self, body: Object, said: list[Announcement]) -> None:
        kind = str(body["kind"])
        there = self._informers[kind].get(objects.key(body))
        if there is not None and not _same_owner(there, body):
            raise _taken(there, said)
        try:
            child = await self._deps.client.create(_CHILDREN[kind], body)
        except errors.AlreadyExists:  # our own, which the informer has not shown yet; or another's
            child = await self._deps.client.get(_CHILDREN[kind], objects.name(body), objects.namespace(body))
            if not _same_owner(child, body):
                raise _taken(child, said) from None
        except errors.LightshipError as problem:
            if not isinstance(problem, errors.Unavailable):
                said.append(Announcement("Warning", f"FailedCreate{kind}", f"Error creating: {problem}"))
            raise
        self._expectations[kind].wrote(child)
        said.append(Announcement("Normal", f"SuccessfulCreate{kind}", f"Created {kind.lower()}: {objects.name(child)}"))

    async def _delete(self, child: Object, said: list[Announcement]) -> None:
        kind = str(child["kind"])
        expectations = self._expectations[kind]
        try:
            answer = await self._deps.client.delete(_CHILDREN[kind], objects.key(child), uid=objects.uid(child))
        except errors.NotFound:
            expectations.removed(child)
            return
        expectations.deleted(child, answer)
        said.append(Announcement("Normal", f"SuccessfulDelete{kind}", f"Deleted {kind.lower()}: {objects.name(child)}"))

    async def _write_status(self, job: Job, made: Plan) -> Object:
        """On the job as it is by now: the pass itself may have written to it; not on another of its name."""
        current = self._jobs.get(objects.key(job.obj))
        if current is None or objects.uid(current) != objects.uid(job.obj):
            return job.obj
        changed = await apply.patch_status(self._deps.client, self._framework.resource, current, made.status)
        self._jobs.observe(changed)
        return changed


def _taken(there: Object, said: list[Announcement]) -> errors.AlreadyExists:
    """That another's object has a child's name: told, unless it is on its way, as one of an earlier job is."""
    kind = str(there["kind"])
    problem = errors.AlreadyExists(f'{kind} "{objects.key(there)}" is there already, and not of this job',
                                   remedy="Delete it, or rename the job")
    if not objects.deleting(there):
        said.append(Announcement("Warning", f"FailedCreate{kind}", f"Error creating: {problem}"))
    return problem


def _same_owner(there: Object, wanted: Object) -> bool:
    return (objects.controller_of(there) or {}).get("uid") == (objects.controller_of(wanted) or {}).get("uid")


def controllers(deps: TrainingDeps, frameworks: Iterable[Framework]) -> list[Controller]:
    """A controller for each kind."""
    made = []
    for framework in frameworks:
        kind = framework.resource.kind
        watched = [*_CHILDREN.values(), *(resource for resource, _ in framework.extra_kinds)]
        made.append(Controller(name=kind.lower(), reconciler=JobReconciler(deps, framework), watches=(
            Watch(resource=framework.resource),
            *(Watch(resource=resource, keys=owner_key(kind)) for resource in watched))))
    return made
