"""What a JobSet does next, given its Jobs. Pure; ``jobsets`` calls me once a pass."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lightship.cluster.builtin.jobsets import claims, failures, make, names
from lightship.cluster.builtin.jobsets.state import Alone, Plan, Seen
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Object
from lightship.runtime.events import Announcement


def decide(seen: Seen, now: datetime) -> Plan:
    """The next step."""
    job_set, plan = seen.job_set, Plan()
    plan.status["replicatedJobsStatus"] = job_statuses(seen)
    if objects.deleting(job_set):
        return plan
    ended = finished_at(job_set)
    if ended is not None:
        plan.delete = [job for job in seen.active if not objects.deleting(job)]
        keep = objects.spec(job_set).get("ttlSecondsAfterFinished")
        if keep is not None:
            left = float(keep) - (now - ended).total_seconds()
            plan.remove = left <= 0
            plan.requeue_after_seconds = left if left > 0 else None
        return plan
    plan.delete = [job for job in seen.previous if not objects.deleting(job)]
    if seen.failed:
        failures.fail(seen, plan)
        plan.status["replicatedJobsStatus"] = job_statuses(seen, plan.alone)
    elif seen.successful and _succeeded(seen):
        plan.conditions.append(("Normal", conditions.make(
            names.COMPLETED, True, "AllJobsCompleted", "jobset completed successfully")))
        plan.conditions.append(("", conditions.make(
            names.RESTARTING, False, "JobSetCompleted", "jobset completed successfully")))
        plan.status["terminalState"] = names.COMPLETED
    else:
        _go_on(seen, plan)
    return plan


def finished_at(job_set: Object) -> datetime | None:
    for kind in (names.COMPLETED, names.FAILED):
        condition = conditions.find(job_set, kind)
        if condition is not None and condition.get("status") == "True":
            return times.parse(str(condition["lastTransitionTime"]))
    return None


def job_statuses(seen: Seen, alone: Alone | None = None) -> list[dict[str, Any]]:
    """How far each replicated Job is, and which of its Jobs were made anew ``alone``."""
    result = []
    for replicated in make.replicated_jobs(seen.job_set):
        def mine(jobs: Sequence[Object], name: str = replicated["name"]) -> list[Object]:
            return [job for job in jobs if objects.labels(job).get(names.REPLICATED_JOB) == name]

        active = mine(seen.active)
        result.append({
            "name": replicated["name"], "ready": sum(map(_ready, active)), "succeeded": len(mine(seen.successful)),
            "failed": len(mine(seen.failed)),
            "active": sum(1 for job in active if objects.status(job).get("active")),
            "suspended": sum(1 for job in active if objects.spec(job).get("suspend")),
        } | _restarted(seen.job_set, replicated, alone))
    return result


def _restarted(job_set: Object, replicated: make.ReplicatedJob, alone: Alone | None) -> dict[str, list[int]]:
    """The counts of single Jobs that were made anew, with the one that now is; nothing where none ever was."""
    name, size = replicated["name"], make.replicas(replicated)
    states = objects.status(job_set).get("replicatedJobsStatus") or ()
    before: dict[str, Any] = next((state for state in states if state.get("name") == name), {})
    counts = {}
    for field, more in (("jobRestarts", True), ("jobRestartsCountTowardsMax", alone is not None and alone.counted)):
        numbers = list(before.get(field) or [0] * size)
        if alone is not None and alone.replicated == name and more:
            numbers[alone.index] += 1
        if any(numbers):
            counts[field] = numbers
    return counts


def _ready(job: Object) -> bool:
    spec, status = objects.spec(job), objects.status(job)
    wanted = int(spec.get("parallelism") or 1)
    if spec.get("completions") is not None:
        wanted = min(wanted, int(spec["completions"]))
    return int(status.get("succeeded") or 0) + int(status.get("ready") or 0) >= wanted


def _succeeded(seen: Seen) -> bool:
    policy = objects.spec(seen.job_set).get("successPolicy") or {}
    targets = policy.get("targetReplicatedJobs") or ()
    done = sum(1 for job in seen.successful if not targets or objects.labels(job).get(names.REPLICATED_JOB) in targets)
    if policy.get("operator") == "Any":
        return done >= 1
    return done >= sum(make.replicas(replicated) for replicated in make.replicated_jobs(seen.job_set)
                       if not targets or replicated["name"] in targets)


def _go_on(seen: Seen, plan: Plan) -> None:
    """Make the Jobs whose turn it is, and suspend or resume those that are there."""
    job_set = seen.job_set
    plan.service = make.has_host_names(job_set)
    plan.claims = claims.make(job_set)
    suspended = make.suspended(job_set)
    in_order = (objects.spec(job_set).get("startupPolicy") or {}).get("startupPolicyOrder") == "InOrder"
    states = {state["name"]: state for state in plan.status["replicatedJobsStatus"]}
    everyone = make.replicated_jobs(job_set)
    sizes = {replicated["name"]: make.replicas(replicated) for replicated in everyone}
    blocked = bool(seen.previous) and (
        objects.spec(job_set).get("failurePolicy") or {}).get("restartStrategy") == "BlockingRecreate"
    there = {objects.name(job) for job in seen.jobs}
    all_begun = True
    for replicated in everyone:
        name = replicated["name"]
        if not all(_reached(depends, states, sizes) for depends in replicated.get("dependsOn") or ()):
            all_begun = False
            continue
        if in_order and not suspended and _started(states[name], sizes[name]):
            continue
        if not blocked:
            plan.create += [make.make_job(job_set, replicated, index) for index in range(sizes[name])
                            if make.job_name(job_set, replicated, index) not in there]
        if not suspended:
            plan.resume += [job for job in seen.active if objects.spec(job).get("suspend")
                            and objects.labels(job).get(names.REPLICATED_JOB) == name]
        if in_order and not suspended:
            plan.conditions.append(("Normal", conditions.make(
                names.IN_PROGRESS, True, "InOrderStartupPolicyInProgress", "in order startup policy is in progress")))
            return
    if suspended:
        plan.suspend = [job for job in seen.active if not objects.spec(job).get("suspend")]
        plan.conditions.append(("Normal", conditions.make(
            names.SUSPENDED, True, "SuspendedJobs", "jobset is suspended")))
        plan.conditions.append(("", conditions.make(
            names.RESTARTING, False, "JobSetSuspended", "jobset is suspended")))
        return
    if all(state["ready"] + state["succeeded"] >= sizes[name] for name, state in states.items()):
        plan.conditions.append(("", conditions.make(names.RESTARTING, False, "JobsReady", "all jobs are ready")))
    if in_order and all_begun:
        plan.conditions.append(("Normal", conditions.make(
            names.STARTED, True, "InOrderStartupPolicyCompleted", "in order startup policy has completed")))
    if conditions.is_true(job_set, names.SUSPENDED):
        plan.conditions.append(("Normal", conditions.make(
            names.SUSPENDED, False, "ResumeJobs", "jobset is resumed")))


def _started(state: dict[str, Any], size: int) -> bool:
    return int(state["ready"] + state["succeeded"] + state["failed"]) >= size


def _reached(depends: dict[str, Any], states: dict[str, dict[str, Any]], sizes: dict[str, int]) -> bool:
    """Whether a replicated Job that another waits for is as far as that one wants."""
    name = str(depends.get("name"))
    state = states.get(name)
    if state is None:
        return False
    return bool(state["succeeded"] >= sizes[name]) if depends.get("status") == "Complete" else _started(
        state, sizes[name])


def status(job_set: Object, plan: Plan, now: datetime) -> tuple[dict[str, Any], list[Announcement]]:
    """The whole status, and what is said of it."""
    old = objects.status(job_set)
    result = dict(old) | plan.status
    result.setdefault("restarts", 0)
    merged, says = list(old.get("conditions") or ()), list(plan.says)
    for event, condition in plan.conditions:
        known = next((found for found in merged if found["type"] == condition["type"]), None)
        if known is not None and known.get("status") == condition["status"]:
            continue
        if known is None and condition["status"] != "True":
            continue
        other = {names.IN_PROGRESS: names.STARTED, names.STARTED: names.IN_PROGRESS}.get(condition["type"])
        merged = [found | {"status": "False", "lastTransitionTime": times.rfc3339(now)}
                  if found["type"] == other and found.get("status") == "True" else found for found in merged]
        merged = conditions.merge(merged, condition, now)
        if event:
            says.append(Announcement("Warning" if event == "Warning" else "Normal", condition["reason"],
                                     condition["message"]))
    if merged:
        result["conditions"] = merged
    return result, says
