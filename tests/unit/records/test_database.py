"""The database: durable transactions, refusals in our words, a schema that is brought up to date once."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, insert, inspect, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ReflectedIndex

from lightship import errors
from lightship.records import schema, upgrade
from lightship.records.database import Database

SPECS = schema.specs



def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(SPECS)).scalar_one())


def adding(digest: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(insert(SPECS).values(digest=digest, body={}))


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)


async def test_what_run_wrote_read_sees(db: Database) -> None:
    await db.run(lambda c: c.execute(insert(SPECS).values(digest="a", body={"x": [1, 2.5, "ü"]})))

    assert await db.read(lambda c: c.execute(select(SPECS.c.body)).scalar_one()) == {"x": [1, 2.5, "ü"]}


async def test_a_piece_that_raises_undoes_itself_and_not_its_neighbours(db: Database) -> None:
    def spoiled(connection: Connection) -> None:
        connection.execute(insert(SPECS).values(digest="bad", body={}))
        raise errors.InvalidInput("no")

    results = await asyncio.gather(
        *(db.run(adding(str(n))) for n in range(20)),
        db.run(spoiled), return_exceptions=True)

    assert [type(r) for r in results if isinstance(r, Exception)] == [errors.InvalidInput]
    assert await db.read(count) == 20


async def test_a_broken_constraint_is_a_conflict_and_the_next_write_works(db: Database) -> None:
    await db.run(adding("same"))

    with pytest.raises(errors.Conflict, match="refuse the write"):
        await db.run(adding("same"))
    await db.run(adding("other"))
    assert await db.read(count) == 2


async def test_foreign_keys_are_held(db: Database) -> None:
    values = {"task_id": "t", "run_id": "r", "artifact_id": "a", "type": "input", "key": "k"}

    with pytest.raises(errors.Conflict):
        await db.run(lambda c: c.execute(insert(schema.events).values(**values)))


async def test_many_writers_at_once_all_land(db: Database) -> None:
    await asyncio.gather(*(db.run(adding(str(n))) for n in range(200)))

    assert await db.read(count) == 200


async def test_migrate_twice_does_nothing_and_does_not_import_alembic(url: str) -> None:
    first = Database(url)
    assert await first.migrate() == "created"
    await first.close()
    script = f"""
        import asyncio, sys
        from lightship.records.database import Database
        async def main():
            db = Database({url!r})
            print(await db.migrate(), "alembic" in sys.modules)
            await db.close()
        asyncio.run(main())
    """
    done = await asyncio.to_thread(python, script)

    assert done.stdout.split() == ["current", "False"], done.stderr


def plain(index: ReflectedIndex) -> str:
    """An index in words; the condition of a partial one is an object that only ``str`` compares."""
    options = {name: str(option) for name, option in index.get("dialect_options", {}).items()}
    return str({**index, "dialect_options": options})


def described(connection: Connection) -> dict[str, object]:
    """Everything that the inspector knows of the schema, in an order that does not depend on how it was made."""
    look = inspect(connection)
    tables: dict[str, object] = {}
    for name in sorted(look.get_table_names()):
        columns = [{**c, "type": str(c["type"]), "comment": None} for c in look.get_columns(name)]
        tables[name] = [
            columns, look.get_pk_constraint(name), sorted(map(str, look.get_foreign_keys(name))),
            sorted(map(plain, look.get_indexes(name))), sorted(map(str, look.get_unique_constraints(name)))]
    return tables


async def test_a_new_schema_equals_all_migrations(url: str, tmp_path: Path) -> None:
    database = Database(url)
    await database.migrate()
    created = await database.read(described)
    await database.run(schema.metadata.drop_all)
    await database.run(lambda c: c.execute(text("DROP TABLE alembic_version")))

    await database.run(upgrade.run_migrations)

    assert await database.read(described) == created
    assert await database.migrate() == "current"
    await database.close()


def test_the_list_of_revisions_is_what_alembic_finds() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(upgrade.__file__).with_name("migrations")))
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    assert tuple(reversed(found)) == upgrade.REVISIONS


async def test_a_newer_schema_is_refused(url: str) -> None:
    database = Database(url)
    await database.migrate()
    await database.run(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))

    with pytest.raises(errors.StateError, match=r"schema 9999, which is newer.*Start the newer Lightship"):
        await database.migrate()
    await database.close()


async def test_a_foreign_database_is_refused(url: str) -> None:
    database = Database(url)
    await database.run(lambda c: c.execute(text("CREATE TABLE runs (id INTEGER)")))

    with pytest.raises(errors.StateError, match="tables but no version"):
        await database.migrate()
    await database.close()


async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    before = path.read_bytes()
    database = Database(f"sqlite:///{path}")

    with pytest.raises(errors.StateError, match=r"damaged or not a database.*backup"):
        await database.migrate()
    await database.close()
    assert path.read_bytes() == before


async def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nowhere/records.db")

    with pytest.raises(errors.StateError, match="cannot be written"):
        await database.migrate()
    await database.close()


async def test_a_password_is_in_no_message() -> None:
    pytest.importorskip("psycopg")
    database = Database("postgresql://me:hunter2@127.0.0.1:1/nothing")

    with pytest.raises(errors.Unavailable) as caught:
        await database.migrate()
    await database.close()
    assert "hunter2" not in str(caught.value)


async def test_an_upgrade_keeps_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.db"
    database = Database(f"sqlite:///{path}")
    await database.migrate()
    last = upgrade.REVISIONS[-1]
    monkeypatch.setattr(upgrade, "REVISIONS", (*upgrade.REVISIONS, "next"))
    monkeypatch.setattr(upgrade, "run_migrations", lambda connection: None)

    assert await database.migrate() == "upgraded"
    await database.close()
    with sqlite3.connect(f"{path}.{last}.backup") as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == (last,)
    copy.close()


def test_a_killed_process_loses_no_write_that_it_was_told_of(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    script = f"""
        import asyncio
        from sqlalchemy import insert
        from lightship.records import schema
        from lightship.records.database import Database
        async def write(db, n):
            await db.run(lambda c: c.execute(insert(schema.specs).values(digest=str(n), body={{}})))
            print(n, flush=True)
        async def main():
            db = Database("sqlite:///{path}")
            await db.migrate()
            await asyncio.gather(*(write(db, n) for n in range(100000)))
        asyncio.run(main())
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.read().splitlines(keepends=True)
    process.wait()
    process.stdout.close()

    kept = asyncio.run(digests_in(path))
    assert {line.strip() for line in told if line.endswith("\n")} <= kept
    assert len(told) >= 300


async def digests_in(path: Path) -> set[str]:
    database = Database(f"sqlite:///{path}")
    assert await database.migrate() == "current"
    kept = set(await database.read(lambda c: c.execute(select(SPECS.c.digest)).scalars().all()))
    await database.close()
    return kept


async def test_closing_finishes_what_was_queued(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    database = Database(f"sqlite:///{path}")
    await database.migrate()
    writes = [asyncio.ensure_future(database.run(adding(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*writes)

    with pytest.raises(errors.Unavailable, match="closed"):
        await database.run(count)
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT count(*) FROM specs").fetchone() == (50,)
    plain.close()


async def test_in_memory_one_database_is_read_and_written() -> None:
    database = Database("sqlite://")
    assert await database.migrate() == "created"
    await database.run(adding("a"))

    assert await database.read(count) == 1
    await database.close()
