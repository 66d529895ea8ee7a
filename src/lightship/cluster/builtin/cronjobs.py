"""Starts the Jobs of CronJobs when they are due.

``builtin`` builds me; ``cron_plan`` decides; I call ``client``. A Job's name says for which time it is, so that no time
is served twice, whatever crashes.
"""

from __future__ import annotations

from lightship import errors
from lightship.cluster.builtin import children, cron_plan, job_ends
from lightship.cluster.builtin.deps import Deps
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CRON_JOBS, JOBS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.events import Announcement, Recorder

NAME = "cronjob-controller"
_WORDS = children.Words("Created job {name}", "Deleted job {name}")


class CronJobs:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._cron_jobs = deps.manager.informer(CRON_JOBS)
        self._children = children.Children(deps, NAME, owner=CRON_JOBS, child=JOBS, words=_WORDS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        cron_job = self._cron_jobs.get(key)
        if cron_job is None:
            return DONE
        before = self._children.owned(cron_job)
        plan = cron_plan.decide(cron_job, before, self._clock.now())
        done: list[Announcement] = [*plan.says, *_completed(cron_job, before)]
        await self._children.delete(plan.delete, done)
        if plan.start is not None:
            await self._start(cron_job, cron_plan.make_job(cron_job, plan.start), done)
        status = cron_plan.status(cron_job, self._children.owned(cron_job), plan.served)
        cron_job = await apply.patch_status(self._client, CRON_JOBS, cron_job, status)
        self._cron_jobs.observe(cron_job)
        await self._events.announce(cron_job, done)
        return Result(requeue_after_seconds=plan.requeue_after_seconds)

    async def _start(self, cron_job: Object, job: Object, done: list[Announcement]) -> None:
        try:
            await self._children.create([job], done)
        except errors.AlreadyExists:
            there = await self._client.get(JOBS, objects.name(job), objects.namespace(job))
            if (objects.controller_of(there) or {}).get("uid") != objects.uid(cron_job):
                raise
            done.clear()  # it was made before a crash, and only the status does not tell of it yet
        except errors.LightshipError:
            await self._events.announce(cron_job, done)
            raise


def _completed(cron_job: Object, jobs: list[Object]) -> list[Announcement]:
    """What is said of Jobs that the status still calls active and that are over."""
    active = {entry.get("uid") for entry in objects.status(cron_job).get("active") or ()}
    said = []
    for job in jobs:
        if objects.uid(job) in active and job_ends.finished_at(job) is not None:
            condition = "Complete" if conditions.is_true(job, "Complete") else "Failed"
            said.append(Announcement("Normal", "SawCompletedJob",
                                     f"Saw completed job: {objects.name(job)}, condition: {condition}"))
    return said


def controller(deps: Deps) -> Controller:
    return Controller(name=NAME, reconciler=CronJobs(deps),
                      watches=(Watch(resource=CRON_JOBS), Watch(resource=JOBS, keys=owner_key("CronJob"))))
