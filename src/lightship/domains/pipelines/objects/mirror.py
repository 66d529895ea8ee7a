"""Keeps the rows of pipelines and versions as their objects are: two reconcilers, and the look at a namespace's start.

The manager calls them when an object changes, and ``Sweep`` once a namespace appears: what was deleted while nobody
looked leaves rows behind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightship import errors
from lightship.client.client import Client
from lightship.domains.pipelines.objects import translate
from lightship.domains.pipelines.objects.kinds import PIPELINE_VERSIONS, PIPELINES
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource
from lightship.records import pipelines
from lightship.records.database import Database
from lightship.records.rows import Pipeline
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Result

_log = logging.getLogger(__name__)


async def _live(client: Client, resource: Resource, key: Key) -> Object | None:
    """The object as it is now: a row is not made of what was deleted a moment ago."""
    try:
        found = await client.get(resource, key.name, key.namespace)
    except errors.NotFound:
        return None
    return None if objects.deleting(found) else found


@dataclass(frozen=True, kw_only=True)
class PipelineMirror:
    """A reconciler of Pipelines."""

    client: Client
    database: Database

    async def reconcile(self, key: Key) -> Result:
        try:
            await self.row(key)
        except errors.AlreadyExists as error:
            # A Pipeline has no status to say so in; its versions say it in theirs.
            _log.warning("a Pipeline is not in KFP's REST", extra={"pipeline": str(key), "error": error.message})
        return DONE

    async def row(self, key: Key) -> Pipeline | None:
        """The pipeline's row, in step with its object; None where there is no object any more.

        Raises ``errors.AlreadyExists`` where a pipeline without an object has the name.
        """
        obj = await _live(self.client, PIPELINES, key)
        if obj is None:
            await self.database.run(lambda c: pipelines.forget_object(c, key.namespace, key.name))
            return None
        row = translate.pipeline(obj)
        return await self.database.run(lambda c: pipelines.mirror(c, row))


@dataclass(frozen=True, kw_only=True)
class VersionMirror:
    """A reconciler of PipelineVersions: the row, the owner, and the condition that tells how it stands."""

    client: Client
    database: Database
    parents: PipelineMirror

    async def reconcile(self, key: Key) -> Result:
        try:
            return await self._pass(key)
        except errors.NotFound:
            # It, or its pipeline, went while it was looked at: a pipeline goes with all its versions.
            return Result(requeue_after_seconds=0)

    async def _pass(self, key: Key) -> Result:
        obj = await _live(self.client, PIPELINE_VERSIONS, key)
        if obj is None:
            await self.database.run(lambda c: pipelines.forget_version_object(c, key.namespace, key.name))
            return DONE
        name = str(objects.spec(obj).get("pipelineName", ""))
        try:
            parent = await self.parents.row(Key(key.namespace, name))
        except errors.AlreadyExists as error:
            await self._tell(obj, "False", "NameTaken", error.message)
            return DONE
        if parent is None:
            message = f'there is no Pipeline "{name}" in the namespace'
            await self._tell(obj, "False", "PipelineNotFound", message)
            return DONE
        obj = await self._own(obj, parent)
        row = translate.version(obj, parent.id)
        try:
            await self.database.run(lambda c: pipelines.mirror_version(c, row))
        except errors.AlreadyExists as error:
            await self._tell(obj, "False", "NameTaken", error.message)
            return DONE
        await self._tell(obj, "True", translate.READY, translate.READY)
        return DONE

    async def _own(self, obj: Object, parent: Pipeline) -> Object:
        wanted = translate.owned(parent)
        metadata = objects.meta(obj)
        theirs = [each for each in metadata.get("ownerReferences") or [] if each.get("kind") != PIPELINES.kind]
        if (wanted["ownerReferences"][0] in (metadata.get("ownerReferences") or [])
                and wanted["labels"].items() <= objects.labels(obj).items()):
            return obj
        patch: dict[str, Any] = {"metadata": {
            "resourceVersion": metadata.get("resourceVersion"), "labels": wanted["labels"],
            "ownerReferences": [*theirs, *wanted["ownerReferences"]]}}
        return await self.client.patch(PIPELINE_VERSIONS, objects.key(obj), patch)

    async def _tell(self, obj: Object, status: str, reason: str, message: str) -> None:
        condition = {"type": translate.CONDITION, "status": status, "reason": reason, "message": message}
        await apply.patch_status(self.client, PIPELINE_VERSIONS, obj, {"conditions": [condition]})


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A reconciler of namespaces: has the mirrors look at every row that has an object, once."""

    database: Database
    wake_pipeline: Callable[[Key], None]
    wake_version: Callable[[Key], None]

    async def reconcile(self, key: Key) -> Result:
        parents, versions = await self.database.read(lambda c: pipelines.object_names(c, key.name))
        for name in parents:
            self.wake_pipeline(Key(key.name, name))
        for name in versions:
            self.wake_version(Key(key.name, name))
        return DONE
