"""Defaults and validation of an InferenceService: the same in the embedded server and as a webhook. Pure.

The words are upstream's where it has the same rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from lightship.domains.furniture import FieldError
from lightship.domains.serving import fields, names, shapes
from lightship.domains.serving.inference_service import scaling_rules as rules
from lightship.domains.serving.inference_service import types
from lightship.kube import objects
from lightship.kube.objects import Object

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# The longest child is the ControllerRevision "<name>-transformer-00001", the longest Service "<name>-transformer".
LIMIT_NAME_CHARACTERS = 63 - len("-predictor")
LIMIT_CANARIES = 20
_PREDICTOR_KINDS = ("SKLearn, XGBoost, Tensorflow, PyTorch, Triton, ONNX, HuggingFace, PMML, LightGBM, Paddle, Model, "
                    "StorageUris, StorageContainerName, WorkerSpec, PodSpec")
_FIXED = {"max_replicas": "maxReplicas", "scale_target": "scaleTarget", "scale_metric": "scaleMetric",
          "auto_scaling": "autoScaling"}
_BLOCKED_VARIABLE = "PYTHONPATH"


def default(obj: Object) -> Object:
    """Upstream's defaulting: today's name of the mode, and ``model`` for a legacy framework key.

    The latter takes the place of a ``model`` that is there: whoever applies a legacy key again meets the model that it
    was turned into the first time.
    """
    obj = _mode_of_today(obj)
    spec = obj.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, Mapping) else None
    if not isinstance(predictor, Mapping):
        return obj
    changed = _modelled(predictor)
    found = obj if changed is predictor else obj | {"spec": dict(obj["spec"]) | {"predictor": changed}}
    canaries = found["spec"].get("canary")
    if not isinstance(canaries, list) or not canaries:
        return found
    made = [each | {"predictor": _modelled(each["predictor"])}
            if isinstance(each, dict) and isinstance(each.get("predictor"), Mapping) else each for each in canaries]
    return found if made == canaries else found | {"spec": dict(found["spec"]) | {"canary": made}}


def _mode_of_today(obj: Object) -> Object:
    metadata = obj.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or not isinstance(annotations, Mapping):
        return obj
    given = annotations.get(names.DEPLOYMENT_MODE_ANNOTATION)
    wanted = names.MODES.get(given) if isinstance(given, str) else None
    if wanted is None or wanted == given:
        return obj
    return obj | {"metadata": dict(metadata) | {
        "annotations": dict(annotations) | {names.DEPLOYMENT_MODE_ANNOTATION: wanted}}}


def _modelled(predictor: Mapping[str, Any]) -> Mapping[str, Any]:
    legacy = [key for key in types.LEGACY_PROTOCOLS if isinstance(predictor.get(key), Mapping)]
    if len(legacy) != 1:
        return predictor  # nothing to do, or something for validate to refuse
    framework = legacy[0]
    given = dict(predictor[framework])
    version = given.pop("runtimeVersion", None)
    model = {
        "modelFormat": {"name": framework},
        "protocolVersion": given.pop("protocolVersion", None) or types.LEGACY_PROTOCOLS[framework],
        **({"runtimeVersion": version} if version else {}),
        **given,
    }
    return {key: value for key, value in predictor.items() if key != framework} | {"model": model}


def validate(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with an InferenceService, after ``default``."""
    found = list(_metadata(obj, old))
    try:
        spec = types.parse_spec(obj)
        shapes.check_service(objects.spec(obj))
    except msgspec.ValidationError as problem:
        return (*found, fields.error_of(problem, "spec"))
    raw = objects.spec(obj)
    mode, annotations = types.mode(obj), objects.annotations(obj)
    for kind, extension in ((names.PREDICTOR, spec.predictor), (names.TRANSFORMER, spec.transformer),
                            (names.EXPLAINER, spec.explainer)):
        if extension is None:
            continue
        path = f"spec.{kind}"
        found += _implementation(raw[kind], extension, kind, path)
        found += rules.replicas(extension, path)
        found += rules.scaling(extension, annotations, mode, path)
        found += _storage(extension, path)
        found += _blocked_variables(raw[kind], path)
    found += _workers(spec.predictor)
    found += _renamed(raw["predictor"], old)
    found += _canaries(spec, raw, mode)
    return found


