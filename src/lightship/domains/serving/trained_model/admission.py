"""What a TrainedModel must be to be accepted: upstream's rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightship import errors
from lightship.domains.furniture import FieldError
from lightship.domains.serving import storage
from lightship.domains.serving.errors import BadStorageUri
from lightship.kube import objects, quantities
from lightship.kube.objects import Object

_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def validate(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a TrainedModel."""
    found: list[FieldError] = []
    name, model = objects.name(obj), (obj.get("spec") or {}).get("model") or {}
    if name and not _NAME.fullmatch(name):
        found.append(FieldError(path="metadata.name", message=f'"{name}" must be letters, digits, "_" and "-"'))
    try:
        storage.parse(str(model.get("storageUri") or ""))
    except BadStorageUri as problem:
        found.append(FieldError(path="spec.model.storageUri", message=str(problem)))
    try:
        memory = quantities.parse(model.get("memory") or 0)
    except errors.InvalidInput as problem:
        return (*found, FieldError(path="spec.model.memory", message=str(problem)))
    if old is not None and quantities.parse(objects.spec(old)["model"]["memory"]) != memory:
        found.append(FieldError(path="spec.model.memory", message="the memory of a model cannot be changed"))
    return found
