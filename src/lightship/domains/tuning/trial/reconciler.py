"""Runs a Trial: makes its run, sees how it ends, takes in what it measured, and deletes the run where it is not kept.

``runtime.manager`` calls me with keys: when the Trial changes (its Experiment makes it), when its run changes, and when
an early stopping rule is met. I write through ``client`` and ``runs``; the status once, and the run goes after it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lightship import errors
from lightship.client.client import EVERYTHING
from lightship.domains.tuning import gjson, kinds, marks, names
from lightship.domains.tuning.deps import TuningDeps
from lightship.domains.tuning.marks import Status
from lightship.domains.tuning.trial import children, status
from lightship.domains.tuning.trial.runs import Runs
from lightship.kube import conditions, objects, patches, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource
from lightship.runtime import apply, finalizers
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "trial"
WORKERS = 64
"""Passes at once, since one may wait for the end of a log."""
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A Trial's run, and its kind."""

    resource: Resource
    object: Object


class _Refused(Exception):
    """The run cannot be made, for the user to read."""


class TrialReconciler:
    """One pass."""

    def __init__(self, deps: TuningDeps, runs: Runs) -> None:
        self._deps = deps
        self._runs = runs
        self._trials = deps.informer(kinds.TRIALS, EVERYTHING)
        self._ending = asyncio.Lock()
        self._ended: datetime | None = None

    async def reconcile(self, key: Key) -> Result:
        trial = self._trials.get(key)
        if trial is None:
            return DONE
        if objects.deleting(trial):
            return await self._release(trial)
        if status.ended(objects.status(trial)):
            await self._clean(trial)
            return DONE
        before = dict(objects.status(trial))
        try:
            run = await self._run(trial)
            marked = await self._judge(trial, run, before)
        except (_Refused, errors.InvalidInput) as problem:
            run, marked = None, status.mark_refused(before, str(problem), self._deps.clock.now())
        if status.ended(marked):
            await self._end(trial, marked)
        else:
            self._trials.observe(await apply.patch_status(self._deps.client, kinds.TRIALS, trial, marked))
        if run is not None and status.ended(marked) and not objects.spec(trial).get("retainRun"):
            await self._runs.delete(run.resource, run.object)
        return DONE

    async def _end(self, trial: Object, marked: Status) -> None:
        """Write an end. Ends are written one after another, each later than the one before, and none of them twice:

        their order is what the next suggestions come from, so it must be the same for whoever reads it when.
        """
        async with self._ending:
            end = max(self._deps.clock.now(), (self._ended or self._last_end()) + _TICK)
            patch = patches.diff(objects.status(trial), marked | {"completionTime": times.rfc3339_micro(end)})
            self._trials.observe(await self._deps.client.patch(kinds.TRIALS, objects.key(trial), {
                "metadata": {"resourceVersion": objects.meta(trial).get("resourceVersion")}, "status": patch},
                subresource="status"))
            self._ended = end
        await self._tell(trial, marked)

    def _last_end(self) -> datetime:
        """The latest end before I began, in case the clock has been set back since."""
        ends = [str(end) for trial in self._trials.list() if (end := objects.status(trial).get("completionTime"))]
        return times.parse(max(ends)) if ends else datetime.min.replace(tzinfo=UTC)

    async def _run(self, trial: Object) -> _Run:
        """The Trial's run, made where it is not there. Raises ``_Refused``."""
        wanted = objects.spec(trial).get("runSpec") or {}
        try:
            resource = await self._runs.resource(wanted)
            run = await self._runs.find(resource, objects.key(trial))
            if run is None:
                run = await self._runs.make(resource, trial, children.owner(trial))
        except (errors.InvalidInput, errors.NotFound) as problem:
            raise _Refused(str(problem)) from problem
        except errors.Forbidden as problem:
            raise _Refused(f"{problem}. Bind a ClusterRole that allows it to ServiceAccount "
                           "kubeflow/tuning") from problem
        owner = objects.controller_of(run) or {}
        if owner.get("uid") != objects.uid(trial):
            experiment = objects.controller_of(trial) or {}
            if owner.get("uid") != experiment.get("uid") or objects.deleting(run):
                if objects.deleting(run):
                    raise errors.Conflict(f'{resource.kind} "{objects.key(run)}" of another Trial is going')
                raise _Refused(f'{resource.kind} "{objects.key(run)}" is there and belongs to '
                               f'{owner.get("kind") or "nobody"} "{owner.get("name", "")}"')
            run = await self._runs.adopt(resource, trial, run)
        return _Run(resource=resource, object=run)

    async def _judge(self, trial: Object, run: _Run, before: Status) -> Status:
        """The status as the run, and what it has measured, make it."""
        spec = objects.spec(trial)
        failed = gjson.find(run.object, str(spec.get("failureCondition") or ""))
        succeeded = gjson.find(run.object, str(spec.get("successCondition") or "")) if failed is None else None
        collecting = self._deps.collecting
        if failed is not None:
            return status.mark_ended(before, names.FAILED, failed, self._deps.clock.now())
        if succeeded is not None:
            observed = await collecting.collect(trial)
            type = names.SUCCEEDED if status.available(trial, observed) else names.METRICS_UNAVAILABLE
            return status.propagate_observation(
                status.mark_ended(before, type, succeeded, self._deps.clock.now()), observed)
        collecting.follow(trial)
        if spec.get("earlyStoppingRules") and (rule := collecting.met(trial)) is not None:
            observed = await collecting.collect(trial)
            return status.propagate_observation(
                status.mark_early_stopped(before, rule, self._deps.clock.now()), observed)
        if marks.is_true(before, names.RUNNING):
            return before
        return status.mark_running(before, self._deps.clock.now())

    async def _clean(self, trial: Object) -> None:
        """Delete the run of a Trial that ended, where the pass that ended it came no further."""
        if objects.spec(trial).get("retainRun"):
            return
        try:
            resource = await self._runs.resource(objects.spec(trial).get("runSpec") or {})
        except (errors.NotFound, errors.InvalidInput):
            return  # there never was one
        run = await self._runs.find(resource, objects.key(trial))
        if run is not None and not objects.deleting(run) and (objects.controller_of(run) or {}).get(
                "uid") == objects.uid(trial):
            await self._runs.delete(resource, run)

    async def _release(self, trial: Object) -> Result:
        """Its observations go with it."""
        if names.METRICS_FINALIZER in objects.finalizers(trial):
            await self._deps.collecting.forget(trial)
            await finalizers.remove(self._deps.client, kinds.TRIALS, trial, names.METRICS_FINALIZER)
        return DONE

    async def _tell(self, trial: Object, marked: Status) -> None:
        for type, reason, level in ((names.SUCCEEDED, names.EVENT_JOB_SUCCEEDED, "Normal"),
                                    (names.FAILED, names.EVENT_JOB_FAILED, "Warning"),
                                    (names.METRICS_UNAVAILABLE, names.TRIAL_METRICS_UNAVAILABLE, "Warning"),
                                    (names.EARLY_STOPPED, names.TRIAL_EARLY_STOPPED, "Normal")):
            after = conditions.find({"status": marked}, type) or {}
            if after.get("status") == "True" and not marks.is_true(objects.status(trial), type):
                await self._deps.recorder.event(trial, "Warning" if level == "Warning" else "Normal", reason,
                                                str(after.get("message")))


def controller(deps: TuningDeps, runs: Runs) -> Controller:
    """The controller of Trials."""
    return Controller(name=NAME, reconciler=TrialReconciler(deps, runs), workers=WORKERS,
                      watches=(Watch(resource=kinds.TRIALS),))