def _metadata(obj: Object, old: Object | None) -> Iterator[FieldError]:
    name = objects.name(obj)
    # A generated name is checked by the server once it is there.
    if name and not _NAME.fullmatch(name):
        yield FieldError(path="metadata.name", message=(
            f'the InferenceService "{name}" is invalid: a InferenceService name must consist of lower case '
            "alphanumeric characters or '-', and must start with alphabetical character. (e.g. \"my-name\" or "
            "\"abc-123\", regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"))
    if len(name) > LIMIT_NAME_CHARACTERS:
        yield FieldError(path="metadata.name", message=f"at most {LIMIT_NAME_CHARACTERS} characters")
    annotations = objects.annotations(obj)
    mode = annotations.get(names.DEPLOYMENT_MODE_ANNOTATION)
    path = f"metadata.annotations[{names.DEPLOYMENT_MODE_ANNOTATION}]"
    if mode is not None and mode not in names.MODES:
        yield FieldError(path=path, message=f'unknown deployment mode "{mode}"; use Standard or Knative')
    recorded = objects.status(old).get("deploymentMode") if old is not None else None
    if mode is not None and recorded and names.MODES.get(mode) != names.MODES.get(str(recorded)):
        yield FieldError(path=path, message="update rejected: deploymentMode cannot be changed from "
                                            f"'{recorded}' to '{mode}'")
    scaler = annotations.get(names.AUTOSCALER_ANNOTATION)
    if scaler is not None and scaler not in rules.AUTOSCALER_CLASSES:
        yield FieldError(path=f"metadata.annotations[{names.AUTOSCALER_ANNOTATION}]",
                         message=f"[{scaler}] is not a supported autoscaler class type")


def _implementation(raw: Mapping[str, Any], extension: types.Extension, kind: str, path: str) -> Iterator[FieldError]:
    keys = ("model", *types.LEGACY_PROTOCOLS) if kind == names.PREDICTOR else ("art",)
    given = [key for key in keys if raw.get(key) is not None]
    own = extension.containers or []
    # As upstream: containers beside a model are sidecars, unless one has the name of the container that serves.
    if own and (not given or any(container.get("name") == names.CONTAINER for container in own)):
        given.append("containers")
    if len(given) != 1:
        what = f"got {', '.join(given)}" if given else "got none"
        kinds = {names.PREDICTOR: f"exactly one of [{_PREDICTOR_KINDS}] must be specified in PredictorSpec",
                 names.TRANSFORMER: "exactly one of [PodSpec, ComponentExtensionSpec] must be specified in "
                                    "TransformerSpec",
                 names.EXPLAINER: "exactly one of [ART, PodSpec] must be specified in ExplainerSpec"}
        yield FieldError(path=path, message=f"{kinds[kind]}; {what}")
    for place, container in enumerate(own):
        if not container.get("image") and given != ["model"]:
            yield FieldError(path=f"{path}.containers[{place}].image", message="a container needs an image")
    if isinstance(raw.get("model"), Mapping) and raw["model"].get("name"):
        yield FieldError(path=f"{path}.model.name", message="the 'name' field is not allowed in standard predictor")
    if extension.art is not None and not extension.art.get("image"):
        yield FieldError(path=f"{path}.art.image", message="the explainer needs an image: none is shipped")
    if given == ["containers"]:
        protocol = _variable(own[0], "PROTOCOL")
        if protocol not in (None, "v1", "v2"):
            yield FieldError(path=f"{path}.containers[0].env",
                             message=f"invalid protocol {protocol}. Must be one of [v1, v2]")


def _storage(extension: types.Extension, path: str) -> Iterator[FieldError]:
    single: tuple[str | None, str] = (None, "")
    if extension.model is not None:
        single = (extension.model.storage_uri, f"{path}.model.storageUri")
    elif extension.containers:
        single = (_variable(extension.containers[0], "STORAGE_URI"), f"{path}.containers[0].env")
    text, where = single
    if text is not None:
        yield from rules.uri(text, where)
    if extension.storage_uris is not None:
        if text is not None:
            yield FieldError(path=f"{path}.storageUris",
                             message="Setting both StorageURI and StorageURIs is not supported.")
        yield from rules.locations(extension.storage_uris, f"{path}.storageUris")
    for place, container in enumerate(extension.containers or ()):
        if container.get("name") == "transformer-container" and _variable(container, "STORAGE_URI") is not None:
            yield FieldError(path=f"{path}.containers[{place}].env",
                             message="storage uri should not be specified in transformer container")


