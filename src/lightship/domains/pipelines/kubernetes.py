"""KFP's Kubernetes platform config, applied to a step's Pod. Pure; ``children`` calls me.

The config is ``platform_spec``'s entry for the executor, as JSON data (see the KubernetesExecutorConfig message). Names
may come from parameters: ``resolve`` gives the value of an InputParameterSpec in the step's surroundings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightship.domains.pipelines import names
from lightship.domains.pipelines.document import Reader
from lightship.domains.pipelines.errors import StepError
from lightship.kube.objects import Object
from lightship.kube.resources import CONFIGMAPS, SECRETS, Resource

Resolve = Callable[[Reader], Any]

FIELDS = ("secretAsVolume", "secretAsEnv", "pvcMount", "nodeSelector", "podMetadata", "imagePullSecret",
          "imagePullPolicy", "configMapAsVolume", "configMapAsEnv", "activeDeadlineSeconds", "fieldPathAsEnv",
          "tolerations", "genericEphemeralVolume", "nodeAffinity", "podAffinity", "enabledSharedMemory",
          "emptyDirMounts", "securityContext", "initContainers")
"""Of a KubernetesExecutorConfig."""
PIPELINE_FIELDS = ("resourceTtlOnCompletion", "workspace", "resourceTtlOnSuccess", "resourceTtlOnFailure",
                   "activeDeadlineSeconds")
"""Of a PipelineConfig."""


def apply(pod: Object, config: Object, resolve: Resolve) -> None:
    """Change ``pod`` (which nobody else holds yet) as ``config`` says. Raises ``StepError``, ``InvalidPipeline``."""
    reader = Reader.of(config, "platform_spec")
    spec = pod["spec"]
    main = next(container for container in spec["containers"] if container["name"] == names.MAIN)
    _environment(main, reader, resolve)
    _volumes(spec, main, reader, resolve)
    _placement(spec, reader, resolve)
    _metadata(pod, reader)
    policy = reader.text("imagePullPolicy")
    if policy:
        main["imagePullPolicy"] = policy
    secrets = [{"name": _name(item, "secretName", resolve)} for item in reader.items("imagePullSecret")]
    if secrets:
        spec["imagePullSecrets"] = secrets
    deadline = reader.integer("activeDeadlineSeconds")
    if deadline:
        spec["activeDeadlineSeconds"] = deadline
    context = reader.child("securityContext")
    security: Object = {key: context.integer(key) for key in ("runAsUser", "runAsGroup") if context.has(key)}
    if context.has("runAsNonRoot"):
        security["runAsNonRoot"] = context.flag("runAsNonRoot")
    if security:
        main["securityContext"] = security
    for item in reader.items("initContainers"):
        spec["initContainers"].append(_init_container(item))


def read_by(config: Object, resolve: Resolve) -> list[tuple[Resource, str]]:
    """The Secrets and ConfigMaps whose content a step sees, in order. Raises as ``apply`` does."""
    reader = Reader.of(config, "platform_spec")
    found = {(resource, _name(item, f"{kind}Name", resolve))
             for kind, resource in (("secret", SECRETS), ("configMap", CONFIGMAPS))
             for field in ("AsEnv", "AsVolume") for item in reader.items(f"{kind}{field}")}
    return sorted(found, key=lambda one: (one[0].kind, one[1]))


def _name(item: Reader, field: str, resolve: Resolve) -> str:
    """A name given by the parameter ``<field>Parameter``, or by the deprecated ``field``."""
    parameter = f"{field}Parameter"
    value = resolve(item.child(parameter)) if item.has(parameter) else item.raw(field)
    if not isinstance(value, str) or not value:
        raise StepError(f"{item.within(field)} gives no name")
    return value


def _environment(main: Object, reader: Reader, resolve: Resolve) -> None:
    for kind, reference in (("secret", "secretKeyRef"), ("configMap", "configMapKeyRef")):
        for item in reader.items(f"{kind}AsEnv"):
            name = _name(item, f"{kind}Name", resolve)
            for entry in item.items("keyToEnv"):
                source: Object = {"name": name, "key": entry.text(f"{kind}Key")}
                if item.has("optional"):
                    source["optional"] = item.flag("optional")
                main["env"].append({"name": entry.text("envVar"), "valueFrom": {reference: source}})
    for item in reader.items("fieldPathAsEnv"):
        main["env"].append({"name": item.text("name"),
                            "valueFrom": {"fieldRef": {"fieldPath": item.text("fieldPath")}}})


def _volumes(spec: Object, main: Object, reader: Reader, resolve: Resolve) -> None:
    for item in reader.items("secretAsVolume"):
        name = _name(item, "secretName", resolve)
        source: Object = {"secretName": name}
        if item.has("optional"):
            source["optional"] = item.flag("optional")
        _mount(spec, main, f"secret-{name}", {"secret": source}, item)
    for item in reader.items("configMapAsVolume"):
        name = _name(item, "configMapName", resolve)
        source = {"name": name}
        if item.has("optional"):
            source["optional"] = item.flag("optional")
        _mount(spec, main, f"config-{name}", {"configMap": source}, item)
    for item in reader.items("pvcMount"):
        name = _claim(item, resolve)
        _mount(spec, main, f"claim-{name}", {"persistentVolumeClaim": {"claimName": name}}, item)
    for item in reader.items("genericEphemeralVolume"):
        _mount(spec, main, item.text("volumeName"), {"ephemeral": {"volumeClaimTemplate": _template(item)}}, item)
    for item in reader.items("emptyDirMounts"):
        empty = {key: item.text(key) for key in ("medium", "sizeLimit") if item.text(key)}
        _mount(spec, main, item.text("volumeName"), {"emptyDir": empty}, item)
    if reader.has("enabledSharedMemory"):
        item = reader.child("enabledSharedMemory")
        empty = {"medium": "Memory"} | ({"sizeLimit": item.text("size")} if item.text("size") else {})
        name = item.text("volumeName") or "shm"
        spec["volumes"].append({"name": name, "emptyDir": empty})
        main["volumeMounts"] = [*main["volumeMounts"], {"name": name, "mountPath": "/dev/shm"}]


def _claim(item: Reader, resolve: Resolve) -> str:
    if item.has("pvcNameParameter"):
        value = resolve(item.child("pvcNameParameter"))
    elif item.has("constant"):
        value = item.text("constant")
    else:
        value = resolve(item)
    if not isinstance(value, str) or not value:
        raise StepError(f"{item.place} names no volume claim")
    return value


def _mount(spec: Object, main: Object, name: str, source: Object, item: Reader) -> None:
    path = item.text("mountPath")
    if not path.startswith("/"):
        raise StepError(f'{item.within("mountPath")} is "{path}", which is not an absolute path')
    volume = names.volume(name)
    if not any(known["name"] == volume for known in spec["volumes"]):
        spec["volumes"].append({"name": volume, **source})
    mount: Object = {"name": volume, "mountPath": path}
    if item.text("subPath"):
        mount["subPath"] = item.text("subPath")
    main["volumeMounts"] = [*main["volumeMounts"], mount]


def _template(item: Reader) -> Object:
    spec: Object = {
        "accessModes": list(item.strings("accessModes")),
        "resources": {"requests": {"storage": item.text("size")}},
    }
    if not item.flag("defaultStorageClass") and item.has("storageClassName"):
        spec["storageClassName"] = item.text("storageClassName")
    metadata = item.child("metadata").value
    return {"spec": spec} | ({"metadata": metadata} if metadata else {})


def _placement(spec: Object, reader: Reader, resolve: Resolve) -> None:
    selector = reader.child("nodeSelector")
    labels = resolve(selector.child("nodeSelectorJson")) if selector.has("nodeSelectorJson") \
        else selector.child("labels").value
    if labels:
        spec["nodeSelector"] = dict(labels)
    tolerations: list[Any] = []
    for item in reader.items("tolerations"):
        if item.has("tolerationJson"):
            given = resolve(item.child("tolerationJson"))
            tolerations += given if isinstance(given, list) else [given] if given else []
        else:
            toleration = {key: item.text(key) for key in ("key", "operator", "value", "effect") if item.text(key)}
            if item.has("tolerationSeconds"):
                toleration["tolerationSeconds"] = item.integer("tolerationSeconds")  # type: ignore[assignment]
            tolerations.append(toleration)
    if tolerations:
        spec["tolerations"] = tolerations
    affinity = {**_node_affinity(reader, resolve), **_pod_affinity(reader)}
    if affinity:
        spec["affinity"] = affinity


def _node_affinity(reader: Reader, resolve: Resolve) -> Object:
    required, preferred = [], []
    for item in reader.items("nodeAffinity"):
        if item.has("nodeAffinityJson"):
            given = resolve(item.child("nodeAffinityJson"))
            if given:
                return {"nodeAffinity": given}
            continue
        term = {key: item.list(key) for key in ("matchExpressions", "matchFields") if item.list(key)}
        if item.has("weight"):
            preferred.append({"weight": item.integer("weight"), "preference": term})
        else:
            required.append(term)
    found: Object = {}
    if required:
        found["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": required}
    if preferred:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    return {"nodeAffinity": found} if found else {}


def _pod_affinity(reader: Reader) -> Object:
    found: Object = {}
    for item in reader.items("podAffinity"):
        term: Object = {"topologyKey": item.text("topologyKey"), "labelSelector": _selector(
            item, "matchPodExpressions", "matchPodLabels")}
        if item.strings("namespaces"):
            term["namespaces"] = list(item.strings("namespaces"))
        if item.has("matchNamespaceExpressions") or item.has("matchNamespaceLabels"):
            term["namespaceSelector"] = _selector(item, "matchNamespaceExpressions", "matchNamespaceLabels")
        kind = found.setdefault("podAntiAffinity" if item.flag("anti") else "podAffinity", {})
        if item.has("weight"):
            kind.setdefault("preferredDuringSchedulingIgnoredDuringExecution", []).append(
                {"weight": item.integer("weight"), "podAffinityTerm": term})
        else:
            kind.setdefault("requiredDuringSchedulingIgnoredDuringExecution", []).append(term)
    return found


def _selector(item: Reader, expressions: str, labels: str) -> Object:
    found: Object = {}
    if item.list(expressions):
        found["matchExpressions"] = item.list(expressions)
    if item.child(labels).value:
        found["matchLabels"] = item.child(labels).value
    return found


def _metadata(pod: Object, reader: Reader) -> None:
    """The user's labels and annotations; ours are never given away."""
    given = reader.child("podMetadata")
    for field in ("labels", "annotations"):
        pod["metadata"][field] = {**given.child(field).value, **pod["metadata"][field]}


def _init_container(item: Reader) -> Object:
    container: Object = {"name": item.text("name"), "image": item.text("image")}
    for field in ("command", "args"):
        if item.strings(field):
            container[field] = list(item.strings(field))
    environment = [{"name": entry.text("name"), "value": entry.text("value")} for entry in item.items("env")]
    mounts = [{"name": names.volume(entry.text("volumeName")), "mountPath": entry.text("mountPath")}
              for entry in item.items("volumeMounts")]
    if environment:
        container["env"] = environment
    if mounts:
        container["volumeMounts"] = mounts
    if item.text("restartPolicy"):
        container["restartPolicy"] = item.text("restartPolicy")
    if item.has("resources"):
        container["resources"] = item.child("resources").value
    return container
