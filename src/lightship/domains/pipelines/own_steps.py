"""Steps that the engine does itself, without a Pod: importers, and the making and deleting of volume claims.

``reconciler`` calls me. I am the thin edge to the artifact store and to PersistentVolumeClaims; every act is named by
the run and the task, so that doing it twice does it once.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any

from lightship import errors
from lightship.artifacts import digests
from lightship.artifacts import errors as artifact_errors
from lightship.artifacts.digests import Digest
from lightship.artifacts.store import Entry, ObjectStore
from lightship.client.client import Client
from lightship.domains.pipelines import importing, names, placeholders
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.execution import Execution
from lightship.domains.pipelines.nodes import IMPORTER, Outcome
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PERSISTENT_VOLUME_CLAIMS
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import ArtifactRow, TaskIO

MAX_IMPORTED_FILES = 100_000
"""As many as a step can be brought."""
CREATE_CLAIM = "createpvc"
DELETE_CLAIM = "deletepvc"


async def run(step: Execution, job: placeholders.Job, store: ObjectStore, client: Client) -> Outcome:
    """Do the step. What is the step's own fault fails it; ``errors.Unavailable`` is raised, to be tried again."""
    try:
        if step.node.type == IMPORTER:
            outputs = await _import(step, job, store)
        elif CREATE_CLAIM in step.container.image:
            outputs = await _create_claim(step, job, client)
        elif DELETE_CLAIM in step.container.image:
            outputs = await _delete_claim(step, client)
        else:
            raise StepError(f'the image "{step.container.image}" stands for an act of the engine that it does not know',
                            remedy="Use kfp-kubernetes' CreatePVC and DeletePVC, or an image of your own")
    except errors.Unavailable:
        raise
    except errors.LightshipError as cause:
        return Outcome(state=rows.FAILED, error=str(cause))
    return Outcome(state=rows.SUCCEEDED, outputs=outputs)


async def _import(step: Execution, job: placeholders.Job, store: ObjectStore) -> TaskIO:
    """An artifact from a URI. Unless it is imported anew, the same URI is the same artifact in a namespace."""
    importer, uri = importing.importer_of(step), importing.uri_of(step, job)
    content = await content_digest(store, uri)
    name, spec = next(iter(step.node.component.outputs.artifacts.items()))
    owner = step.row.task_id if importer.reimport else f"{step.run.namespace}:{content.digest if content else ''}"
    artifact = ArtifactRow(
        artifact_id=names.artifact_id(uri, owner), name=name, type_title=importer.title or spec.title,
        type_version=importer.version, uri=uri, metadata=importing.metadata_of(step, job),
        digest=content.digest if content else "", size_bytes=content.size_bytes if content else 0)
    return TaskIO(artifacts={name: (artifact,)})


async def content_digest(store: ObjectStore, uri: str) -> Digest | None:
    """The digest of what lies at ``uri``; None for another store's. Raises where our own store has nothing there."""
    try:
        entries = await store.list(uri, limit=MAX_IMPORTED_FILES)
    except artifact_errors.NotServed:
        return None
    if not entries:
        raise artifact_errors.NoSuchArtifact(f'nothing lies at "{uri}"')
    if len(entries) == MAX_IMPORTED_FILES:
        raise errors.TooLarge(f'"{uri}" holds {MAX_IMPORTED_FILES} files or more', remedy="Pack them into an archive")
    base = uri.rstrip("/")
    if len(entries) == 1 and entries[0].uri == base:
        return await _file_digest(store, entries[0])
    return digests.of_tree({entry.uri[len(base) + 1:]: await _file_digest(store, entry) for entry in entries})


async def _file_digest(store: ObjectStore, entry: Entry) -> Digest:
    """The content's digest; of what its store tells versions of, that of its place and version, which costs no look."""
    if entry.version:
        told = hashlib.sha256(f"{entry.uri}\0{entry.version}".encode()).hexdigest()
        return Digest(digest=f"version:{told}", size_bytes=entry.size_bytes)
    total, size = hashlib.sha256(), 0
    _, chunks = await store.stream(entry.uri)
    async with contextlib.aclosing(chunks) as stream:  # type: ignore[type-var]
        async for chunk in stream:
            total.update(chunk)
            size += len(chunk)
    return Digest(digest=f"sha256:{total.hexdigest()}", size_bytes=size)


async def _create_claim(step: Execution, job: placeholders.Job, client: Client) -> TaskIO:
    given = step.node.parameters
    claim = make_claim(given, namespace=step.run.namespace, run_name=job.resource_name)
    # One that is there was made by an earlier pass, or before the run: either way it is the claim that was asked for.
    with contextlib.suppress(errors.AlreadyExists):
        await client.create(PERSISTENT_VOLUME_CLAIMS, claim)
    return TaskIO(parameters={"name": claim["metadata"]["name"]})


def make_claim(given: Mapping[str, Any], *, namespace: str, run_name: str) -> Object:
    """The claim that a CreatePVC task asks for. Pure."""
    name = given.get("pvc_name") or (
        f"{run_name}-{given['pvc_name_suffix']}" if given.get("pvc_name_suffix") else "")
    if not name:
        raise StepError("CreatePVC has neither pvc_name nor pvc_name_suffix", remedy="Pass one of them")
    spec: Object = {
        "accessModes": given.get("access_modes") or ["ReadWriteOnce"],
        "resources": {"requests": {"storage": given.get("size") or "1Gi"}},
    }
    for parameter, field in (("storage_class_name", "storageClassName"), ("volume_name", "volumeName"),
                             ("data_source", "dataSource")):
        if given.get(parameter):
            spec[field] = given[parameter]
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": names.claim(str(name)), "namespace": namespace,
                     "annotations": dict(given.get("annotations") or {})},
        "spec": spec,
    }


async def _delete_claim(step: Execution, client: Client) -> TaskIO:
    name = step.node.parameters.get("pvc_name")
    if not isinstance(name, str) or not name:
        raise StepError("DeletePVC has no pvc_name", remedy="Pass the name that CreatePVC gave")
    with contextlib.suppress(errors.NotFound):  # gone already is what was asked for
        await client.delete(PERSISTENT_VOLUME_CLAIMS, Key(step.run.namespace, name))
    return rows.NO_IO


