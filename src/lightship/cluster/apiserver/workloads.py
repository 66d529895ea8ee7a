"""Defaults and validation of what runs: Pods and the kinds that hold Pod templates.

Pure; ``core`` puts these into the registry. They follow upstream's defaults, so that what a client reads back is what
it would read from Kubernetes. Types have been checked (``schemas``) before I see an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lightship import errors
from lightship.cluster.apiserver.registry import FieldFault
from lightship.cluster.apiserver.shapes import LABEL_RULE, is_label, label_faults
from lightship.kube import objects, quantities, selectors
from lightship.kube.objects import Object

DEFAULT_GRACE_SECONDS = 30
_MUTABLE_CONTAINER_FIELDS = frozenset({"image"})
_MUTABLE_POD_FIELDS = frozenset({"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds",
                                 "schedulingGates"})


def default_pod(obj: Object) -> Object:
    spec = default_pod_spec(objects.spec(obj))
    status = {"phase": "Pending", "qosClass": qos_class(spec)} | objects.status(obj)
    return obj | {"spec": spec, "status": status}


def default_pod_spec(given: dict[str, Any]) -> dict[str, Any]:
    account = given.get("serviceAccountName") or given.get("serviceAccount") or "default"
    spec: dict[str, Any] = {
        "restartPolicy": "Always", "terminationGracePeriodSeconds": DEFAULT_GRACE_SECONDS, "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": True,
    } | _set(given) | {"serviceAccountName": account, "serviceAccount": account}
    for field in ("containers", "initContainers"):
        if spec.get(field):
            spec[field] = [_default_container(container) for container in spec[field]]
    return spec


def _default_container(given: dict[str, Any]) -> dict[str, Any]:
    image = str(given.get("image") or "")
    latest = image.endswith(":latest") or ":" not in image.rpartition("/")[2]
    container: dict[str, Any] = {
        "imagePullPolicy": "Always" if latest else "IfNotPresent", "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    } | _set(given)
    if container.get("ports"):
        container["ports"] = [{"protocol": "TCP"} | _set(port) for port in container["ports"]]
    return container


def _set(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}


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
        return tuple(pod_spec_faults(objects.spec(obj), "spec"))
    return tuple(_changed(objects.spec(obj), objects.spec(old)))


def pod_spec_faults(spec: dict[str, Any], place: str) -> Iterator[FieldFault]:
    if not spec.get("containers"):
        yield FieldFault(f"{place}.containers", "Required value")
    policy = spec.get("restartPolicy", "Always")
    if policy not in ("Always", "OnFailure", "Never"):
        yield FieldFault(f"{place}.restartPolicy",
                         f"Unsupported value: {policy!r}: supported values: \"Always\", \"OnFailure\", \"Never\"")
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        yield FieldFault(f"{place}.terminationGracePeriodSeconds", "Invalid value: must be 0 or more")
    volumes: set[str] = set()
    for number, volume in enumerate(spec.get("volumes") or ()):
        if not is_label(volume["name"]):
            yield FieldFault(f"{place}.volumes[{number}].name", f"Invalid value: {volume['name']!r}: {LABEL_RULE}")
        if volume["name"] in volumes:
            yield FieldFault(f"{place}.volumes[{number}].name", f"Duplicate value: {volume['name']!r}")
        volumes.add(volume["name"])
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(field) or ()):
            here = f"{place}.{field}[{number}]"
            if container["name"] in names:
                yield FieldFault(f"{here}.name", f"Duplicate value: {container['name']!r}")
            names.add(container["name"])
            yield from _container_faults(container, here, volumes)


def _container_faults(container: dict[str, Any], place: str, volumes: set[str]) -> Iterator[FieldFault]:
    if not is_label(container["name"]):
        yield FieldFault(f"{place}.name", f"Invalid value: {container['name']!r}: {LABEL_RULE}")
    if not container.get("image"):
        yield FieldFault(f"{place}.image", "Required value")
    for number, variable in enumerate(container.get("env") or ()):
        name = variable["name"]
        if not name or "=" in name or "\x00" in name:
            yield FieldFault(f"{place}.env[{number}].name",
                             f"Invalid value: {name!r}: not an environment variable name")
        if variable.get("value") and variable.get("valueFrom"):
            yield FieldFault(f"{place}.env[{number}].valueFrom",
                             "Invalid value: may not be specified when `value` is not empty")
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        if mount["name"] not in volumes:
            yield FieldFault(f"{place}.volumeMounts[{number}].name", f"Not found: {mount['name']!r}")
        if not mount["mountPath"]:
            yield FieldFault(f"{place}.volumeMounts[{number}].mountPath", "Required value")
    for number, port in enumerate(container.get("ports") or ()):
        if not 0 < port["containerPort"] < 65536:
            yield FieldFault(f"{place}.ports[{number}].containerPort", "Invalid value: must be between 1 and 65535")
    needs = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for name, amount in (needs.get(kind) or {}).items():
            try:
                negative = quantities.parse(amount) < 0
            except errors.InvalidInput as e:
                yield FieldFault(f"{place}.resources.{kind}[{name}]", f"Invalid value: {e.message}")
            else:
                if negative:
                    yield FieldFault(f"{place}.resources.{kind}[{name}]", "Invalid value: must be 0 or more")


def _changed(new: dict[str, Any], old: dict[str, Any]) -> Iterator[FieldFault]:
    """A Pod's spec is immutable but for a few fields."""
    for field in sorted(new.keys() | old.keys()):
        mine, theirs = new.get(field), old.get(field)
        if mine == theirs or field in _MUTABLE_POD_FIELDS:
            continue
        if field in ("containers", "initContainers") and _same_containers(mine or [], theirs or []):
            continue
        yield FieldFault(f"spec.{field}", "Forbidden: pod updates may not change fields other than "
                         "`spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, "
                         "`spec.tolerations` or `spec.terminationGracePeriodSeconds`")


