"""What an InferenceService is made of: a Deployment, a Service and the gateway's route. Pure; ``decide`` calls me."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

import lightship
from lightship.domains.serving import names, storage
from lightship.domains.serving.inference_service.types import Predictor
from lightship.domains.serving.serving_runtime import types as runtimes
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.runtime import apply

STORAGE_IMAGE = f"lightship.dev/{names.STORAGE_INITIALIZER}:{lightship.__version__}"
_PLACEHOLDER = re.compile(r"\{\{\s*\.([A-Za-z]+)(?:\.([-A-Za-z0-9_]+))?\s*\}\}")


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where the gateway is: ``gateway_url`` has no slash at its end; ``domain`` ends host names."""

    gateway_url: str
    domain: str = "example.com"


def labels(service: Object) -> dict[str, str]:
    """The labels that all children bear."""
    name = objects.name(service)
    return {names.APP_LABEL: names.app(name), names.INFERENCE_SERVICE_LABEL: name,
            names.COMPONENT_LABEL: names.PREDICTOR}


def make_pod_template(service: Object, predictor: Predictor, runtime: Object | None) -> Object:
    """The predictor's Pod, with the label of its revision. Raises ``BadStorageUri`` never: admission has read it."""
    spec = _pod_spec(service, predictor, runtime)
    extra = runtimes.parse(runtime) if runtime is not None else None
    own_labels = {**(extra.labels if extra else {}), **(predictor.extension.labels or {}), **labels(service)}
    annotations = {**(extra.annotations if extra else {}), **(predictor.extension.annotations or {})}
    revision = apply.digest([spec, own_labels, annotations])
    metadata: Object = {"labels": own_labels | {names.REVISION_LABEL: revision}}
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec}


def revision_of(template: Object) -> str:
    return objects.labels(template)[names.REVISION_LABEL]


def make_deployment(service: Object, template: Object, replicas: int) -> Object:
    """The Deployment; new Pods are ready before old ones end."""
    name = objects.name(service)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(service, names.predictor(name)),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {names.APP_LABEL: names.app(name)}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": template,
        },
    }


def make_service(service: Object, port: int) -> Object:
    """The Service: 80 to the container's port, as upstream makes it."""
    name = objects.name(service)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(service, names.predictor(name)),
        "spec": {
            "selector": {names.APP_LABEL: names.app(name)},
            "ports": [{"name": "http", "port": 80, "targetPort": port, "protocol": "TCP"}],
        },
    }


def make_route(service: Object, site: Site, backends: Sequence[Object], *, timeout_seconds: int,
               message: str = "") -> Object:
    """The gateway's route; ``message`` says why there is no endpoint, for those who call it meanwhile."""
    name, namespace = objects.name(service), objects.namespace(service)
    route: Object = {
        "namespace": namespace,
        "name": name,
        "hosts": [names.host(name, namespace, site.domain)],
        "prefix": names.prefix(name, namespace),
        "timeoutSeconds": timeout_seconds,
        "backends": list(backends),
    }
    if message:
        route["message"] = message
    metadata = _metadata(service, names.route(name))
    metadata["labels"] = {names.GATEWAY_ROUTE_LABEL: "true", names.INFERENCE_SERVICE_LABEL: name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "data": {names.ROUTE_KEY: msgspec.json.encode(route, order="deterministic").decode()}}


def port_of(template: Object) -> int:
    """The port that the predictor's container listens on."""
    ports = _main(template["spec"]["containers"]).get("ports") or ()
    return int(ports[0]["containerPort"]) if ports else names.HTTP_PORT


def url(service: Object, site: Site) -> str:
    """Where the service is reached through the gateway."""
    return site.gateway_url + names.prefix(objects.name(service), objects.namespace(service))


def _metadata(service: Object, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": objects.namespace(service), "labels": labels(service),
            "ownerReferences": [objects.owner_reference(service)]}


def _main(containers: Sequence[Object]) -> Object:
    return next((container for container in containers if container.get("name") == names.CONTAINER), containers[0])


# ---- the Pod


def _pod_spec(service: Object, predictor: Predictor, runtime: Object | None) -> Object:
    pod: Object = {**(runtimes.pod_fields(runtime) if runtime is not None else {}), **predictor.pod}
    containers = _containers(service, predictor, runtime)
    main = _main(containers)
    main.setdefault("readinessProbe", {"tcpSocket": {"port": names.HTTP_PORT}, "periodSeconds": 1})
    main["terminationMessagePolicy"] = "FallbackToLogsOnError"
    main["env"] = _merged_by(main.get("env"), [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}], "name")
    pod["containers"] = containers
    location = predictor.model.storage_uri if predictor.model is not None else None
    if location:
        _add_storage(pod, main, location)
    return pod


