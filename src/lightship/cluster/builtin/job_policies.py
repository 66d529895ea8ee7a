"""What a Job's ``podFailurePolicy`` says of a failed Pod, and whether its ``successPolicy`` is met. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightship.cluster.builtin import job_indexes, names
from lightship.cluster.builtin.job_indexes import Indexes
from lightship.cluster.builtin.scheduling.facts import GROUP_LABEL
from lightship.kube import conditions, objects
from lightship.kube.objects import Object


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``action`` is empty where no rule matched; ``message`` is there where the Job fails for it."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether the failure counts towards the back-off limits."""
        return self.action != "Ignore"


COUNT = Verdict()
IGNORE = Verdict(action="Ignore")


def judge(job: Object, pod: Object) -> Verdict:
    """The first rule that matches decides. A Pod that the node's own restart ended is nobody's fault."""
    if objects.status(pod).get("reason") == names.NODE_RESTARTED:
        return IGNORE
    for number, rule in enumerate((objects.spec(job).get("podFailurePolicy") or {}).get("rules") or ()):
        action = str(rule.get("action") or "")
        if rule.get("onExitCodes"):
            found = _exit(pod, rule["onExitCodes"])
            if found is None:
                continue
            name, code = found
            why = (f"Container {name} for pod {objects.key(pod)} failed with exit code {code} "
                   f"matching {action} rule at index {number}")
        else:
            condition = _condition(pod, rule.get("onPodConditions") or ())
            if condition is None:
                continue
            why = f"Pod {objects.key(pod)} has condition {condition} matching {action} rule at index {number}"
        return Verdict(action=action, message=why if action == "FailJob" else "")
    return IGNORE if _gave_way(pod) else COUNT


def _gave_way(pod: Object) -> bool:
    """Whether it made room with its gang. Upstream counts that, too, but so many at once would use up any limit."""
    found = conditions.find(pod, "DisruptionTarget") or {}
    return bool(found.get("reason") == names.PREEMPTED and objects.labels(pod).get(GROUP_LABEL))


def _exit(pod: Object, rule: Mapping[str, Any]) -> tuple[str, int] | None:
    """The first container that ended as the rule says: (name, exit code)."""
    status = objects.status(pod)
    values = rule.get("values") or ()
    for entry in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        ended = (entry.get("state") or {}).get("terminated")
        if not ended or (rule.get("containerName") or entry.get("name")) != entry.get("name"):
            continue
        code = int(ended.get("exitCode") or 0)
        if code and (code in values) == (rule.get("operator") == "In"):
            return str(entry.get("name")), code
    return None


def _condition(pod: Object, patterns: Iterable[Mapping[str, Any]]) -> str | None:
    wanted = {(pattern.get("type"), pattern.get("status") or "True") for pattern in patterns}
    for condition in objects.status(pod).get("conditions") or ():
        if (condition.get("type"), condition.get("status")) in wanted:
            return str(condition.get("type"))
    return None


def success(job: Object, succeeded: Indexes) -> str:
    """The message of the first success rule that is met; empty where none is."""
    completions = int(objects.spec(job).get("completions") or 0)
    if not succeeded:
        return ""
    for number, rule in enumerate((objects.spec(job).get("successPolicy") or {}).get("rules") or ()):
        enough = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            required = job_indexes.parse(str(rule["succeededIndexes"]), completions)
            done, needed = job_indexes.common(required, succeeded), job_indexes.total(required)
            met = bool(needed) and (done == needed or (enough is not None and done >= int(enough)))
        else:
            met = enough is not None and job_indexes.total(succeeded) >= int(enough)
        if met:
            return f"Matched rules at index {number}"
    return ""
