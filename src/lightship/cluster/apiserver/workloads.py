"""Defaults and validation of what runs: Pods and the kinds that hold Pod templates.

Pure; ``core`` puts these into the registry. They follow upstream's defaults, so that what a client reads back is what
it would read from Kubernetes. Types have been checked (``schemas``) before I see an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from lightship import errors
from lightship.cluster.apiserver.kinds import pods
from lightship.cluster.apiserver.kinds.pods import given, negative, shown, unsupported
from lightship.cluster.apiserver.registry import FieldFault
from lightship.cluster.apiserver.shapes import label_faults
from lightship.kube import objects, selectors
from lightship.kube.objects import Object

DEFAULT_GRACE_SECONDS = pods.DEFAULT_GRACE_SECONDS
_PERCENT = re.compile(r"\d{1,9}%\Z", re.ASCII)
_MUTABLE_CONTAINER_FIELDS = frozenset({"image"})
_MUTABLE_POD_FIELDS = frozenset({"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds",
                                 "schedulingGates"})


def default_pod(obj: Object) -> Object:
    spec = pods.with_requests(pods.pod_spec(objects.spec(obj)))
    status = {"phase": "Pending", "qosClass": qos_class(spec)} | objects.status(obj)
    return obj | {"spec": spec, "status": status}


def qos_class(spec: dict[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort, as Kubernetes decides."""
    guaranteed, any_set = True, False
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        needs = container.get("resources") or {}
        limits, requests = needs.get("limits") or {}, needs.get("requests") or {}
        any_set = any_set or bool(limits or requests)
        for name in ("cpu", "memory"):
            if name not in limits or str(requests.get(name, limits[name])) != str(limits[name]):
                guaranteed = False
    return "Guaranteed" if guaranteed and any_set else "Burstable" if any_set else "BestEffort"


def validate_pod(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    if old is None:
        debugging = [FieldFault("spec.ephemeralContainers", "Forbidden: cannot be set on create")] if objects.spec(
            obj).get("ephemeralContainers") else []
        return (*pods.spec_faults(objects.spec(obj), "spec"), *debugging)
    return tuple(_changed(objects.spec(obj), objects.spec(old)))


def _changed(new: dict[str, Any], old: dict[str, Any]) -> Iterator[FieldFault]:
    """A Pod's spec is immutable but for a few fields."""
    changed = []
    for field in sorted(new.keys() | old.keys()):
        mine, theirs = new.get(field), old.get(field)
        if mine == theirs or field in _MUTABLE_POD_FIELDS:
            continue
        if field in ("containers", "initContainers") and _same_containers(mine or [], theirs or []):
            continue
        changed.append(f"spec.{field}")
    if changed:
        yield FieldFault("spec", "Forbidden: pod updates may not change fields other than "
                         "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
                         "`spec.tolerations` (only additions to existing tolerations),"
                         "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
                         f"\nThese would change: {', '.join(changed)}")


def _same_containers(new: list[dict[str, Any]], old: list[dict[str, Any]]) -> bool:
    def fixed(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in c.items() if k not in _MUTABLE_CONTAINER_FIELDS} for c in containers]

    return fixed(new) == fixed(old)


def default_template(template: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {}} | given(template) | {"spec": pods.default_spec(template.get("spec") or {})}


def template_faults(spec: dict[str, Any], *, place: str = "spec.template", always: bool = False
                    ) -> Iterator[FieldFault]:
    """Of the Pod template in ``spec``; ``always``: its Pods may only restart always."""
    template = spec.get("template")
    if not template:
        yield FieldFault(place, "Required value")
        return
    labels = (template.get("metadata") or {}).get("labels") or {}
    yield from label_faults(labels, f"{place}.metadata.labels")
    claims = frozenset(objects.name(claim) for claim in spec.get("volumeClaimTemplates") or ())
    yield from pods.spec_faults(template.get("spec") or {}, f"{place}.spec", claims)
    policy = (template.get("spec") or {}).get("restartPolicy", "Always")
    if always and policy != "Always":
        yield unsupported(f"{place}.spec.restartPolicy", policy, "Always")


