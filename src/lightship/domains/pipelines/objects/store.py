"""Pipelines' objects as the REST routes write them, in the request that writes the rows. I call ``client``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from lightship import errors
from lightship.client.client import Client
from lightship.domains.pipelines.objects import translate
from lightship.domains.pipelines.objects.kinds import PIPELINE_VERSIONS, PIPELINES
from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import Resource
from lightship.records.rows import Pipeline, PipelineVersion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objects:
    """Writes objects. The caller has been reviewed; I act as the platform."""

    client: Client

    async def create(self, row: Pipeline) -> Pipeline:
        """Makes the object; the row as it is to be stored. Raises ``errors.AlreadyExists``."""
        made = await self.client.create(PIPELINES, translate.of_pipeline(row))
        return dataclasses.replace(row, id=objects.uid(made), object_name=objects.name(made))

    async def create_version(self, pipeline: Pipeline, row: PipelineVersion) -> PipelineVersion:
        """Makes the object. A pipeline without one, and a specification that is too large for one, has a row alone."""
        row = dataclasses.replace(row, pipeline_id=pipeline.id)
        if not pipeline.object_name:
            return row
        try:
            made = await self.client.create(PIPELINE_VERSIONS, translate.of_version(pipeline, row))
        except errors.TooLarge:
            return row
        return dataclasses.replace(row, id=objects.uid(made), object_name=objects.name(made))

    async def describe(self, row: Pipeline | PipelineVersion, changes: Mapping[str, Any]) -> None:
        if row.object_name and changes:
            await self.client.patch(_resource(row), Key(row.namespace, row.object_name), translate.changed(changes))

    async def delete(self, row: Pipeline | PipelineVersion) -> None:
        if row.object_name:
            with contextlib.suppress(errors.NotFound):
                await self.client.delete(_resource(row), Key(row.namespace, row.object_name))


def _resource(row: Pipeline | PipelineVersion) -> Resource:
    return PIPELINES if isinstance(row, Pipeline) else PIPELINE_VERSIONS
