"""Defaults and validation of an InferenceService: the same in the embedded server and as a webhook. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from lightship.domains.furniture import FieldError
from lightship.domains.serving import fields, names, storage
from lightship.domains.serving.errors import BadStorageUri
from lightship.domains.serving.inference_service import types
from lightship.kube import objects
from lightship.kube.objects import Object

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# The Service is named "<name>-predictor", and a Service's name has at most 63 characters.
LIMIT_NAME_CHARACTERS = 63 - len("-predictor")
_MODES = frozenset({"Standard", "RawDeployment", "Knative", "Serverless"})
_LATER = {
    "transformer": "transformers are not served by this version",
    "explainer": "explainers are not served by this version",
    "canary": "canaries are not served by this version",
}


def default(obj: Object) -> Object:
    """Upstream's defaulting: a legacy framework key becomes ``model`` with that format and its protocol.

    It takes the place of a ``model`` that is there: whoever applies a legacy key again meets the model that it was
    turned into the first time.
    """
    spec = obj.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, Mapping) else None
    if not isinstance(predictor, Mapping):
        return obj
    legacy = [key for key in types.LEGACY_PROTOCOLS if isinstance(predictor.get(key), Mapping)]
    if len(legacy) != 1:
        return obj  # nothing to do, or something for validate to refuse
    framework = legacy[0]
    given = dict(predictor[framework])
    version = given.pop("runtimeVersion", None)
    model = {
        "modelFormat": {"name": framework},
        "protocolVersion": given.pop("protocolVersion", None) or types.LEGACY_PROTOCOLS[framework],
        **({"runtimeVersion": version} if version else {}),
        **given,
    }
    kept = {key: value for key, value in predictor.items() if key != framework}
    return obj | {"spec": dict(obj["spec"]) | {"predictor": kept | {"model": model}}}


def validate(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with an InferenceService, after ``default``."""
    found = list(_metadata(obj))
    try:
        spec = types.parse_spec(obj)
    except msgspec.ValidationError as problem:
        return (*found, fields.error_of(problem, "spec"))
    found += _implementation(objects.spec(obj)["predictor"], spec.predictor)
    found += _extension(spec.predictor)
    found += _storage(spec.predictor)
    found += [FieldError(path=f"spec.{name}", message=why) for name, why in _LATER.items() if getattr(spec, name)]
    return found


def _metadata(obj: Object) -> Iterator[FieldError]:
    name = objects.name(obj)
    # A generated name is checked by the server once it is there.
    if name and not _NAME.fullmatch(name):
        yield FieldError(path="metadata.name", message=f'"{name}" must be lower case letters, digits and "-", '
                                                       "starting with a letter and ending with a letter or digit")
    if len(name) > LIMIT_NAME_CHARACTERS:
        yield FieldError(path="metadata.name", message=f"at most {LIMIT_NAME_CHARACTERS} characters")
    mode = (objects.meta(obj).get("annotations") or {}).get(names.DEPLOYMENT_MODE_ANNOTATION)
    if mode is not None and mode not in _MODES:
        yield FieldError(path=f"metadata.annotations[{names.DEPLOYMENT_MODE_ANNOTATION}]",
                         message=f'unknown deployment mode "{mode}"; use Standard or Knative')


def _implementation(raw: Mapping[str, Any], predictor: types.Extension) -> Iterator[FieldError]:
    given = [key for key in ("model", *types.LEGACY_PROTOCOLS) if raw.get(key) is not None]
    if predictor.containers and not given:
        given.append("containers")
    if len(given) != 1:
        what = f"got {', '.join(given)}" if given else "got none"
        yield FieldError(path="spec.predictor", message="exactly one of model, a framework such as sklearn, or "
                                                        f"containers is required; {what}")
    for place, container in enumerate(predictor.containers or ()):
        if not container.get("image") and not (given == ["model"] and container.get("name") == names.CONTAINER):
            yield FieldError(path=f"spec.predictor.containers[{place}].image", message="a container needs an image")
    if raw.get("workerSpec"):
        yield FieldError(path="spec.predictor.workerSpec", message="several nodes are not served by this version")


def _extension(predictor: types.Extension) -> Iterator[FieldError]:
    low, high = predictor.min_replicas, predictor.max_replicas
    for name, number in (("minReplicas", low), ("maxReplicas", high), ("scaleTarget", predictor.scale_target),
                         ("containerConcurrency", predictor.container_concurrency), ("timeout", predictor.timeout)):
        if number is not None and number < 0:
            yield FieldError(path=f"spec.predictor.{name}", message="must be 0 or more")
    if low is not None and high and low > high:
        yield FieldError(path="spec.predictor.maxReplicas", message=f"must be minReplicas ({low}) or more, or 0")
    percent = predictor.canary_traffic_percent
    if percent is not None and percent != 100:
        problem = ("canaries are not served by this version; leave it out or say 100" if 0 <= percent <= 100
                   else "must be between 0 and 100")
        yield FieldError(path="spec.predictor.canaryTrafficPercent", message=problem)


def _storage(predictor: types.Extension) -> Iterator[FieldError]:
    if predictor.storage_uris is not None:
        yield FieldError(path="spec.predictor.storageUris",
                         message="several storage locations are not served by this version; use model.storageUri")
    model = predictor.model
    if model is None:
        return
    if model.storage is not None:
        yield FieldError(path="spec.predictor.model.storage",
                         message="storage by key is not served by this version; use storageUri")
    if model.storage_uri is not None:
        try:
            storage.parse(model.storage_uri)
        except BadStorageUri as problem:
            yield FieldError(path="spec.predictor.model.storageUri", message=str(problem))
