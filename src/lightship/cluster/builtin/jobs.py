"""Runs Jobs: as many Pods as they ask for until enough have succeeded or too many have failed.

``builtin`` builds me; ``job_plan`` and ``job_status`` decide; I call ``client``. Each pass makes and deletes Pods,
writes the status once, and then lets those Pods go that the status has told of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from lightship import errors
from lightship.cluster.builtin import children, job_ends, job_plan, job_pods, job_status, names
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects, patches
from lightship.kube.objects import Key, Object
from lightship.kube.resources import JOBS, PODS
from lightship.lib import ids, tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Announcement, Recorder

NAME = "job-controller"
MANAGER = "kubernetes.io/job-controller"
LIMIT_WRITES_AT_ONCE = 16
_OF_JOB = "jobs:of"


class Jobs:
    """The pass: observe, decide, apply."""

    def __init__(self, deps: Deps) -> None:
        self._jobs = deps.manager.informer(JOBS)
        self._pods = deps.manager.informer(PODS)
        self._pods.add_index(_OF_JOB, lambda pod: (str(key) for key in _job_of(pod)))
        self.children = children.Children(deps, NAME, owner=JOBS, child=PODS)
        self._client = deps.manager.client_for(NAME)
        self._clock = deps.clock
        self._ids: ids.IdSource = deps.id_source
        self._events = Recorder(self._client, NAME, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        job = self._jobs.get(key)
        await self._free_strangers(key, job)
        if job is None or objects.spec(job).get("managedBy", MANAGER) != MANAGER:
            return DONE
        ended = job_ends.finished_at(job)
        if ended is not None:
            return await self._after_the_end(job, (self._clock.now() - ended).total_seconds())
        return await self._go_on(job)

    async def _go_on(self, job: Object) -> Result:
        selector = children.selector_of(job)
        owned = (await self.children.claim(job, selector, may=_unfinished) if selector
                 else self.children.owned(job))
        plan = job_plan.decide(job_plan.Seen(job, owned, self._clock.now()))
        done: list[Announcement] = []
        trouble: errors.LightshipError | None = None
        try:
            await self._act(job, plan, done)
        except errors.LightshipError as error:
            trouble = error  # what was done is told of all the same
        # Counted anew, so that the status tells of the Pods just made and no second write follows for them.
        after = job_plan.Seen(job, self.children.owned(job), self._clock.now())
        end = plan.end if trouble is not None else job_plan.decide(after).end
        outcome = job_status.tell(after, end)
        changed = await self._write_status(job, outcome.status)
        await self._release(outcome.release)
        await self._events.announce(changed, [*done, *_news(job, changed)])
        if trouble is not None:
            raise trouble
        return Result(requeue_after_seconds=plan.requeue_after_seconds)

    async def _act(self, job: Object, plan: job_plan.Plan, done: list[Announcement]) -> None:
        await tasks.each([partial(self._discard, pod, done) for pod in plan.discard], at_once=LIMIT_WRITES_AT_ONCE)
        await self.children.delete(plan.delete, done)
        await self.children.create([job_pods.make_pod(job, self._ids.suffix(5), wanted) for wanted in plan.create],
                                   done)

    async def _discard(self, pod: Object, done: list[Announcement]) -> None:
        """Delete a Pod that is not to be counted."""
        await self.children.drop_finalizer(pod, job_pods.TRACKING)
        await self.children.delete((pod,), done)

    async def _write_status(self, job: Object, status: dict[str, object]) -> Object:
        """Only over the Job that the counts were taken from: they are never added twice."""
        patch = patches.diff(objects.status(job), status)
        if not patch:
            return job
        changed = await self._client.patch(JOBS, objects.key(job), {
            "metadata": {"resourceVersion": objects.meta(job).get("resourceVersion"), "uid": objects.uid(job)},
            "status": patch}, subresource="status")
        self._jobs.observe(changed)
        return changed

    async def _release(self, released: Iterable[Object]) -> None:
        await tasks.each([partial(self.children.drop_finalizer, pod, job_pods.TRACKING) for pod in released],
                         at_once=LIMIT_WRITES_AT_ONCE)

    async def _after_the_end(self, job: Object, age_seconds: float) -> Result:
        """Let all Pods go, and the Job itself when its time has come. What counts stands in the status."""
        owned = self.children.owned(job)
        await self.children.delete((pod for pod in owned if not objects.deleting(pod) and _unfinished(pod)), [])
        await self._release(pod for pod in self.children.owned(job) if job_pods.tracked(pod))
        keep = objects.spec(job).get("ttlSecondsAfterFinished")
        if keep is None or objects.deleting(job):
            return DONE
        if age_seconds >= float(keep):
            await apply.delete_if_there(self._client, JOBS, job, propagation="Foreground")
            return DONE
        return Result(requeue_after_seconds=float(keep) - age_seconds)

    async def _free_strangers(self, key: Key, job: Object | None) -> None:
        """Let Pods go that wait to be counted by a Job of this name that is no more."""
        uid = objects.uid(job) if job is not None else ""
        left = [pod for pod in self._pods.indexed(_OF_JOB, str(key))
                if (objects.controller_of(pod) or {}).get("uid") != uid]
        if left and (job is not None or await self._is_gone(key)):
            await self._release(left)

    async def _is_gone(self, key: Key) -> bool:
        """Asked of the server, since the cache may only be behind."""
        try:
            await self._client.get(JOBS, key.name, key.namespace)
        except errors.NotFound:
            return True
        return False


def _unfinished(pod: Object) -> bool:
    return objects.status(pod).get("phase") not in ("Succeeded", "Failed")


def _job_of(pod: Object) -> Sequence[Key]:
    """The Job that a tracked Pod is or was of."""
    if not job_pods.tracked(pod):
        return ()
    owner = objects.controller_of(pod)
    if owner is not None:
        return (Key(objects.namespace(pod), str(owner["name"])),) if owner.get("kind") == "Job" else ()
    name = objects.labels(pod).get(names.JOB_NAME)
    return (Key(objects.namespace(pod), name),) if name else ()


def _news(before: Object, after: Object) -> Iterable[Announcement]:
    """What is said of a Job whose conditions have changed with this pass."""
    said = {c["type"]: c["status"] for c in objects.status(before).get("conditions") or ()}
    for condition in objects.status(after).get("conditions") or ():
        kind, status = condition["type"], condition["status"]
        if said.get(kind) == status:
            continue
        if kind == "Suspended":
            yield Announcement("Normal", "Suspended" if status == "True" else "Resumed", condition["message"])
        elif kind == "Complete":
            most = objects.spec(after).get("completions")
            if most is not None and int(objects.status(after).get("succeeded") or 0) > int(most):
                yield Announcement("Warning", "TooManySucceededPods",
                                   "Too many succeeded pods running after completion count reached")
            yield Announcement("Normal", "Completed", "Job completed")
        elif kind == "Failed":
            yield Announcement("Warning", condition["reason"], condition["message"])


def controller(deps: Deps) -> Controller:
    jobs = Jobs(deps)
    return Controller(name=NAME, reconciler=jobs,
                      watches=(*jobs.children.watches(), Watch(resource=PODS, keys=_job_of)))