def _blocked_variables(raw: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """Upstream's: what would put other code in the place of the server's."""
    places = [(f"{field}[{place}]", container) for field in ("containers", "initContainers")
              for place, container in enumerate(raw.get(field) or ())]
    for where, container in (*places, ("model", raw.get("model") or {})):
        if _variable(container, _BLOCKED_VARIABLE) is not None:
            yield FieldError(path=f"{path}.{where}.env", message=(
                f"setting {_BLOCKED_VARIABLE} in container \"{container.get('name') or ''}\" is not allowed for "
                "security reasons"))


def _workers(predictor: types.Extension) -> Iterator[FieldError]:
    if predictor.worker_spec is None:
        return
    if len(predictor.worker_spec.get("containers") or ()) > 1:
        yield FieldError(path="spec.predictor.workerSpec.containers",
                         message="setting multiple containers in workerSpec is not allowed")
    for field in ("pipelineParallelSize", "tensorParallelSize"):
        size = predictor.worker_spec.get(field)
        if isinstance(size, int) and size < 1:
            yield FieldError(path=f"spec.predictor.workerSpec.{field}",
                             message=f"WorkerSpec.{field[0].upper()}{field[1:]} cannot be less than 1({size})")


def _renamed(predictor: Mapping[str, Any], old: Object | None) -> Iterator[FieldError]:
    before = objects.spec(old).get("predictor") if old is not None else None
    if not isinstance(before, Mapping) or (before.get("name") or "") == (predictor.get("name") or ""):
        return
    if _uri(before) == _uri(predictor):
        yield FieldError(path="spec.predictor.name",
                         message="predictor.name change requires a model change (e.g. storageUri)")


def _uri(predictor: Mapping[str, Any]) -> str:
    model = predictor.get("model")
    if isinstance(model, Mapping):
        return str(model.get("storageUri") or "")
    containers: Sequence[Mapping[str, Any]] = predictor.get("containers") or ({},)
    return _variable(containers[0], "STORAGE_URI") or ""


def _canaries(spec: types.Spec, raw: Mapping[str, Any], mode: str) -> Iterator[FieldError]:
    if not spec.canary:
        return
    if mode != names.STANDARD_MODE:
        yield FieldError(path="spec.canary", message="canary is only supported in Standard deployment mode")
    if spec.predictor.model is None and _uri(raw["predictor"]) == "":
        yield FieldError(path="spec.canary", message="canary requires a stable predictor with a model (multi-model "
                                                     "serving is not supported with canary)")
    if len(spec.canary) > LIMIT_CANARIES:
        yield FieldError(path="spec.canary", message=f"at most {LIMIT_CANARIES} canaries")
    seen: set[str] = set()
    for place, canary in enumerate(spec.canary):
        path = f"spec.canary[{place}]"
        name = canary.predictor.name or ""
        if not name:
            yield FieldError(path=path, message=f"canary[{place}] predictor.name is required")
        elif name in seen:
            yield FieldError(path=path, message=f'canary predictor.name "{name}" is duplicated')
        elif name == spec.predictor.name:
            yield FieldError(path=path,
                             message=f'canary predictor.name "{name}" conflicts with stable predictor name')
        seen.add(name)
        yield from _canary(canary, raw["canary"][place]["predictor"], spec.predictor, path)
    total = sum(canary.traffic_percent for canary in spec.canary)
    if total > 100:
        yield FieldError(path="spec.canary", message=f"sum of canary trafficPercent values ({total}) must be <= 100")


def _canary(canary: types.Canary, raw: Mapping[str, Any], stable: types.Extension, path: str) -> Iterator[FieldError]:
    name, own = canary.predictor.name or "", canary.predictor
    if not 0 <= canary.traffic_percent <= 100:
        yield FieldError(path=f"{path}.trafficPercent", message=f'canary "{name}" trafficPercent must be between 0 and '
                                                                f"100, got {canary.traffic_percent}")
    if name and not _NAME.fullmatch(name):
        yield FieldError(path=f"{path}.predictor.name", message=f'"{name}" must match {_NAME.pattern}')
    for error in (*_implementation(raw, own, names.PREDICTOR, f"{path}.predictor"),
                  *rules.replicas(own, f"{path}.predictor"), *_storage(own, f"{path}.predictor")):
        yield FieldError(path=error.path, message=f'canary "{name}" predictor: {error.message}')
    if own.worker_spec is not None:
        yield FieldError(path=f"{path}.predictor.workerSpec", message=(
            f'canary "{name}" must not set workerSpec (multi-node is not yet supported for canary)'))
    for field, shown in _FIXED.items():
        if getattr(own, field):
            yield FieldError(path=f"{path}.predictor.{shown}",
                             message=f'canary "{name}" must not set {shown} (canary uses fixed replicas)')
    most = 1 if stable.min_replicas is None else stable.min_replicas
    if own.min_replicas is not None and own.min_replicas > most:
        yield FieldError(path=f"{path}.predictor.minReplicas", message=(
            f'canary "{name}" minReplicas ({own.min_replicas}) must not exceed stable predictor minReplicas ({most})'))


def _variable(container: Mapping[str, Any], name: str) -> str | None:
    for variable in container.get("env") or ():
        if isinstance(variable, Mapping) and variable.get("name") == name:
            return str(variable.get("value") or "")
    return None
