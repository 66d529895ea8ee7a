"""Runs Jobs: as many Pods as they ask for until enough have succeeded or too many have failed.

``builtin`` builds me; ``job_plan`` decides; I call ``client``. Simple for now: Pods are counted as they are there (no
tracking finalizer), and failure policies wait for issue 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from lightship import errors
from lightship.cluster.builtin import job_plan
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import JOBS, PODS
from lightship.lib import ids, tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.events import Announcement, Recorder

NAME = "job-controller"
LIMIT_WRITES_AT_ONCE = 16


class Jobs:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._jobs = deps.manager.informer(JOBS)
        self._pods = deps.manager.informer(PODS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._ids: ids.IdSource = deps.id_source
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        job = self._jobs.get(key)
        if job is None:
            return DONE
        plan = job_plan.decide(job, self._pods.owned_by(objects.uid(job)), self._clock.now())
        if plan.remove_job:
            await apply.delete_if_there(self._client, JOBS, job)
            return DONE
        done: list[Announcement] = []
        works = [partial(self._create, job, index, done) for index in plan.create]
        try:
            await tasks.each([*works, *(partial(self._delete, pod, done) for pod in plan.delete)],
                             at_once=LIMIT_WRITES_AT_ONCE)
        except errors.InvalidInput as error:
            await self._events.event(job, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        # Counted anew, so that the status tells of the Pods just made and no second write follows for them.
        after = job_plan.decide(job, self._pods.owned_by(objects.uid(job)), self._clock.now())
        changed = await apply.patch_status(self._client, JOBS, job, after.status)
        self._jobs.observe(changed)
        await self._events.announce(changed, [*done, *_ends(job, changed)])
        return Result(requeue_after_seconds=plan.requeue_after_seconds)

    async def _create(self, job: Object, index: int | None, done: list[Announcement]) -> None:
        pod = await self._client.create(PODS, job_plan.make_pod(job, self._ids.suffix(5), index))
        self._pods.observe(pod)
        done.append(Announcement("Normal", "SuccessfulCreate", f"Created pod: {objects.name(pod)}"))

    async def _delete(self, pod: Object, done: list[Announcement]) -> None:
        await apply.delete_if_there(self._client, PODS, pod)
        done.append(Announcement("Normal", "SuccessfulDelete", f"Deleted pod: {objects.name(pod)}"))


def _ends(before: Object, after: Object) -> Iterable[Announcement]:
    """What is said of a Job that has come to its end with this pass."""
    if job_plan.finished_at(before) is not None or job_plan.finished_at(after) is None:
        return
    for condition in objects.status(after).get("conditions") or ():
        if condition["type"] == "Complete":
            yield Announcement("Normal", "Completed", "Job completed")
        elif condition["type"] == "Failed":
            yield Announcement("Warning", condition["reason"], condition["message"])


def controller(deps: Deps) -> Controller:
    return Controller(
        name=NAME, reconciler=Jobs(deps),
        watches=(Watch(resource=JOBS), Watch(resource=PODS, keys=owner_key("Job"))),
    )
