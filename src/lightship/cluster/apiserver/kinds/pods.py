"""What a Pod's spec holds by default, and what is wrong with it: of Pods and of all templates.

Pure; ``workloads`` calls me. They follow upstream's defaults, so that what a client reads back is what it would read
from Kubernetes. Types have been checked before I see a spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from lightship import errors
from lightship.cluster.apiserver.registry import FieldFault
from lightship.cluster.apiserver.shapes import LABEL_RULE, SUBDOMAIN_RULE, is_label, is_subdomain
from lightship.kube import quantities

DEFAULT_GRACE_SECONDS = 30
FILE_MODE = 0o644
TOKEN_SECONDS = 3600
AWAY_SECONDS = 300
_AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
PROTOCOLS = ("SCTP", "TCP", "UDP")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_POD_FIELD = re.compile(r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])\Z|spec\.(nodeName|"
                        r"serviceAccountName)\Z|status\.(phase|hostIPs?|podIPs?)\Z", re.ASCII)
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are set."""
    return {key: value for key, value in fields.items() if value is not None}


def shown(value: Any) -> str:
    """A value as messages show it."""
    return msgspec.json.encode(value).decode()[:300]


def unsupported(place: str, value: Any, *supported: str) -> FieldFault:
    known = ", ".join(f'"{name}"' for name in supported)
    return FieldFault(place, f"Unsupported value: {shown('' if value is None else value)}: supported values: {known}")


def negative(place: str, value: Any) -> FieldFault:
    return FieldFault(place, f"Invalid value: {value}: must be greater than or equal to 0")


def default_spec(wanted: dict[str, Any]) -> dict[str, Any]:
    """Of a Pod or a template."""
    spec: dict[str, Any] = {
        "restartPolicy": "Always", "terminationGracePeriodSeconds": DEFAULT_GRACE_SECONDS, "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler", "securityContext": {},
    } | given(wanted)
    account = wanted.get("serviceAccountName") or wanted.get("serviceAccount")
    if account:
        spec |= {"serviceAccountName": account, "serviceAccount": account}
    for field in ("containers", "initContainers"):
        if spec.get(field):
            spec[field] = [_default_container(container) for container in spec[field]]
    if spec.get("volumes"):
        spec["volumes"] = [_default_volume(volume) for volume in spec["volumes"]]
    return spec


def pod_spec(wanted: dict[str, Any]) -> dict[str, Any]:
    """What only a Pod itself has by default."""
    return placed({"enableServiceLinks": True} | default_spec(wanted))


def placed(wanted: dict[str, Any]) -> dict[str, Any]:
    """A Pod's spec with what upstream's admission gives it: its account, and how long it bears that its node is away.
    """
    account = wanted.get("serviceAccountName") or wanted.get("serviceAccount") or "default"
    spec = wanted | {"serviceAccountName": account, "serviceAccount": account}
    borne = spec.get("tolerations") or []
    more = [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": AWAY_SECONDS}
            for key in _AWAY if not any(_bears(toleration, key) for toleration in borne)]
    return spec | {"tolerations": [*borne, *more]} if more else spec


