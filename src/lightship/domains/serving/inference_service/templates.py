"""The Pod of a component, as its Deployment's template. Pure; ``decide`` calls me.

A template bears the digest of itself as its revision label; the ``app`` label is added by ``children``, since the same
revision may run in two Deployments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

import lightship
from lightship import errors
from lightship.domains.serving import names, storage
from lightship.domains.serving.errors import BadStorageUri
from lightship.domains.serving.inference_service import containers
from lightship.domains.serving.inference_service.types import STORAGE_KEY_SCHEME, Component
from lightship.domains.serving.serving_runtime import types as runtimes
from lightship.domains.serving.trained_model import pods as several
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.runtime import apply

STORAGE_IMAGE = f"lightship.dev/{names.STORAGE_INITIALIZER}:{lightship.__version__}"
STORAGE_SECRET = "storage-config"
_MODEL_SERVER_IMAGES = "lightship.dev/modelserver"
_ART_FIELDS = frozenset({"type", "config", "runtimeVersion", "storageUri", "storage"})
# What of a service's annotations is not its Pods' business: a change of these makes no new revision.
_OWN_ANNOTATIONS = frozenset({
    names.STOP_ANNOTATION, names.DEPLOYMENT_MODE_ANNOTATION, names.AUTOSCALER_ANNOTATION, names.MODEL_FORMAT_ANNOTATION,
    names.DISABLE_AUTO_UPDATE_ANNOTATION, names.TAG_ROUTING_ANNOTATION, names.STORAGE_READ_ONLY_ANNOTATION,
})
_OWN_PREFIXES = ("kubectl.kubernetes.io/", "autoscaling.knative.dev/", "serving.knative.dev/", "lightship.dev/",
                 "internal.serving.kserve.io/")


def labels(service: Object, component: str) -> dict[str, str]:
    """The labels that all children of a component bear."""
    return {names.INFERENCE_SERVICE_LABEL: objects.name(service), names.COMPONENT_LABEL: component}


def make(service: Object, component: Component, runtime: Object | None, predictor_host: str = "") -> Object:
    """The template. Raises ``errors.InvalidInput`` where the parts do not fit together."""
    if component.extension.worker_spec is not None:
        raise errors.InvalidInput(f"spec.{component.kind}.workerSpec: a model on several nodes is not served here",
                                  remedy="Serve it on one node, without workerSpec")
    spec = _pod_spec(service, component, runtime, predictor_host)
    extra = runtimes.parse(runtime) if runtime is not None else None
    own_labels = {**(extra.labels if extra else {}), **objects.labels(service), **(component.extension.labels or {}),
                  **labels(service, component.kind)}
    own_labels.pop(names.APP_LABEL, None)
    annotations = {**(extra.annotations if extra else {}), **_passed_on(objects.annotations(service)),
                   **_passed_on(component.extension.annotations or {})}
    metadata: Object = {"labels": own_labels | {names.REVISION_LABEL: apply.digest([spec, own_labels, annotations])}}
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": spec}


def digest_of(template: Object) -> str:
    return str(objects.labels(template).get(names.REVISION_LABEL, ""))


def _passed_on(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items()
            if key not in _OWN_ANNOTATIONS and not key.startswith(_OWN_PREFIXES)}


def _pod_spec(service: Object, component: Component, runtime: Object | None, predictor_host: str) -> Object:
    pod: Object = containers.merge_pod(
        runtimes.pod_fields(runtime) if runtime is not None else {},
        {key: value for key, value in component.pod.items() if key != "containers"})
    made = _containers(service, component, runtime)
    main = containers.main(made)
    if predictor_host:
        main = _calling(service, component, main, predictor_host)
    main = _batching(component, main)
    main.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    others = [container for container in made if container.get("name") != main.get("name")]
    made = [main, *others]
    entrance = containers.entrance(made)
    entrance.setdefault("readinessProbe", {"tcpSocket": {"port": containers.port_of(made)}, "periodSeconds": 1})
    main["env"] = [*(entry for entry in main.get("env") or () if entry.get("name") != "POD_IP"),
                   {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    name = objects.name(service)
    pod["containers"] = [containers.with_environment(container, INFERENCE_SERVICE_NAME=name) for container in made]
    _add_storage(pod, component, read_only=objects.annotations(service).get(
        names.STORAGE_READ_ONLY_ANNOTATION, "true") != "false")
    if component.kind == names.PREDICTOR and several.several_models(objects.spec(service).get("predictor") or {}):
        several.add(pod, name)
    return pod


def _containers(service: Object, component: Component, runtime: Object | None) -> list[Object]:
    own = [dict(container) for container in component.pod.get("containers") or ()]
    if runtime is None:
        if not own and component.extension.art is not None:
            own = [{key: value for key, value in component.extension.art.items() if key not in _ART_FIELDS}]
        if component.kind != names.PREDICTOR or len(own) == 1 or not own[0].get("name"):
            own[0]["name"] = names.CONTAINER
        return own
    base = [dict(container) for container in (runtime["spec"].get("containers") or ())]
    main = containers.main(base)
    merged = containers.merge_container(containers.filled(main, service), component.container)
    merged["name"] = names.CONTAINER
    version = component.model.runtime_version if component.model is not None else None
    if version:
        merged["image"] = containers.versioned(str(merged.get("image", "")), version)
    own_names = {container.get("name"): container for container in own}
    others = []
    for container in base:
        if container is main:
            continue
        over = own_names.pop(container.get("name"), None)
        others.append(containers.filled(containers.merge_container(container, over or {}), service))
    return [merged, *others, *(each for each in own_names.values() if each.get("name") != names.CONTAINER)]


def _calling(service: Object, component: Component, container: Object, predictor_host: str) -> Object:
    """The arguments by which transformers and explainers know whom to call, as upstream gives them."""
    host = f"{predictor_host}.{objects.namespace(service)}"
    if component.extension.art is not None and not component.pod.get("containers"):
        container = _art(component.extension.art, container)
    container = containers.with_argument(container, "--model_name", objects.name(service))
    container = containers.with_argument(container, "--predictor_host", host)
    container = containers.with_argument(container, "--http_port", str(names.HTTP_PORT))
    workers = component.extension.container_concurrency
    return containers.with_argument(container, "--workers", str(workers)) if workers else container


def _art(art: Mapping[str, Any], container: Object) -> Object:
    arguments = ["--adversary_type", str(art.get("type", ""))]
    for key in sorted(art.get("config") or {}):
        arguments += [f"--{key}", str(art["config"][key])]
    return container | {"args": [*arguments, *(container.get("args") or ())]}


def _batching(component: Component, container: Object) -> Object:
    """The batcher's bounds as arguments of our model server; other servers have none of that name."""
    batcher = component.extension.batcher
    if batcher is None or not str(container.get("image", "")).startswith(_MODEL_SERVER_IMAGES):
        return container
    if batcher.max_batch_size:
        container = containers.with_argument(container, "--max_batch_rows", str(batcher.max_batch_size))
    if batcher.max_latency:
        container = containers.with_argument(container, "--max_batch_latency_ms", str(batcher.max_latency))
    return container