def amount_faults(place: str, fields: dict[str, Any], *names: str) -> Iterator[FieldFault]:
    """Numbers or percentages that are not negative."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and not _PERCENT.match(value):
            yield FieldFault(f"{place}.{name}", f"Invalid value: {shown(value)}: a valid percent string must be a "
                                                "numeric string followed by an ending '%' (e.g. '1%',  or '93%')")
        elif isinstance(value, int) and value < 0:
            yield negative(f"{place}.{name}", value)


def label_selector_faults(selector: dict[str, Any], place: str) -> Iterator[FieldFault]:
    try:
        selectors.from_object(selector)
    except errors.InvalidInput as e:
        yield FieldFault(place, f"Invalid value: {shown(selector)}: {e.message}")


def _selector_faults(spec: dict[str, Any], old: Object | None) -> Iterator[FieldFault]:
    selector, labels = spec.get("selector") or {}, ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not (selector.get("matchLabels") or selector.get("matchExpressions")):
        if spec.get("selector") is None:
            yield FieldFault("spec.selector", "Required value")
            yield FieldFault("spec.template.metadata.labels", f"Invalid value: {shown(labels or {})}: `selector` does "
                                                              "not match template `labels`")
        else:
            yield FieldFault("spec.selector", "Invalid value: {}: empty selector is invalid for deployment")
        return
    try:
        parsed = selectors.from_object(selector)
    except errors.InvalidInput as e:
        yield FieldFault("spec.selector", f"Invalid value: {e.message}")
        return
    labels = labels or {}
    if not parsed.matches(labels):
        yield FieldFault("spec.template.metadata.labels", f"Invalid value: {shown(labels)}: `selector` does not match "
                                                          "template `labels`")
    if old is not None and objects.spec(old).get("selector") != spec.get("selector"):
        yield FieldFault("spec.selector", f"Invalid value: {shown(selector)}: field is immutable")


def replica_faults(spec: dict[str, Any], old: Object | None, *, always: bool = True) -> Iterator[FieldFault]:
    """Of a spec with replicas, a selector and a template."""
    for field in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        if (spec.get(field) or 0) < 0:
            yield negative(f"spec.{field}", spec[field])
    yield from _selector_faults(spec, old)
    yield from template_faults(spec, always=always)


def default_deployment(obj: Object) -> Object:
    spec = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600} | given(objects.spec(obj))
    strategy = {"type": "RollingUpdate"} | (spec.get("strategy") or {})
    if strategy["type"] == "RollingUpdate":
        rolling = {"maxUnavailable": "25%", "maxSurge": "25%"} | (strategy.get("rollingUpdate") or {})
        strategy = strategy | {"rollingUpdate": rolling}
    spec["strategy"] = strategy
    if spec.get("template"):
        spec["template"] = default_template(spec["template"])
    return obj | {"spec": spec}


def validate_deployment(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(replica_faults(spec, old))
    strategy = (spec.get("strategy") or {}).get("type", "RollingUpdate")
    if strategy not in ("RollingUpdate", "Recreate"):
        faults.append(unsupported("spec.strategy.type", strategy, "Recreate", "RollingUpdate"))
    rolling = (spec.get("strategy") or {}).get("rollingUpdate")
    if rolling is not None and strategy == "Recreate":
        faults.append(FieldFault("spec.strategy.rollingUpdate", "Forbidden: may not be specified when strategy `type` "
                                                                "is 'Recreate'"))
    elif rolling is not None:
        faults += amount_faults("spec.strategy.rollingUpdate", rolling, "maxUnavailable", "maxSurge")
        if all(str(rolling.get(field)) in ("0", "0%") for field in ("maxUnavailable", "maxSurge")):
            faults.append(FieldFault("spec.strategy.rollingUpdate.maxUnavailable",
                                     f"Invalid value: {shown(rolling['maxUnavailable'])}: may not be 0 when "
                                     "`maxSurge` is 0"))
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and deadline <= ready:
        faults.append(FieldFault("spec.progressDeadlineSeconds",
                                 f"Invalid value: {deadline}: must be greater than minReadySeconds"))
    return faults


def default_replica_set(obj: Object) -> Object:
    spec = {"replicas": 1} | given(objects.spec(obj))
    if spec.get("template"):
        spec["template"] = default_template(spec["template"])
    return obj | {"spec": spec}


def validate_replica_set(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(replica_faults(objects.spec(obj), old))


def default_job(obj: Object) -> Object:
    """Also the selector and the labels by which a Job knows its Pods: they hold its uid, which is set by now."""
    wanted = given(objects.spec(obj))
    spec: dict[str, Any] = {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False,
                            "manualSelector": False, "podReplacementPolicy": "TerminatingOrFailed"} | wanted
    if wanted.get("podFailurePolicy") is not None:
        spec["podReplacementPolicy"] = wanted.get("podReplacementPolicy") or "Failed"
    if wanted.get("backoffLimitPerIndex") is not None:
        spec["backoffLimit"] = wanted.get("backoffLimit", 2**31 - 1)
    spec.setdefault("parallelism", 1)
    if "completions" not in wanted and "parallelism" not in wanted:
        spec["completions"] = 1
    template = default_template(spec.get("template") or {})
    if not spec["manualSelector"] and not spec.get("selector"):
        uid, name = objects.uid(obj), objects.name(obj)
        metadata = template.get("metadata") or {}
        labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
                  "controller-uid": uid, "job-name": name}
        template = template | {"metadata": metadata | {"labels": (metadata.get("labels") or {}) | labels}}
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    if spec.get("template"):
        spec["template"] = template
    given_labels = (template.get("metadata") or {}).get("labels")
    metadata = obj["metadata"]
    if given_labels and not metadata.get("labels"):
        metadata = metadata | {"labels": given_labels}
    return obj | {"metadata": metadata, "spec": spec}


_PLACING = frozenset({"nodeSelector", "affinity", "tolerations", "schedulingGates"})


def _fixed(spec: dict[str, Any]) -> dict[str, Any]:
    """What of a Job's Pods stays as it is while the Job is suspended: all but where they go and what they ask for."""
    template = objects.spec(spec.get("template") or {})
    fixed = {field: value for field, value in template.items() if field not in _PLACING}
    for field in ("containers", "initContainers"):
        if fixed.get(field):
            fixed[field] = [{k: v for k, v in container.items() if k != "resources"} for container in fixed[field]]
    return fixed


