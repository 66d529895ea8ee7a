"""What becomes of a JobSet of which Jobs have failed: it ends, or all or one of its Jobs are made anew. Pure.

``plan`` calls me. RestartJob, a feature that upstream has off unless it is asked for, is always on here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lightship.cluster.builtin import job_ends
from lightship.cluster.builtin.jobsets import make, names
from lightship.cluster.builtin.jobsets.state import Alone, Plan, Seen
from lightship.kube import conditions, objects
from lightship.kube.objects import Object
from lightship.lib import regex
from lightship.runtime.events import Announcement

_APPLIED = "FailurePolicyAction"


def fail(seen: Seen, plan: Plan) -> None:
    """Apply the failure policy to Jobs that have failed: the first rule that is about one of them, else a restart."""
    policy = objects.spec(seen.job_set).get("failurePolicy")
    first = _earliest(seen.failed)
    if policy is None:
        _end(plan, first, "FailedJobs", "jobset failed due to one or more job failures")
        return
    rule, job = next(((rule, _earliest(matching)) for rule in policy.get("rules") or ()
                      if (matching := [failed for failed in seen.failed if _applies(rule, failed)])), (None, first))
    action = str(rule.get("action")) if rule is not None else "RestartJobSet"
    if action == "FailJobSet":
        _end(plan, job, "FailJobSet" + _APPLIED, "applying FailJobSet failure policy action")
        return
    counts = not action.endswith("AndIgnoreMaxRestarts")
    if counts and _counted(seen.job_set) >= int(policy.get("maxRestarts") or 0):
        _end(plan, job, "ReachedMaxRestarts", "jobset failed due to reaching max number of restarts")
        return
    message = _naming(f"applying {action} failure policy action", job)
    plan.says.append(Announcement("Warning", f"{action}{_APPLIED}", message))
    if action.startswith("RestartJobSet"):
        plan.status["restarts"] = make.restarts(seen.job_set) + 1
        if counts:
            own = int(objects.status(seen.job_set).get("restartsCountTowardsMax") or 0)
            plan.status["restartsCountTowardsMax"] = own + 1
        reason = f"FailurePolicy_{rule.get('name')}" if rule is not None else "DefaultFailurePolicy"
        plan.conditions.append(("", conditions.make(names.RESTARTING, True, reason, message)))
    else:
        labels = objects.labels(job)
        plan.alone = Alone(replicated=labels[names.REPLICATED_JOB], index=int(labels[names.INDEX]), counted=counts)


def _counted(job_set: Object) -> int:
    """The restarts so far, of all and of single Jobs, that count towards ``maxRestarts``."""
    status = objects.status(job_set)
    alone = [sum(one.get("jobRestartsCountTowardsMax") or ()) for one in status.get("replicatedJobsStatus") or ()]
    return int(status.get("restartsCountTowardsMax") or 0) + sum(alone)


def _earliest(failed: Sequence[Object]) -> Object:
    return min(failed, key=lambda job: (_failed_at(job), objects.name(job)))


def _end(plan: Plan, job: Object, reason: str, message: str) -> None:
    plan.conditions.append(("Warning", conditions.make(names.FAILED, True, reason, _naming(message, job))))
    plan.conditions.append(("", conditions.make(names.RESTARTING, False, "JobSetFailed", "jobset failed")))
    plan.status["terminalState"] = names.FAILED


def _naming(message: str, job: Object) -> str:
    return f"{message} (first failed job: {objects.name(job)})"


def _failed_at(job: Object) -> datetime:
    found = job_ends.finished_at(job)
    assert found is not None, "only failed Jobs are asked"
    return found


def _applies(rule: dict[str, Any], job: Object) -> bool:
    found = conditions.find(job, "Failed") or {}
    reasons, targets = rule.get("onJobFailureReasons") or (), rule.get("targetReplicatedJobs") or ()
    patterns = rule.get("onJobFailureMessagePatterns") or ()
    return ((not reasons or found.get("reason") in reasons)
            and (not patterns or any(_matches(pattern, str(found.get("message") or "")) for pattern in patterns))
            and (not targets or objects.labels(job).get(names.REPLICATED_JOB) in targets))


def _matches(pattern: str, message: str) -> bool:
    """Whether the message has the pattern in it; one that is no pattern is in none."""
    try:
        return regex.compile(pattern).search(message)
    except regex.Refused:
        return False