def _bears(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")


def with_requests(spec: dict[str, Any]) -> dict[str, Any]:
    """A Pod's spec in which whoever has a limit and no request asks for the limit."""
    result = spec
    for field in ("containers", "initContainers"):
        if any((c.get("resources") or {}).get("limits") for c in spec.get(field) or ()):
            result = result | {field: [_requesting(container) for container in spec[field]]}
    return result


def _requesting(container: dict[str, Any]) -> dict[str, Any]:
    needs = container.get("resources") or {}
    limits, requests = needs.get("limits"), needs.get("requests") or {}
    if not limits or limits.keys() <= requests.keys():
        return container
    return container | {"resources": needs | {"requests": limits | requests}}


def _default_container(wanted: dict[str, Any]) -> dict[str, Any]:
    image = str(wanted.get("image") or "")
    latest = image.endswith(":latest") or ":" not in image.rpartition("/")[2]
    container: dict[str, Any] = {
        "imagePullPolicy": "Always" if latest else "IfNotPresent", "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    } | given(wanted)
    if container.get("ports"):
        container["ports"] = [{"protocol": "TCP"} | given(port) for port in container["ports"]]
    for field in _PROBES:
        if container.get(field):
            container[field] = _default_probe(container[field])
    if container.get("lifecycle"):
        container["lifecycle"] = {hook: _default_handler(handler) for hook, handler in container["lifecycle"].items()}
    if any((variable.get("valueFrom") or {}).get("fieldRef") for variable in container.get("env") or ()):
        container["env"] = [_default_variable(variable) for variable in container["env"]]
    return container


def _default_probe(probe: dict[str, Any]) -> dict[str, Any]:
    return _PROBE | {key: value for key, value in _default_handler(probe).items() if key not in _PROBE or value}


def _default_handler(handler: Any) -> Any:
    if not isinstance(handler, dict) or not handler.get("httpGet"):
        return handler
    return handler | {"httpGet": {"path": "/", "scheme": "HTTP"} | {k: v for k, v in handler["httpGet"].items() if v}}


def _default_variable(variable: dict[str, Any]) -> dict[str, Any]:
    source = variable.get("valueFrom") or {}
    if not source.get("fieldRef"):
        return variable
    return variable | {"valueFrom": source | {"fieldRef": {"apiVersion": "v1"} | source["fieldRef"]}}


def _default_volume(volume: dict[str, Any]) -> dict[str, Any]:
    if len(volume) < 2:
        return volume | {"emptyDir": {}}
    result = volume
    for field in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(field) is not None:
            result = result | {field: {"defaultMode": FILE_MODE} | given(volume[field])}
    if volume.get("hostPath") is not None:
        result = result | {"hostPath": {"type": ""} | given(volume["hostPath"])}
    if (result.get("projected") or {}).get("sources"):
        lasting = {"expirationSeconds": TOKEN_SECONDS}
        sources = [source | {"serviceAccountToken": lasting | source["serviceAccountToken"]}
                   if source.get("serviceAccountToken") else source for source in result["projected"]["sources"]]
        result = result | {"projected": result["projected"] | {"sources": sources}}
    return result


def spec_faults(spec: dict[str, Any], place: str, more_volumes: frozenset[str] | None = None) -> Iterator[FieldFault]:
    """``more_volumes``: those that a StatefulSet's claims add."""
    volumes: set[str] = set()
    for number, volume in enumerate(spec.get("volumes") or ()):
        yield from _volume_faults(volume, f"{place}.volumes[{number}]", volumes)
    volumes |= more_volumes or set()
    if not spec.get("containers"):
        yield FieldFault(f"{place}.containers", "Required value")
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(field) or ()):
            here, name = f"{place}.{field}[{number}]", container.get("name") or ""
            yield from _container_faults(container, here, volumes)
            yield from _part_faults(container, here)
            if name in names:
                yield FieldFault(f"{here}.name", f"Duplicate value: {shown(name)}")
            names.add(name)
    yield from _rest_faults(spec, place)


def _rest_faults(spec: dict[str, Any], place: str) -> Iterator[FieldFault]:
    """Of a spec's own fields."""
    if spec.get("restartPolicy", "Always") not in ("Always", "OnFailure", "Never"):
        yield unsupported(f"{place}.restartPolicy", spec.get("restartPolicy"), "Always", "OnFailure", "Never")
    if spec.get("dnsPolicy", "ClusterFirst") not in ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"):
        yield unsupported(f"{place}.dnsPolicy", spec.get("dnsPolicy"), "ClusterFirstWithHostNet", "ClusterFirst",
                          "Default", "None")
    grace, deadline = spec.get("terminationGracePeriodSeconds"), spec.get("activeDeadlineSeconds")
    if grace is not None and grace < 0:
        yield negative(f"{place}.terminationGracePeriodSeconds", grace)
    if deadline is not None and not 0 < deadline < 2**31:
        yield FieldFault(f"{place}.activeDeadlineSeconds",
                         f"Invalid value: {deadline}: must be between 1 and 2147483647, inclusive")
    for field in ("hostname", "subdomain"):
        if spec.get(field) and not is_label(spec[field]):
            yield FieldFault(f"{place}.{field}", f"Invalid value: {shown(spec[field])}: {LABEL_RULE}")
    for field in ("serviceAccountName", "nodeName", "priorityClassName"):  # the platform asks for objects so named
        if spec.get(field) and not is_subdomain(spec[field]):
            yield FieldFault(f"{place}.{field}", f"Invalid value: {shown(spec[field])}: {SUBDOMAIN_RULE}")


def _volume_faults(volume: dict[str, Any], place: str, seen: set[str]) -> Iterator[FieldFault]:
    name = volume.get("name") or ""
    if not name:
        yield FieldFault(f"{place}.name", "Required value")
    elif not is_label(name):
        yield FieldFault(f"{place}.name", f"Invalid value: {shown(name)}: {LABEL_RULE}")
    elif name in seen:
        yield FieldFault(f"{place}.name", f"Duplicate value: {shown(name)}")
    seen.add(name)
    sources = [field for field in volume if field != "name"]
    for extra in sources[1:]:
        yield FieldFault(f"{place}.{extra}", "Forbidden: may not specify more than 1 volume type")
    for field, key in (("secret", "secretName"), ("configMap", "name"), ("persistentVolumeClaim", "claimName"),
                       ("hostPath", "path")):
        if volume.get(field) is not None and not volume[field].get(key):
            yield FieldFault(f"{place}.{field}.{key}", "Required value")


def _container_faults(container: dict[str, Any], place: str, volumes: set[str]) -> Iterator[FieldFault]:
    name = container.get("name") or ""
    if not name:
        yield FieldFault(f"{place}.name", "Required value")
    elif not is_label(name):
        yield FieldFault(f"{place}.name", f"Invalid value: {shown(name)}: {LABEL_RULE}")
    if not container.get("image"):
        yield FieldFault(f"{place}.image", "Required value")
    policy = container.get("imagePullPolicy", "Always")
    if policy not in ("Always", "IfNotPresent", "Never"):
        yield unsupported(f"{place}.imagePullPolicy", policy, "Always", "IfNotPresent", "Never")
    for number, variable in enumerate(container.get("env") or ()):
        label = variable.get("name") or ""
        if not label:
            yield FieldFault(f"{place}.env[{number}].name", "Required value")
        elif "=" in label or "\x00" in label:
            yield FieldFault(f"{place}.env[{number}].name", f"Invalid value: {shown(label)}: a valid environment "
                                                            "variable name must consist only of printable ASCII "
                                                            "characters other than '='")
        path = ((variable.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
        if path is not None and not _POD_FIELD.match(path):
            yield FieldFault(f"{place}.env[{number}].valueFrom.fieldRef.fieldPath",
                             f"Invalid value: {shown(path)}: error converting fieldPath: field label not supported: "
                             f"{path[:100]}" if path else "Required value")
        if variable.get("value") and variable.get("valueFrom"):
            yield FieldFault(f"{place}.env[{number}].valueFrom",
                             'Invalid value: "": may not be specified when `value` is not empty')
    paths: set[str] = set()
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        here, path = f"{place}.volumeMounts[{number}]", mount.get("mountPath")
        if (mount.get("name") or "") not in volumes:
            yield FieldFault(f"{here}.name", f"Not found: {shown(mount.get('name') or '')}")
        if not path:
            yield FieldFault(f"{here}.mountPath", "Required value")
        elif path in paths:
            yield FieldFault(f"{here}.mountPath", f"Invalid value: {shown(path)}: must be unique")
        paths.add(path)
        if mount.get("subPath") and (mount["subPath"].startswith("/") or ".." in mount["subPath"].split("/")):
            yield FieldFault(f"{here}.subPath", f"Invalid value: {shown(mount['subPath'])}: must not contain '..' or "
                                                "be an absolute path")


def _part_faults(container: dict[str, Any], place: str) -> Iterator[FieldFault]:
    names: set[str] = set()
    for number, port in enumerate(container.get("ports") or ()):
        here, value = f"{place}.ports[{number}]", port.get("containerPort") or 0
        if not value:
            yield FieldFault(f"{here}.containerPort", "Required value")
        elif not 0 < value < 65536:
            yield FieldFault(f"{here}.containerPort", f"Invalid value: {value}: must be between 1 and 65535, inclusive")
        if port.get("protocol", "TCP") not in PROTOCOLS:
            yield unsupported(f"{here}.protocol", port.get("protocol"), *PROTOCOLS)
        if port.get("name") and port["name"] in names:
            yield FieldFault(f"{here}.name", f"Duplicate value: {shown(port['name'])}")
        names.add(port.get("name") or "")
    for hook, handler in (container.get("lifecycle") or {}).items():
        if hook in ("postStart", "preStop") and isinstance(handler, dict) and not any(handler.values()):
            yield FieldFault(f"{place}.lifecycle.{hook}", "Required value: must specify a handler type")
    for field in _PROBES:
        if container.get(field):
            yield from _probe_faults(container[field], f"{place}.{field}", field)
    needs = container.get("resources") or {}
    limits, requests = needs.get("limits") or {}, needs.get("requests") or {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            yield from _amount_faults(f"{place}.resources.{kind}[{name}]", amount)
    for name in requests.keys() & limits.keys():
        try:
            over = quantities.parse(requests[name]) > quantities.parse(limits[name])
        except errors.InvalidInput:
            continue
        if over:
            yield FieldFault(f"{place}.resources.requests", f'Invalid value: "{requests[name]}": must be less than or '
                                                            f"equal to {name} limit of {limits[name]}")


def _amount_faults(place: str, amount: Any) -> Iterator[FieldFault]:
    try:
        below = quantities.parse(amount) < 0
    except errors.InvalidInput as e:
        yield FieldFault(place, f"Invalid value: {e.message}")
        return
    if below:
        yield FieldFault(place, f'Invalid value: "{amount}": must be greater than or equal to 0')


def _probe_faults(probe: dict[str, Any], place: str, kind: str) -> Iterator[FieldFault]:
    handlers = [handler for handler in HANDLERS if probe.get(handler) is not None]
    if not handlers:
        yield FieldFault(place, "Required value: must specify a handler type")
    for extra in handlers[1:]:
        yield FieldFault(f"{place}.{extra}", "Forbidden: may not specify more than 1 handler type")
    for field in ("initialDelaySeconds", *_PROBE):
        if (probe.get(field) or 0) < 0:
            yield negative(f"{place}.{field}", probe[field])
    if kind != "readinessProbe" and (probe.get("successThreshold") or 1) != 1:
        yield FieldFault(f"{place}.successThreshold", f"Invalid value: {probe['successThreshold']}: must be 1")