def validate_job(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(job_spec_faults(spec, "spec"))
    if old is not None:
        before = objects.spec(old)
        for field in ("selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex",
                      "managedBy", "successPolicy"):
            if field == "template" and before.get("suspend") and _fixed(spec) == _fixed(before):
                continue
            if spec.get(field) != before.get(field):
                faults.append(FieldFault(f"spec.{field}", f"Invalid value: {shown(spec.get(field))}: field is "
                                                          "immutable"))
        indexed = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
        if spec.get("completions") != before.get("completions") and not indexed:
            faults.append(FieldFault("spec.completions", f"Invalid value: {shown(spec.get('completions'))}: field is "
                                                         "immutable"))
    return faults


_JOB_NUMBERS = ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished",
                "backoffLimitPerIndex", "maxFailedIndexes")


def job_spec_faults(spec: dict[str, Any], place: str) -> Iterator[FieldFault]:
    """Of a Job's spec, alone or as a template."""
    for field in _JOB_NUMBERS:
        if (spec.get(field) or 0) < 0:
            yield negative(f"{place}.{field}", spec[field])
    yield from template_faults(spec, place=f"{place}.template")
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if spec.get("template") and policy not in ("Never", "OnFailure"):
        yield FieldFault(f"{place}.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"')
    mode = spec.get("completionMode") or "NonIndexed"
    if mode not in ("NonIndexed", "Indexed"):
        yield unsupported(f"{place}.completionMode", mode, "Indexed", "NonIndexed")
    if mode == "Indexed" and spec.get("completions") is None and spec.get("parallelism") is None:
        return
    if mode == "Indexed" and spec.get("completions") is None:
        yield FieldFault(f"{place}.completions", "Required value: when completion mode is Indexed")
    if spec.get("backoffLimitPerIndex") is not None and mode != "Indexed":
        yield FieldFault(f"{place}.backoffLimitPerIndex", f"Invalid value: {spec['backoffLimitPerIndex']}: requires "
                                                          "indexed completion mode")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield FieldFault(f"{place}.backoffLimitPerIndex", "Required value: when maxFailedIndexes is specified")
    replacement = spec.get("podReplacementPolicy")
    if replacement not in (None, "Failed", "TerminatingOrFailed"):
        yield unsupported(f"{place}.podReplacementPolicy", replacement, "Failed", "TerminatingOrFailed")
    yield from _failure_policy_faults(spec, f"{place}.podFailurePolicy")
    if spec.get("successPolicy") is not None and mode != "Indexed":
        yield FieldFault(f"{place}.successPolicy", "Invalid value: requires indexed completion mode")
    elif spec.get("successPolicy") is not None and not spec["successPolicy"].get("rules"):
        yield FieldFault(f"{place}.successPolicy.rules", "Required value: at least one rules must be specified when "
                                                         "the successPolicy is specified")


def _failure_policy_faults(spec: dict[str, Any], place: str) -> Iterator[FieldFault]:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return
    if ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") != "Never":
        yield FieldFault(place.rpartition(".")[0] + ".template.spec.restartPolicy",
                         'Invalid value: only "Never" is supported when podFailurePolicy is specified')
    for number, rule in enumerate(policy.get("rules") or ()):
        here = f"{place}.rules[{number}]"
        if rule.get("action") not in ("Count", "FailIndex", "FailJob", "Ignore"):
            yield unsupported(f"{here}.action", rule.get("action"), "Count", "FailIndex", "FailJob", "Ignore")
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield FieldFault(f"{here}.action", 'Invalid value: "FailIndex": requires the backoffLimitPerIndex to be '
                                               "set")
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if (codes is None) == (not conditions):
            yield FieldFault(here, "Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
                             if codes is None else "Invalid value: specifying both OnExitCodes and OnPodConditions is "
                                                   "not supported")
        if codes is not None:
            if codes.get("operator") not in ("In", "NotIn"):
                yield unsupported(f"{here}.onExitCodes.operator", codes.get("operator"), "In", "NotIn")
            if not codes.get("values"):
                yield FieldFault(f"{here}.onExitCodes.values", "Invalid value: at least one value is required")
            elif codes.get("operator") == "In" and 0 in codes["values"]:
                yield FieldFault(f"{here}.onExitCodes.values", "Invalid value: 0: must not be 0 for the In operator")