def _containers(service: Object, predictor: Predictor, runtime: Object | None) -> list[Object]:
    if runtime is None:
        own = [dict(container) for container in predictor.pod.get("containers") or ()]
        if len(own) == 1:
            own[0].setdefault("name", names.CONTAINER)
        return own
    base = [dict(container) for container in (runtime["spec"].get("containers") or ())]
    main = _main(base)
    merged = merge_container(_filled(main, service), predictor.container)
    merged["name"] = main.get("name") or names.CONTAINER
    version = predictor.model.runtime_version if predictor.model is not None else None
    if version:
        merged["image"] = f"{_untagged(str(merged.get('image', '')))}:{version}"
    others = [_filled(container, service) for container in base if container is not main]
    sidecars = [dict(container) for container in predictor.pod.get("containers") or ()
                if container.get("name") != merged["name"]]
    return [merged, *others, *sidecars]


def _filled(container: Object, service: Object) -> Object:
    """A runtime's container with upstream's placeholders (``{{.Name}}``, ``{{.Labels.x}}``) filled in."""
    values: dict[str, Any] = {"Name": objects.name(service), "Namespace": objects.namespace(service),
                              "Labels": objects.labels(service),
                              "Annotations": objects.meta(service).get("annotations") or {}}

    def fill(match: re.Match[str]) -> str:
        value = values.get(match[1], match[0])
        if isinstance(value, Mapping):
            return str(value.get(match[2], ""))
        return str(value)

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return _PLACEHOLDER.sub(fill, value)
        if isinstance(value, Mapping):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        return value

    filled: Object = walk(container)
    return filled


def merge_container(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """Upstream's rule: ``over`` wins; args are added at the end; env, ports and mounts are merged by their name."""
    merged: Object = {**base, **{name: value for name, value in over.items() if value is not None}}
    if base.get("args") and over.get("args"):
        merged["args"] = [*base["args"], *over["args"]]
    for field, by in (("env", "name"), ("volumeMounts", "mountPath"), ("ports", "containerPort")):
        if base.get(field) and over.get(field):
            merged[field] = _merged_by(base[field], over[field], by)
    if base.get("resources") and over.get("resources"):
        merged["resources"] = {
            **base["resources"],
            **{name: {**(base["resources"].get(name) or {}), **(value or {})} if isinstance(value, Mapping) else value
               for name, value in over["resources"].items()}}
    return merged


def _merged_by(base: Sequence[Object] | None, over: Sequence[Object], by: str) -> list[Object]:
    found = {entry.get(by): entry for entry in base or ()}
    found.update({entry.get(by): entry for entry in over})
    return list(found.values())


def _untagged(image: str) -> str:
    head, _, last = image.rpartition("/")
    name = last.partition("@")[0].partition(":")[0]
    return f"{head}/{name}" if head else name


def _add_storage(pod: Object, main: Object, location: str) -> None:
    """Give the model's files to the container: a claim is mounted, everything else is fetched by an initializer."""
    uri = storage.parse(location)
    mounts = [mount for mount in main.get("volumeMounts") or () if mount.get("mountPath") != names.MODEL_DIRECTORY]
    volumes = list(pod.get("volumes") or ())
    if uri.scheme == "pvc":
        mount: Object = {"name": names.PVC_VOLUME, "mountPath": names.MODEL_DIRECTORY, "readOnly": True}
        if uri.path:
            mount["subPath"] = uri.path
        main["volumeMounts"] = [*mounts, mount]
        pod["volumes"] = [*volumes, {"name": names.PVC_VOLUME,
                                     "persistentVolumeClaim": {"claimName": uri.root, "readOnly": True}}]
        return
    main["volumeMounts"] = [*mounts, {"name": names.MODEL_VOLUME, "mountPath": names.MODEL_DIRECTORY,
                                      "readOnly": True}]
    pod["volumes"] = [*volumes, {"name": names.MODEL_VOLUME, "emptyDir": {}}]
    pod["initContainers"] = [*(pod.get("initContainers") or ()), {
        "name": names.STORAGE_INITIALIZER,
        "image": STORAGE_IMAGE,
        "args": [location, names.MODEL_DIRECTORY],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": names.MODEL_VOLUME, "mountPath": names.MODEL_DIRECTORY}],
    }]
