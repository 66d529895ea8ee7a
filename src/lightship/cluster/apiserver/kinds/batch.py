"""CronJobs and JobSets: defaults and validation. Pure; ``kinds.workload_table`` puts these into the registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lightship.cluster.apiserver import workloads
from lightship.cluster.apiserver.kinds import claim_policies, pods
from lightship.cluster.apiserver.registry import FieldFault
from lightship.cluster.apiserver.shapes import LABEL_RULE, is_label
from lightship.kube import objects
from lightship.kube.objects import Object

LIMIT_CRON_NAME_CHARACTERS = 52
LIMIT_JOB_NAME_CHARACTERS = 63
_MACROS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})


def default_cron_job(obj: Object) -> Object:
    spec: dict[str, Any] = {"concurrencyPolicy": "Allow", "suspend": False, "successfulJobsHistoryLimit": 3,
                            "failedJobsHistoryLimit": 1} | pods.given(objects.spec(obj))
    job = spec.get("jobTemplate")
    if job:
        inner = objects.spec(job)
        if inner.get("template"):
            inner = inner | {"template": workloads.default_template(inner["template"])}
        spec["jobTemplate"] = {"metadata": {}} | job | {"spec": inner}
    return obj | {"spec": spec}


def validate_cron_job(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(_cron_faults(obj))


def _cron_faults(obj: Object) -> Iterator[FieldFault]:
    spec = objects.spec(obj)
    if len(objects.name(obj)) > LIMIT_CRON_NAME_CHARACTERS:
        yield FieldFault("metadata.name", f'Invalid value: "{objects.name(obj)}": must be no more than '
                                          f"{LIMIT_CRON_NAME_CHARACTERS} characters")
    schedule = spec.get("schedule") or ""
    if not schedule:
        yield FieldFault("spec.schedule", "Required value")
    elif why := cron_trouble(schedule):
        yield FieldFault("spec.schedule", f'Invalid value: "{schedule}": {why}')
    zone = spec.get("timeZone")
    if zone is not None and (not zone or zone.lower() == "local" or not _zone_known(zone)):
        yield FieldFault("spec.timeZone", f'Invalid value: "{zone}": unknown time zone {zone}')
    if spec.get("concurrencyPolicy") not in ("Allow", "Forbid", "Replace"):
        yield pods.unsupported("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), "Allow", "Forbid",
                                    "Replace")
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if (spec.get(field) or 0) < 0:
            yield pods.negative(f"spec.{field}", spec[field])
    job = objects.spec(spec.get("jobTemplate") or {})
    yield from workloads.job_spec_faults(job, "spec.jobTemplate.spec")
    if job.get("manualSelector"):
        yield pods.unsupported("spec.jobTemplate.spec.manualSelector", True, "nil", "false")


_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES: tuple[tuple[str, ...], ...] = (
    (), (), (), ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))


def cron_trouble(schedule: str) -> str:
    """Why ``schedule`` is not a standard cron line; empty where it is one."""
    if schedule.startswith("@"):
        known = schedule in _MACROS or schedule.startswith("@every ")
        return "" if known else f"unrecognized descriptor: {schedule}"
    if "TZ=" in schedule:
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    fields = schedule.split()
    if len(fields) != len(_RANGES):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for number, field in enumerate(fields):
        for part in field.split(","):
            if why := _part_trouble(part, number):
                return why
    return ""


def _part_trouble(part: str, number: int) -> str:
    low, high = _RANGES[number]
    span, slash, step = part.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
        return f"step of range should be a positive number: {part}"
    if span in ("*", "?"):
        return ""
    first, dash, last = span.partition("-")
    values = []
    for text in (first, last) if dash else (first,):
        value = _cron_value(text, number)
        if value is None:
            return f"failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax"
        values.append(value)
    if min(values) < low:
        return f"beginning of range ({min(values)}) below minimum ({low}): {part}"
    if max(values) > high:
        return f"end of range ({max(values)}) above maximum ({high}): {part}"
    return f"beginning of range ({values[0]}) beyond end of range ({values[1]}): {part}" if values != sorted(
        values) else ""


def _cron_value(text: str, number: int) -> int | None:
    names = _NAMES[number]
    if text.lower() in names:
        return names.index(text.lower()) + _RANGES[number][0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _zone_known(name: str) -> bool:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def default_job_set(obj: Object) -> Object:
    spec: dict[str, Any] = {"successPolicy": {"operator": "All"},
                            "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
                            } | pods.given(objects.spec(obj))
    spec["network"] = {"enableDNSHostnames": True, "publishNotReadyAddresses": True} | pods.given(
        spec.get("network") or {})
    spec["replicatedJobs"] = [_default_replicated(job) for job in spec.get("replicatedJobs") or []]
    failure = spec.get("failurePolicy")
    if failure:
        rules = [{"name": f"failurePolicyRule{number}"} | {k: v for k, v in rule.items() if v not in (None, "")}
                 for number, rule in enumerate(failure.get("rules") or [])]
        spec["failurePolicy"] = {"restartStrategy": "Recreate", "maxRestarts": 0} | pods.given(failure) | (
            {"rules": rules} if rules else {})
    if spec.get("volumeClaimPolicies"):
        spec["volumeClaimPolicies"] = [{"retentionPolicy": {"whenDeleted": "Delete"}} | pods.given(policy)
                                       for policy in spec["volumeClaimPolicies"]]
    return obj | {"spec": spec}


def _default_replicated(job: dict[str, Any]) -> dict[str, Any]:
    template = job.get("template") or {}
    inner = {"completionMode": "Indexed"} | pods.given(objects.spec(template))
    pod = inner.get("template") or {}
    inner["template"] = pod | {"spec": {"restartPolicy": "OnFailure"} | pods.given(objects.spec(pod))}
    return {"replicas": 1, "groupName": "default"} | pods.given(job) | {"template": template | {"spec": inner}}


def validate_job_set(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    faults = list(_job_set_faults(obj))
    if old is not None:
        faults += _job_set_changes(objects.spec(obj), objects.spec(old))
    return faults


def _job_set_faults(obj: Object) -> Iterator[FieldFault]:
    spec, name = objects.spec(obj), objects.name(obj)
    jobs = spec.get("replicatedJobs") or []
    seen: set[str] = set()
    for number, job in enumerate(jobs):
        place = f"spec.replicatedJobs[{number}]"
        label = job.get("name") or ""
        if label in seen:
            yield FieldFault(place, f'Duplicate value: {pods.shown({"name": label})}')
        if number == 0 and job.get("dependsOn"):
            yield FieldFault("", "DependsOn can't be set for the first ReplicatedJob")
        for dependency in job.get("dependsOn") or ():
            if dependency.get("name") not in seen:
                yield FieldFault("", f"replicatedJob: {label} cannot depend on replicatedJob: {dependency.get('name')}")
        seen.add(label)
        if (job.get("replicas") or 0) < 0:
            yield pods.negative(f"{place}.replicas", job["replicas"])
        longest = f"{name}-{label}-{max(int(job.get('replicas') or 1) - 1, 0)}"
        if len(longest) > LIMIT_JOB_NAME_CHARACTERS:
            yield FieldFault(f"{place}.name", f'Invalid value: "{longest}": JobSet name is too long, job names '
                                              "generated for this JobSet will exceed 63 characters")
        elif not is_label(longest):
            yield FieldFault(f"{place}.name", f'Invalid value: "{longest}": {LABEL_RULE}')
        yield from workloads.job_spec_faults(claim_policies.mounted(objects.spec(job.get("template") or {}), spec),
                                             f"{place}.template.spec")
    subdomain = (spec.get("network") or {}).get("subdomain")
    if subdomain and not is_label(subdomain):
        yield FieldFault("spec.network.subdomain", f'Invalid value: "{subdomain}": {LABEL_RULE}')
    for target in (spec.get("successPolicy") or {}).get("targetReplicatedJobs") or ():
        if target not in seen:
            yield FieldFault("", f"invalid replicatedJob name '{target}' does not appear in .spec.ReplicatedJobs")
    yield from _failure_faults(spec.get("failurePolicy") or {}, seen)
    yield from claim_policies.faults(name, spec)
    coordinator = spec.get("coordinator")
    if coordinator and coordinator.get("replicatedJob") not in seen:
        yield FieldFault("", f"coordinator replicatedJob {coordinator.get('replicatedJob')} does not exist")


_ACTIONS = ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts", "RestartJob",
            "RestartJobAndIgnoreMaxRestarts")


def _failure_faults(policy: dict[str, Any], jobs: set[str]) -> Iterator[FieldFault]:
    if (policy.get("maxRestarts") or 0) < 0:
        yield pods.negative("spec.failurePolicy.maxRestarts", policy["maxRestarts"])
    names: set[str] = set()
    for number, rule in enumerate(policy.get("rules") or ()):
        if rule.get("action") not in _ACTIONS:
            yield pods.unsupported(f"spec.failurePolicy.rules[{number}].action", rule.get("action"), *_ACTIONS)
        if rule.get("name") in names:
            yield FieldFault("", f"rule names are not unique, rules with indices {number} share the name "
                                 f"'{rule.get('name')}'")
        names.add(str(rule.get("name")))
        for target in rule.get("targetReplicatedJobs") or ():
            if target not in jobs:
                yield FieldFault("", f"invalid replicatedJob name '{target}' in failure policy does not appear in "
                                     ".spec.ReplicatedJobs")


def _job_set_changes(spec: dict[str, Any], before: dict[str, Any]) -> Iterator[FieldFault]:
    suspended = bool(before.get("suspend") or spec.get("suspend"))

    def fixed(jobs: list[dict[str, Any]]) -> list[Any]:
        return [_without_queue_fields(job) for job in jobs] if suspended else jobs

    if fixed(spec.get("replicatedJobs") or []) != fixed(before.get("replicatedJobs") or []):
        yield FieldFault("spec.replicatedJobs", "Invalid value: field is immutable")
    for field in ("managedBy", "successPolicy", "failurePolicy", "startupPolicy", "network", "volumeClaimPolicies"):
        if spec.get(field) != before.get(field):
            yield FieldFault(f"spec.{field}", "Invalid value: field is immutable")


def _without_queue_fields(job: dict[str, Any]) -> dict[str, Any]:
    """Less what a queueing controller may change in a Pod template while the JobSet is suspended."""
    template = job.get("template") or {}
    inner = objects.spec(template)
    pod = inner.get("template") or {}
    free = ("nodeSelector", "tolerations", "schedulingGates")
    kept = {key: value for key, value in objects.spec(pod).items() if key not in free}
    metadata = {key: value for key, value in objects.meta(pod).items() if key not in ("labels", "annotations")}
    return job | {"template": template | {"spec": inner | {"template": pod | {"spec": kept, "metadata": metadata}}}}
