"""What a Pipeline or PipelineVersion must be: the same in the embedded server and as a webhook. Pure.

That a version's pipeline is there is no matter of admission here: both may come in one file, in any order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightship import errors
from lightship.domains.furniture import FieldError
from lightship.domains.pipelines import document, parse
from lightship.domains.pipelines.objects import translate
from lightship.kube import objects
from lightship.kube.objects import Object

LIMIT_NAME_CHARACTERS = 253
_VERSION_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_TEXTS = ("description", "displayName")
_VERSION_TEXTS = (*_TEXTS, "codeSourceURL", "pipelineName", "versionName", "pipelineSpecURI")


def pipeline(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a Pipeline."""
    return _fields(obj, _TEXTS)


def version(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a PipelineVersion. Once made its spec stays: what runs by it is to be what was run."""
    spec = obj.get("spec")
    if old is not None:
        return () if spec == old.get("spec") else (FieldError(
            path="spec", message="Pipeline spec is immutable; only metadata changes (labels/annotations) are allowed"),)
    found = list(_fields(obj, _VERSION_TEXTS))
    if found or not isinstance(spec, Mapping):
        return found
    if not spec.get("pipelineName"):
        found.append(FieldError(path="spec.pipelineName", message="the Pipeline that this is a version of"))
    name = spec.get("versionName") or ""
    if name and (len(name) > LIMIT_NAME_CHARACTERS or not _VERSION_NAME.fullmatch(name)):
        found.append(FieldError(path="spec.versionName", message="lower case letters, digits, '-' and '.' only"))
    if not isinstance(spec.get("pipelineSpec"), Mapping):
        found.append(FieldError(path="spec.pipelineSpec", message="a compiled pipeline is required"))
        return found
    if spec.get("platformSpec") is not None and not isinstance(spec["platformSpec"], Mapping):
        found.append(FieldError(path="spec.platformSpec", message="must be an object"))
        return found
    try:
        stored = translate.stored_spec(obj)
        document.check_size(stored)
        parse.spec(stored)
    except errors.InvalidInput as error:
        place = f"spec.pipelineSpec.{error.field}" if error.field else "spec.pipelineSpec"
        found.append(FieldError(path=place, message=str(error)))
    return found


def _fields(obj: Object, texts: Sequence[str]) -> list[FieldError]:
    spec: Any = obj.get("spec")
    if spec is None:
        return []
    if not isinstance(spec, Mapping):
        return [FieldError(path="spec", message="must be an object")]
    found = [FieldError(path=f"spec.{name}", message="must be a string")
             for name in texts if not isinstance(spec.get(name, ""), str)]
    tags = spec.get("tags") or {}
    if not isinstance(tags, Mapping) or not all(isinstance(value, str) for value in tags.values()):
        found.append(FieldError(path="spec.tags", message="must map strings to strings"))
    if len(objects.name(obj)) > LIMIT_NAME_CHARACTERS:
        found.append(FieldError(path="metadata.name", message=f"at most {LIMIT_NAME_CHARACTERS} characters"))
    return found
