"""Runs JobSets (``jobset.x-k8s.io/v1alpha2``): Jobs that start, fail and end as one, and know each other by name.

``builtin`` builds me; ``plan`` decides, ``make`` makes; I call ``client``. Trainers make JobSets.
"""

from __future__ import annotations

from functools import partial

from lightship import errors
from lightship.cluster.builtin import children
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.builtin.jobsets import make, names, plan
from lightship.cluster.builtin.jobsets.state import Plan, Seen
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import JOB_SETS, JOBS, PERSISTENT_VOLUME_CLAIMS, SERVICES
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.events import Announcement, Recorder

NAME = "jobset-controller"
LIMIT_WRITES_AT_ONCE = 16
_WORDS = children.Words("Created job {name}", "Deleted job {name}")


class JobSets:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._job_sets = deps.manager.informer(JOB_SETS)
        self._claims = (deps.manager.informer(PERSISTENT_VOLUME_CLAIMS)
                        if deps.serves(PERSISTENT_VOLUME_CLAIMS) else None)
        self._services = deps.manager.informer(SERVICES)
        self._children = children.Children(deps, NAME, owner=JOB_SETS, child=JOBS, words=_WORDS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        job_set = self._job_sets.get(key)
        if job_set is None or objects.spec(job_set).get("managedBy", names.MANAGER) != names.MANAGER:
            return DONE
        wanted = plan.decide(Seen(job_set, self._children.owned(job_set)), self._clock.now())
        if wanted.remove:
            await apply.delete_if_there(self._client, JOB_SETS, job_set, propagation="Foreground")
            return DONE
        done: list[Announcement] = []
        trouble: errors.LightshipError | None = None
        try:
            await self._act(job_set, wanted, done)
        except errors.LightshipError as error:
            trouble = error
        after = Seen(job_set, self._children.owned(job_set))
        wanted.status["replicatedJobsStatus"] = plan.job_statuses(after, wanted.alone)
        status, says = plan.status(job_set, wanted, self._clock.now())
        if wanted.create and not after.previous and objects.annotations(job_set).get(names.EXCLUSIVE):
            says.append(Announcement("Warning", "ExclusivePlacementIgnored", f"{names.EXCLUSIVE} has no effect: Jobs "
                                     "of this cluster share its nodes"))
        job_set = await apply.patch_status(self._client, JOB_SETS, job_set, status)
        self._job_sets.observe(job_set)
        await self._events.announce(job_set, [*(said for said in done if said.type == "Warning"), *says])
        if trouble is not None:
            raise trouble
        return Result(requeue_after_seconds=wanted.requeue_after_seconds)

    async def _act(self, job_set: Object, wanted: Plan, done: list[Announcement]) -> None:
        await tasks.each([partial(self._delete, job) for job in wanted.delete], at_once=LIMIT_WRITES_AT_ONCE)
        if wanted.service:
            await self._serve(job_set)
        for claim in wanted.claims:
            await self._claim(claim)
        await self._children.create(wanted.create, done)
        for job in wanted.suspend:
            await self._children.patch(job, {"spec": {"suspend": True}})
        for job in wanted.resume:
            await self._children.patch(job, make.resumed(job_set, job))

    async def _delete(self, job: Object) -> None:
        """In the foreground: its name is free once its Pods are gone."""
        await self._children.delete_whole(job)

    async def _claim(self, claim: Object) -> None:
        """A claim that its Jobs share. One of that name that is there already, whoever's, will do."""
        if self._claims is None or self._claims.get(objects.key(claim)) is not None:
            return
        try:
            self._claims.observe(await self._client.create(PERSISTENT_VOLUME_CLAIMS, claim))
        except errors.AlreadyExists:
            return

    async def _serve(self, job_set: Object) -> None:
        """The Service by which Pods know each other's names. One that is there already, whoever's, will do."""
        service = make.make_service(job_set)
        if self._services.get(objects.key(service)) is not None:
            return
        try:
            self._services.observe(await self._client.create(SERVICES, service))
        except errors.AlreadyExists:
            return


def controller(deps: Deps) -> Controller:
    return Controller(name=NAME, reconciler=JobSets(deps),
                      watches=(Watch(resource=JOB_SETS), Watch(resource=JOBS, keys=owner_key("JobSet")),
                               Watch(resource=SERVICES, keys=owner_key("JobSet"))))
