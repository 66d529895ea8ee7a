"""Rows of pipelines as the index of their objects."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from lightship import errors
from lightship.records import pipelines
from lightship.records.database import Database
from lightship.records.rows import Pipeline, PipelineVersion

AT = datetime(2026, 3, 1, tzinfo=UTC)
PIPELINE = Pipeline(id="u1", namespace="default", name="p", display_name="p", object_name="p", created_at=AT)
VERSION = PipelineVersion(id="v1", namespace="default", pipeline_id="u1", name="a", display_name="a", object_name="p-a",
                          spec={"x": 1}, created_at=AT)


async def test_the_newer_of_two_versions_of_one_second_is_the_newer_whoever_wrote_its_row_first(db: Database) -> None:
    await db.run(lambda c: pipelines.mirror(c, PIPELINE))
    early, late = (dataclasses.replace(VERSION, id=f"v{9 - n}", name=str(n), object_name=f"p-{n}",
                                       created_at=AT.replace(microsecond=n)) for n in (1, 2))
    await db.run(lambda c: pipelines.mirror_version(c, early))
    await db.run(lambda c: pipelines.mirror_version(c, dataclasses.replace(late, created_at=AT)))  # from the object
    await db.run(lambda c: pipelines.mirror_version(c, late))  # from the request that made it
    await db.run(lambda c: pipelines.mirror_version(c, dataclasses.replace(late, created_at=AT)))

    assert (await db.read(lambda c: pipelines.latest_version(c, "u1"))).name == "2"


async def test_an_object_made_again_has_a_new_row(db: Database) -> None:
    await db.run(lambda c: pipelines.mirror(c, PIPELINE))
    await db.run(lambda c: pipelines.mirror_version(c, VERSION))
    await db.run(lambda c: pipelines.mirror(c, dataclasses.replace(PIPELINE, id="u2", description="again")))

    found = await db.read(lambda c: pipelines.find(c, "default", "p"))
    assert found is not None and (found.id, found.description) == ("u2", "again")
    with pytest.raises(errors.NotFound):
        await db.read(lambda c: pipelines.get_version(c, "", "v1"))


async def test_a_name_that_a_row_without_an_object_has_is_not_taken_from_it(db: Database) -> None:
    await db.run(lambda c: pipelines.create(c, dataclasses.replace(PIPELINE, object_name="")))

    with pytest.raises(errors.AlreadyExists):
        await db.run(lambda c: pipelines.mirror(c, dataclasses.replace(PIPELINE, id="u2")))
    await db.run(lambda c: pipelines.forget_object(c, "default", "p"))
    assert (await db.read(lambda c: pipelines.get(c, "u1"))).name == "p"