# ---- storage


def _add_storage(pod: Object, component: Component, *, read_only: bool) -> None:
    """Give the model's files to the main container: a claim is mounted, everything else is fetched by an initializer.

    What lies at one mount path shares a volume; each URI is brought by an initializer of its own.
    """
    locations = component.storage
    if not locations:
        return
    main = pod["containers"][0]
    paths = {location.mount_path.rstrip("/") or "/" for location in locations}
    mounts = [mount for mount in main.get("volumeMounts") or () if mount.get("mountPath", "").rstrip("/") not in paths]
    volumes, initializers = list(pod.get("volumes") or ()), list(pod.get("initContainers") or ())
    names_by_path: dict[str, str] = {}
    for number, location in enumerate(locations):
        path = location.mount_path.rstrip("/")
        suffix = f"-{number}" if number else ""
        claim = _claim(location.uri)
        if claim is not None:
            volume = names.PVC_VOLUME + suffix
            mount: Object = {"name": volume, "mountPath": path, "readOnly": read_only}
            mounts.append(mount | ({"subPath": claim.path} if claim.path else {}))
            volumes.append({"name": volume, "persistentVolumeClaim": {"claimName": claim.root, "readOnly": read_only}})
            continue
        if path not in names_by_path:
            names_by_path[path] = names.MODEL_VOLUME + suffix
            mounts.append({"name": names_by_path[path], "mountPath": path, "readOnly": read_only})
            volumes.append({"name": names_by_path[path], "emptyDir": {}})
        initializers.append(_initializer(component, location.uri, path, suffix) | {
            "volumeMounts": [{"name": names_by_path[path], "mountPath": path}]})
    pod["containers"] = [main | {"volumeMounts": mounts}, *pod["containers"][1:]]
    pod["volumes"] = volumes
    if initializers:
        pod["initContainers"] = initializers


def _claim(uri: str) -> storage.StorageUri | None:
    """The claim that ``pvc://`` names; None for everything that is fetched."""
    try:
        found = storage.parse(uri)
    except BadStorageUri:
        return None  # the initializer says in its last line what is wrong with it
    return found if found.scheme == "pvc" else None


def _initializer(component: Component, uri: str, path: str, suffix: str) -> Object:
    container: Object = {
        "name": names.STORAGE_INITIALIZER + suffix,
        "image": STORAGE_IMAGE,
        "args": [uri, path],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec = component.model.storage if component.model is not None else None
    if spec is None:
        return container
    environment: list[Object] = []
    if spec.key or uri.startswith(STORAGE_KEY_SCHEME):
        environment.append({"name": "STORAGE_CONFIG", "valueFrom": {"secretKeyRef": {
            "name": STORAGE_SECRET, "key": spec.key or "default", "optional": True}}})
    if spec.parameters:
        environment.append({"name": "STORAGE_OVERRIDE_CONFIG",
                            "value": msgspec.json.encode(spec.parameters, order="sorted").decode()})
    return container | ({"env": environment} if environment else {})
