"""Pipelines and their versions: the queries of their REST routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.engine import Connection, RowMapping

from lightship import errors
from lightship.records import listing, schema, specs
from lightship.records.rows import Pipeline, PipelineVersion

_PIPELINES = schema.pipelines
_VERSIONS = schema.pipeline_versions

_DESCRIBED = ("display_name", "description", "tags")

PIPELINE_FIELDS: listing.Fields = {
    "id": _PIPELINES.c.id, "pipeline_id": _PIPELINES.c.id, "name": _PIPELINES.c.name,
    "display_name": _PIPELINES.c.display_name, "description": _PIPELINES.c.description,
    "created_at": _PIPELINES.c.created_at,
}
VERSION_FIELDS: listing.Fields = {
    "id": _VERSIONS.c.id, "pipeline_version_id": _VERSIONS.c.id, "name": _VERSIONS.c.name,
    "display_name": _VERSIONS.c.display_name, "description": _VERSIONS.c.description,
    "created_at": _VERSIONS.c.created_at,
}


def create(connection: Connection, pipeline: Pipeline) -> Pipeline:
    """Raises ``errors.AlreadyExists`` when the namespace has one of that name."""
    check_new(connection, pipeline)
    connection.execute(insert(_PIPELINES).values(
        id=pipeline.id, namespace=pipeline.namespace, name=pipeline.name, display_name=pipeline.display_name,
        description=pipeline.description, tags=pipeline.tags, created_at=pipeline.created_at,
        object_name=pipeline.object_name))
    return pipeline


def create_version(connection: Connection, version: PipelineVersion) -> PipelineVersion:
    """Raises ``errors.NotFound`` for its pipeline and ``errors.AlreadyExists`` for its name."""
    check_new_version(connection, version)
    connection.execute(insert(_VERSIONS).values(
        id=version.id, namespace=version.namespace, pipeline_id=version.pipeline_id, name=version.name,
        display_name=version.display_name, description=version.description, code_source_url=version.code_source_url,
        package_url=version.package_url, tags=version.tags, spec_digest=specs.keep(connection, version.spec),
        created_at=version.created_at, object_name=version.object_name))
    return version


def check_new(connection: Connection, pipeline: Pipeline) -> None:
    """Raises ``errors.AlreadyExists`` when the namespace has one of that name."""
    if find(connection, pipeline.namespace, pipeline.name) is not None:
        raise errors.AlreadyExists(f'there is already a pipeline "{pipeline.name}"',
                                   remedy="Upload a new version of it, or choose another name")


def check_new_version(connection: Connection, version: PipelineVersion) -> None:
    """Raises ``errors.NotFound`` for its pipeline and ``errors.AlreadyExists`` for its name."""
    get(connection, version.pipeline_id)
    taken = select(_VERSIONS.c.id).where(_VERSIONS.c.pipeline_id == version.pipeline_id,
                                         _VERSIONS.c.name == version.name)
    if connection.execute(taken).first():
        raise errors.AlreadyExists(f'the pipeline already has a version "{version.name}"',
                                   remedy="Choose another name for this version")


def mirror(connection: Connection, pipeline: Pipeline) -> Pipeline:
    """Stores the row of an object, in place of that of an earlier object of its name. Returns what is stored.

    Raises ``errors.AlreadyExists`` where the name belongs to another pipeline.
    """
    known = connection.execute(select(_PIPELINES).where(_PIPELINES.c.id == pipeline.id)).mappings().one_or_none()
    if known is not None:
        values = _mirrored(pipeline)
        if any(known[name] != value for name, value in values.items()):
            connection.execute(update(_PIPELINES).where(_PIPELINES.c.id == pipeline.id).values(**values))
        return pipeline
    forget_object(connection, pipeline.namespace, pipeline.object_name)
    return create(connection, pipeline)


def mirror_version(connection: Connection, version: PipelineVersion) -> None:
    """As ``mirror``, of a version."""
    known = connection.execute(select(_VERSIONS).where(_VERSIONS.c.id == version.id)).mappings().one_or_none()
    if known is None:
        forget_version_object(connection, version.namespace, version.object_name)
        create_version(connection, version)
        return
    values = _mirrored(version)
    if any(known[name] != value for name, value in values.items()):
        connection.execute(update(_VERSIONS).where(_VERSIONS.c.id == version.id).values(**values))


def _mirrored(row: Pipeline | PipelineVersion) -> dict[str, Any]:
    """What a row takes over once it is there.

    Objects know whole seconds; the time of the request that made one is finer, and tells the newer of two versions.
    """
    values = {name: getattr(row, name) for name in _DESCRIBED}
    return values | ({"created_at": row.created_at} if row.created_at.microsecond else {})


def forget_object(connection: Connection, namespace: str, object_name: str) -> None:
    """Deletes the row of an object that is gone, with its versions."""
    connection.execute(delete(_PIPELINES).where(
        _PIPELINES.c.namespace == namespace, _PIPELINES.c.object_name == object_name))


def forget_version_object(connection: Connection, namespace: str, object_name: str) -> None:
    connection.execute(delete(_VERSIONS).where(
        _VERSIONS.c.namespace == namespace, _VERSIONS.c.object_name == object_name))


def object_names(connection: Connection, namespace: str) -> tuple[Sequence[str], Sequence[str]]:
    """The objects that rows of the namespace are of: pipelines' and versions'."""
    parents, versions = ([str(name) for name in connection.execute(select(table.c.object_name).where(
        table.c.namespace == namespace, table.c.object_name != "")).scalars()] for table in (_PIPELINES, _VERSIONS))
    return parents, versions


def get(connection: Connection, pipeline_id: str) -> Pipeline:
    """Raises ``errors.NotFound``."""
    row = connection.execute(select(_PIPELINES).where(_PIPELINES.c.id == pipeline_id)).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f'no pipeline "{pipeline_id}"')
    return _pipeline(row)


def find(connection: Connection, namespace: str, name: str) -> Pipeline | None:
    query = select(_PIPELINES).where(_PIPELINES.c.namespace == namespace, _PIPELINES.c.name == name)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _pipeline(row)


def get_version(connection: Connection, pipeline_id: str, version_id: str) -> PipelineVersion:
    """The version with its specification; ``pipeline_id`` may be empty. Raises ``errors.NotFound``."""
    query = _versions().where(_VERSIONS.c.id == version_id)
    if pipeline_id:
        query = query.where(_VERSIONS.c.pipeline_id == pipeline_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f'no version "{version_id}" of pipeline "{pipeline_id}"')
    return _version(row)


def latest_version(connection: Connection, pipeline_id: str) -> PipelineVersion:
    """The newest version. Raises ``errors.NotFound`` where there is none."""
    query = (_versions().where(_VERSIONS.c.pipeline_id == pipeline_id)
             .order_by(_VERSIONS.c.created_at.desc(), _VERSIONS.c.id.desc()).limit(1))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise errors.NotFound(f'pipeline "{pipeline_id}" has no version')
    return _version(row)


def page(connection: Connection, namespace: str, query: listing.Query) -> tuple[list[Pipeline], listing.Page]:
    statement = select(_PIPELINES)
    if namespace:
        statement = statement.where(_PIPELINES.c.namespace == namespace)
    found = listing.page(connection, statement, PIPELINE_FIELDS, query)
    return [_pipeline(row) for row in found.rows], found


def version_page(connection: Connection, pipeline_id: str,
                 query: listing.Query) -> tuple[list[PipelineVersion], listing.Page]:
    statement = _versions().where(_VERSIONS.c.pipeline_id == pipeline_id)
    found = listing.page(connection, statement, VERSION_FIELDS, query)
    return [_version(row) for row in found.rows], found


def describe(connection: Connection, pipeline_id: str, values: dict[str, Any]) -> Pipeline:
    """Changes ``display_name``, ``description`` or ``tags``."""
    get(connection, pipeline_id)
    if values:
        connection.execute(update(_PIPELINES).where(_PIPELINES.c.id == pipeline_id).values(**values))
    return get(connection, pipeline_id)


def describe_version(connection: Connection, pipeline_id: str, version_id: str,
                     values: dict[str, Any]) -> PipelineVersion:
    """Changes ``display_name``, ``description`` or ``tags``."""
    get_version(connection, pipeline_id, version_id)
    if values:
        connection.execute(update(_VERSIONS).where(_VERSIONS.c.id == version_id).values(**values))
    return get_version(connection, pipeline_id, version_id)


def remove(connection: Connection, pipeline_id: str, *, cascade: bool) -> None:
    """Raises ``errors.NotFound``, and ``errors.Conflict`` when it has versions and ``cascade`` is not asked for."""
    check_removal(connection, pipeline_id, cascade=cascade)
    connection.execute(delete(_PIPELINES).where(_PIPELINES.c.id == pipeline_id))


def check_removal(connection: Connection, pipeline_id: str, *, cascade: bool) -> None:
    """Raises what ``remove`` raises."""
    get(connection, pipeline_id)
    if not cascade and connection.execute(
            select(_VERSIONS.c.id).where(_VERSIONS.c.pipeline_id == pipeline_id).limit(1)).first():
        raise errors.Conflict(f'pipeline "{pipeline_id}" still has versions',
                              remedy="Delete its versions first, or delete it with cascade=true")


def remove_version(connection: Connection, pipeline_id: str, version_id: str) -> None:
    """Raises ``errors.NotFound``. Runs that were made from it keep their own copy of the specification."""
    get_version(connection, pipeline_id, version_id)
    connection.execute(delete(_VERSIONS).where(_VERSIONS.c.id == version_id))


def _versions() -> Select[Any]:
    return select(_VERSIONS, schema.specs.c.body).join(schema.specs)


def _pipeline(row: RowMapping) -> Pipeline:
    return Pipeline(id=row["id"], namespace=row["namespace"], name=row["name"], display_name=row["display_name"],
                    description=row["description"], tags=row["tags"], created_at=row["created_at"],
                    object_name=row["object_name"])


def _version(row: RowMapping) -> PipelineVersion:
    return PipelineVersion(
        id=row["id"], namespace=row["namespace"], pipeline_id=row["pipeline_id"], name=row["name"],
        display_name=row["display_name"], description=row["description"], code_source_url=row["code_source_url"],
        package_url=row["package_url"], tags=row["tags"], spec=row["body"], created_at=row["created_at"],
        object_name=row["object_name"])