def _same_containers(new: list[dict[str, Any]], old: list[dict[str, Any]]) -> bool:
    def fixed(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in c.items() if k not in _MUTABLE_CONTAINER_FIELDS} for c in containers]

    return fixed(new) == fixed(old)


def _default_template(template: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {}} | _set(template) | {"spec": default_pod_spec(template.get("spec") or {})}


def _template_faults(spec: dict[str, Any]) -> Iterator[FieldFault]:
    template = spec.get("template")
    if not template:
        yield FieldFault("spec.template", "Required value")
        return
    labels = (template.get("metadata") or {}).get("labels") or {}
    yield from label_faults(labels, "spec.template.metadata.labels")
    yield from pod_spec_faults(template.get("spec") or {}, "spec.template.spec")


def _selector_faults(spec: dict[str, Any], old: Object | None) -> Iterator[FieldFault]:
    selector = spec.get("selector") or {}
    if not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield FieldFault("spec.selector", "Required value")
        return
    try:
        parsed = selectors.from_object(selector)
    except errors.InvalidInput as e:
        yield FieldFault("spec.selector", f"Invalid value: {e.message}")
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not parsed.matches(labels):
        yield FieldFault("spec.template.metadata.labels", f"Invalid value: `selector` does not match template "
                                                          f"`labels` {labels}")
    if old is not None and objects.spec(old).get("selector") != spec.get("selector"):
        yield FieldFault("spec.selector", "Invalid value: field is immutable")


def _replica_faults(spec: dict[str, Any], old: Object | None) -> Iterator[FieldFault]:
    if (spec.get("replicas") or 0) < 0:
        yield FieldFault("spec.replicas", "Invalid value: must be greater than or equal to 0")
    yield from _selector_faults(spec, old)
    yield from _template_faults(spec)
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "Always")
    if policy != "Always":
        yield FieldFault("spec.template.spec.restartPolicy",
                         f"Unsupported value: {policy!r}: supported values: \"Always\"")


def default_deployment(obj: Object) -> Object:
    spec = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600} | _set(objects.spec(obj))
    strategy = {"type": "RollingUpdate"} | (spec.get("strategy") or {})
    if strategy["type"] == "RollingUpdate":
        rolling = {"maxUnavailable": "25%", "maxSurge": "25%"} | (strategy.get("rollingUpdate") or {})
        strategy = strategy | {"rollingUpdate": rolling}
    spec["strategy"] = strategy
    if spec.get("template"):
        spec["template"] = _default_template(spec["template"])
    return obj | {"spec": spec}


def validate_deployment(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(_replica_faults(spec, old))
    strategy = (spec.get("strategy") or {}).get("type", "RollingUpdate")
    if strategy not in ("RollingUpdate", "Recreate"):
        faults.append(FieldFault("spec.strategy.type", f"Unsupported value: {strategy!r}: supported values: "
                                                       f"\"Recreate\", \"RollingUpdate\""))
    return faults


def default_replica_set(obj: Object) -> Object:
    spec = {"replicas": 1} | _set(objects.spec(obj))
    if spec.get("template"):
        spec["template"] = _default_template(spec["template"])
    return obj | {"spec": spec}


def validate_replica_set(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    return tuple(_replica_faults(objects.spec(obj), old))


def default_job(obj: Object) -> Object:
    """Also the selector and the labels by which a Job knows its Pods: they hold its uid, which is set by now."""
    given = _set(objects.spec(obj))
    spec: dict[str, Any] = {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False,
                            "manualSelector": False, "podReplacementPolicy": "TerminatingOrFailed"} | given
    spec.setdefault("parallelism", 1)
    if "completions" not in given and "parallelism" not in given:
        spec["completions"] = 1
    template = _default_template(spec.get("template") or {})
    if not spec["manualSelector"] and not spec.get("selector"):
        uid, name = objects.uid(obj), objects.name(obj)
        metadata = template.get("metadata") or {}
        labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name,
                  "controller-uid": uid, "job-name": name}
        template = template | {"metadata": metadata | {"labels": (metadata.get("labels") or {}) | labels}}
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    if spec.get("template"):
        spec["template"] = template
    return obj | {"spec": spec}


def validate_job(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    spec = objects.spec(obj)
    faults = list(_template_faults(spec))
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy")
    if policy not in ("Never", "OnFailure"):
        faults.append(FieldFault("spec.template.spec.restartPolicy",
                                 f"Required value: valid values: \"OnFailure\", \"Never\" (it is {policy!r})"))
    for field in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if (spec.get(field) or 0) < 0:
            faults.append(FieldFault(f"spec.{field}", "Invalid value: must be greater than or equal to 0"))
    if old is not None:
        before = objects.spec(old)
        for field in ("selector", "template", "completionMode"):
            if field == "template" and before.get("suspend"):
                continue
            if spec.get(field) != before.get(field):
                faults.append(FieldFault(f"spec.{field}", "Invalid value: field is immutable"))
    return faults
