"""A database of an earlier version is brought up to date with what it holds."""

from __future__ import annotations

from pathlib import Path

import alembic.command
import alembic.config
import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import Connection

from lightship.records import garbage, run_history, schema, upgrade
from lightship.records.database import Database
from tests.unit.records.history import T0

FIRST = (
    "INSERT INTO experiments (id, namespace, name, created_at) VALUES ('exp', 'default', 'Default', 0)",
    "INSERT INTO specs (digest, body) VALUES ('d', '{}')",
    "INSERT INTO runs (id, namespace, experiment_id, display_name, spec_digest, parameters, state, state_history, "
    "created_at) VALUES ('run-1', 'default', 'exp', 'r', 'd', '{}', 'SUCCEEDED', '[]', 0)",
    "INSERT INTO tasks (id, namespace, run_id, path, name, type, state, outputs, created_at) VALUES "
    "('t', 'default', 'run-1', 'root/t', 't', 'RUNTIME', 'SUCCEEDED', "
    """'{"parameters":{"x":1},"artifacts":{"m":[{"artifact_id":"made","name":"m","uri":"minio://b/p/run-1/t/m"}]}}'"""
    ", 0)",
    *(f"INSERT INTO artifacts (id, namespace, name, type_title, uri, created_at) VALUES ('{name}', 'default', "
      f"'{name}', 'system.Model', '{uri}', 0)" for name, uri in (
          ("made", "minio://b/p/run-1/t/m"), ("brought", "minio://b/data"))),
    *(f"INSERT INTO events (run_id, task_id, type, key, artifact_id) VALUES ('run-1', 't', '{kind}', 'm', '{name}')"
      for kind, name in (("OUTPUT", "made"), ("INPUT", "brought"))),
)


def as_of_the_first_version(connection: Connection) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(upgrade.__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "0001")
    for statement in FIRST:
        connection.exec_driver_sql(statement)


@pytest.fixture
async def old(url: str) -> Database:
    database = Database(url)
    await database.run(as_of_the_first_version)
    return database


async def test_a_database_of_the_first_version_keeps_what_it_holds(old: Database) -> None:
    assert await old.migrate() == "upgraded"
    assert await old.migrate() == "current"

    _, tasks = await old.read(lambda c: run_history.details(c, "run-1"))
    assert tasks[0].outputs.parameters == {"x": 1}
    assert tasks[0].outputs.artifacts["m"][0].uri == "minio://b/p/run-1/t/m"
    makers = await old.read(lambda c: c.execute(select(schema.artifacts.c.id, schema.artifacts.c.run_id)).all())
    assert {row.id: row.run_id for row in makers} == {"made": "run-1", "brought": ""}

    await old.run(lambda c: run_history.remove(c, "run-1", T0))
    doomed = await old.run(lambda c: garbage.doom(c, "default", 10))
    assert {one.artifact_id: one.run_id for one in doomed} == {"made": "run-1", "brought": ""}
    version = await old.read(lambda c: c.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    assert version == upgrade.REVISIONS[-1]
    await old.close()
