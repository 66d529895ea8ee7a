"""Brings a TrainJob's snapshot and JobSet to what it says, and tells how it is.

``runtime.manager`` calls me with keys. I read informers, call ``decide``, and write through ``client``: objects by
server-side apply, as upstream's controller, the status once and last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lightship import errors
from lightship.client.client import EVERYTHING, Selection
from lightship.domains.training import kinds, names
from lightship.domains.training.deps import TrainingDeps
from lightship.domains.training.errors import BadSnapshot, NoPodGroups
from lightship.domains.training.train_job import failures, gangs, lower, mpi, status
from lightship.domains.training.train_job.decide import Observed, Plan, decide
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, JOB_SETS, PODS, SECRETS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key

TROUBLE_RETRY_SECONDS = 30.0
LIMIT_EVENT_CHARACTERS = 950


class TrainJobReconciler:
    """One pass: observe, decide, apply, write status last, then events."""

    def __init__(self, deps: TrainingDeps) -> None:
        self._deps = deps
        self._jobs = deps.informer(kinds.TRAIN_JOBS, EVERYTHING)
        self._job_sets = deps.informer(JOB_SETS, EVERYTHING)
        self._witness = failures.Witness()
        deps.informer(PODS, Selection(labels=names.JOB_SET_LABEL)).subscribe(self._witness.pod_changed)
        self._runtimes = {kind: deps.informer(resource, EVERYTHING) for kind, resource in kinds.RUNTIMES.items()}

    async def reconcile(self, key: Key) -> Result:
        job = self._jobs.get(key)
        if job is None or objects.deleting(job):
            self._witness.forget(key)
            return DONE  # children go by their owner references
        if objects.spec(job).get("managedBy", names.MANAGER) != names.MANAGER:
            return DONE
        plan = Plan(status=dict(objects.status(job)))
        try:
            plan = decide(await self._observe(key, job), self._deps.clock.now())
            await self._apply(job, plan)
            trouble = plan.trouble
        except (BadSnapshot, NoPodGroups, errors.AlreadyExists, errors.Forbidden) as problem:
            trouble = str(problem)  # Somebody can mend what is in the way; the TrainJob goes on trying.
        except errors.InvalidInput as problem:
            # What was asked for is refused, and only a suspended TrainJob can still be changed.
            trouble = str(problem) if lower.suspended(job) else ""
            if not trouble:
                plan = replace(plan, status=status.mark_failed(
                    plan.status, names.REASON_NOT_CREATED, str(problem), self._deps.clock.now()))
        await self._write_status(job, plan, trouble)
        await self._tell_of_failure(key, job, over=status.finished({"status": plan.status}))
        if trouble:
            return await self._tell(job, trouble)
        return Result(requeue_after_seconds=plan.requeue_after_seconds)

    def wake_all(self, runtime: Object) -> Iterable[Key]:
        """A runtime has come or changed: the TrainJobs that name it look again."""
        return [objects.key(job) for job in self._jobs.list(objects.namespace(runtime))
                if (objects.spec(job).get("runtimeRef") or {}).get("name") == objects.name(runtime)]

    async def _tell_of_failure(self, key: Key, job: Object, *, over: bool) -> None:
        """The first node that failed in an attempt, as an event, when it has failed."""
        if (failure := self._witness.news(key)) is not None:
            await self._deps.recorder.event(job, "Warning", names.EVENT_RANK_FAILED, failure.told())
            self._witness.told(key, failure)
        if over:
            self._witness.forget(key)

    async def _observe(self, key: Key, job: Object) -> Observed:
        reference = objects.spec(job).get("runtimeRef") or {}
        informer = self._runtimes.get(str(reference.get("kind")))
        runtime = None
        if informer is not None:
            namespace = key.namespace if reference["kind"] == kinds.TRAINING_RUNTIMES.kind else ""
            runtime = informer.get(Key(namespace, str(reference.get("name"))))
        failure = self._witness.first(key)
        return Observed(job=job, job_set=self._job_sets.get(key), snapshot=await self._snapshot(key), runtime=runtime,
                        site=self._deps.site, failure=failure.told() if failure is not None else "")

    async def _snapshot(self, key: Key) -> Object | None:
        """Read, not watched: there is one for each TrainJob that ever was, and it matters when a JobSet is made."""
        if (there := self._job_sets.get(key)) is not None and not objects.spec(there).get("suspend"):
            job = self._jobs.get(key)
            if job is not None and not objects.spec(job).get("suspend"):
                return None  # it runs: the runtime is not asked for
        try:
            return await self._deps.client.get(CONFIGMAPS, names.snapshot(key.name), key.namespace)
        except errors.NotFound:
            return None

    async def _apply(self, job: Object, plan: Plan) -> None:
        client = self._deps.client
        if plan.delete is not None:
            await apply.delete_if_there(client, JOB_SETS, plan.delete)
        if plan.snapshot is not None and plan.job_set is not None:
            await client.patch(CONFIGMAPS, objects.key(plan.snapshot), plan.snapshot, type="apply")
        if plan.hosts is not None:
            await self._give_keys(job)
            await client.patch(CONFIGMAPS, objects.key(plan.hosts), plan.hosts, type="apply")
        if plan.pod_group is not None:
            await self._group(plan.pod_group)
        if plan.job_set is not None:
            self._job_sets.observe(
                await client.patch(JOB_SETS, objects.key(plan.job_set), plan.job_set, type="apply"))

    async def _group(self, group: Object) -> None:
        """The PodGroup. Raises ``NoPodGroups``."""
        resource = gangs.resource_of(group)
        try:
            await self._deps.client.patch(resource, objects.key(group), group, type="apply")
        except errors.NotFound as problem:
            raise NoPodGroups(
                f"the runtime's podGroupPolicy asks for a {resource.kind} of {resource.group}, which this cluster does "
                "not serve", remedy="Install that scheduler, or use a runtime without podGroupPolicy") from problem

    async def _give_keys(self, job: Object) -> None:
        """An MPI training's keys, made once. Raises ``AlreadyExists`` where the Secret is another's."""
        key = Key(objects.namespace(job), names.mpi_keys(objects.name(job)))
        try:
            there = await self._deps.client.get(SECRETS, key.name, key.namespace)
        except errors.NotFound:
            private, public = self._deps.key_pair()
            await self._deps.client.create(SECRETS, mpi.make_keys(job, private, public))
            return
        owner = objects.controller_of(there)
        if owner is None or owner.get("uid") != objects.uid(job):
            raise errors.AlreadyExists(f'Secret "{key}" is not this TrainJob\'s',
                                       remedy="Delete or rename it; the TrainJob keeps its ssh keys under that name")

    async def _write_status(self, job: Object, plan: Plan, trouble: str) -> None:
        wanted = status.mark_trouble(plan.status, trouble, self._deps.clock.now())
        self._jobs.observe(await apply.patch_status(self._deps.client, kinds.TRAIN_JOBS, job, wanted))
        for type in (names.COMPLETE, names.FAILED, names.SUSPENDED):
            before, after = conditions.find(job, type) or {}, conditions.find({"status": plan.status}, type) or {}
            if after and after.get("status") != before.get("status"):
                await self._deps.recorder.event(job, "Warning" if type == names.FAILED else "Normal",
                                                str(after.get("reason")), str(after.get("message")))

    async def _tell(self, job: Object, trouble: str) -> Result:
        said = trouble if len(trouble) <= LIMIT_EVENT_CHARACTERS else f"{trouble[:LIMIT_EVENT_CHARACTERS]} ..."
        await self._deps.recorder.event(job, "Warning", names.EVENT_NOT_MADE,
                                        f"TrainJob resources reconciliation failed: {said}")
        return Result(requeue_after_seconds=TROUBLE_RETRY_SECONDS)


def controller(deps: TrainingDeps) -> Controller:
    """The controller of TrainJobs."""
    reconciler = TrainJobReconciler(deps)
    return Controller(name="trainjob", reconciler=reconciler, watches=(
        Watch(resource=kinds.TRAIN_JOBS),
        Watch(resource=kinds.TRAINING_RUNTIMES, keys=reconciler.wake_all),
        Watch(resource=kinds.CLUSTER_TRAINING_RUNTIMES, keys=reconciler.wake_all),
        Watch(resource=PODS, label_selector=names.JOB_SET_LABEL, keys=failures.wakes),
        Watch(resource=JOB_SETS, keys=owner_key(kinds.TRAIN_JOBS.kind)),
    ))
