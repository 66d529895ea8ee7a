"""Between Kubernetes objects and rows of pipelines and their versions. Pure.

An object's uid is the row's id, as upstream has it. KFP allows names that are none for objects: such a pipeline's
object has a name made of it and the real one in an annotation. What REST changes later (a version's spec may not
change) is in annotations too, and goes before the spec.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lightship.domains.pipelines import parse
from lightship.domains.pipelines.objects import kinds
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.lib import clock
from lightship.records.rows import Pipeline, PipelineVersion

NAME = "lightship.dev/name"
CHANGED = {"display_name": "lightship.dev/display-name", "description": "lightship.dev/description",
           "tags": "lightship.dev/tags"}
PIPELINE_ID_LABEL = "pipelines.kubeflow.org/pipeline-id"
PIPELINE_LABEL = "pipelines.kubeflow.org/pipeline"
CONDITION = "PipelineVersionStatus"
READY = "READY"

_OBJECT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_LIMIT_NAME_CHARACTERS = 200


def object_name(*names: str) -> str:
    """A name for the object: the names themselves where they are fit, else made of them and their digest."""
    joined = "-".join(names)
    if len(joined) <= _LIMIT_NAME_CHARACTERS and _OBJECT_NAME.fullmatch(joined):
        return joined
    stem = re.sub(r"[^a-z0-9]+", "-", joined.lower())[:_LIMIT_NAME_CHARACTERS].strip("-") or "pipeline"
    return f"{stem}-{hashlib.sha256(chr(0).join(names).encode()).hexdigest()[:8]}"


def of_pipeline(row: Pipeline) -> Object:
    """The object of a new pipeline."""
    name = object_name(row.name)
    return {"apiVersion": kinds.PIPELINES.api_version, "kind": kinds.PIPELINES.kind,
            "metadata": _metadata(row.namespace, name, row.name),
            "spec": _spec(displayName=row.display_name, description=row.description, tags=row.tags)}


def of_version(pipeline: Pipeline, row: PipelineVersion) -> Object:
    """The object of a new version of ``pipeline``, owned by the pipeline's object."""
    name = object_name(*((row.name,) if row.name == pipeline.name else (pipeline.object_name, row.name)))
    metadata = _metadata(row.namespace, name, row.name)
    metadata |= owned(pipeline)
    fit = _OBJECT_NAME.fullmatch(row.name)
    return {"apiVersion": kinds.PIPELINE_VERSIONS.api_version, "kind": kinds.PIPELINE_VERSIONS.kind,
            "metadata": metadata,
            "spec": _spec(pipelineName=pipeline.object_name, versionName=row.name if fit else "",
                          displayName=row.display_name, description=row.description, tags=row.tags,
                          codeSourceURL=row.code_source_url, pipelineSpec=row.spec.get("pipeline_spec", row.spec),
                          platformSpec=row.spec.get("platform_spec"))}


def owned(pipeline: Pipeline) -> dict[str, Any]:
    """The metadata by which a version belongs to its pipeline."""
    return {"labels": {PIPELINE_ID_LABEL: pipeline.id} | (
                {PIPELINE_LABEL: pipeline.object_name} if len(pipeline.object_name) <= 63 else {}),
            "ownerReferences": [{"apiVersion": kinds.PIPELINES.api_version, "kind": kinds.PIPELINES.kind,
                                 "name": pipeline.object_name, "uid": pipeline.id, "blockOwnerDeletion": True}]}


def changed(changes: Mapping[str, Any]) -> Object:
    """The merge patch that keeps what REST changes."""
    values = {CHANGED[name]: json.dumps(value) for name, value in changes.items()}
    return {"metadata": {"annotations": values}}


def pipeline(obj: Object) -> Pipeline:
    """The row of a Pipeline."""
    name = objects.annotations(obj).get(NAME) or objects.name(obj)
    return Pipeline(id=objects.uid(obj), namespace=objects.namespace(obj), name=name, object_name=objects.name(obj),
                    created_at=_created(obj), **_described(obj, name))


def version(obj: Object, pipeline_id: str) -> PipelineVersion:
    """The row of a PipelineVersion."""
    spec = objects.spec(obj)
    name = objects.annotations(obj).get(NAME) or spec.get("versionName") or objects.name(obj)
    return PipelineVersion(
        id=objects.uid(obj), namespace=objects.namespace(obj), pipeline_id=pipeline_id, name=name,
        object_name=objects.name(obj), code_source_url=spec.get("codeSourceURL") or "",
        package_url=spec.get("pipelineSpecURI") or "", spec=stored_spec(obj), created_at=_created(obj),
        **_described(obj, name))


def stored_spec(obj: Object) -> Object:
    """The specification in a PipelineVersion, as rows have it. Raises ``errors.InvalidInput``."""
    spec = objects.spec(obj)
    documents = [spec["pipelineSpec"]]
    platform = spec.get("platformSpec")
    if platform:
        documents.append(platform)
    return parse.combine(documents)


def _described(obj: Object, name: str) -> dict[str, Any]:
    spec, notes = objects.spec(obj), objects.annotations(obj)
    values = {"display_name": spec.get("displayName") or name, "description": spec.get("description") or "",
              "tags": spec.get("tags") or None}
    for field, annotation in CHANGED.items():
        if annotation in notes:
            values[field] = _noted(notes[annotation], field, values[field])
    return values


def _noted(text: str, field: str, otherwise: Any) -> Any:
    """The value in an annotation; ``otherwise`` where somebody wrote what is none, by hand."""
    try:
        value = json.loads(text)
    except ValueError:
        return otherwise
    if field != "tags":
        return value if isinstance(value, str) else otherwise
    fit = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    return value if value is None or fit else otherwise


def _metadata(namespace: str, name: str, real: str) -> dict[str, Any]:
    return {"namespace": namespace, "name": name} | ({"annotations": {NAME: real}} if real != name else {})


def _spec(**values: Any) -> Object:
    return {name: value for name, value in values.items() if value}


def _created(obj: Object) -> datetime:
    return clock.parse_timestamp(objects.meta(obj)["creationTimestamp"])
