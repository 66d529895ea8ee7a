from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship import errors
from lightship.cluster.store import broadcast
from lightship.cluster.store import store as stores
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.errors import RevisionConflict, WatchEnded, WriteFailed
from lightship.cluster.store.store import Store


def render(text: str) -> stores.Render:
    return lambda revision: f"{text}@{revision}".encode()


def pods(name: str, namespace: str = "default") -> Key:
    return Key("pods", namespace, name)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "cluster.db")
    yield opened
    await opened.close()


async def test_a_write_is_read_back_with_its_revision(store: Store) -> None:
    entry = await store.put(pods("a"), render("x"), 0)
    assert entry == store.get(pods("a")) == (1, b"x@1")
    assert store.revision == 1
    assert store.get(pods("b")) is None


async def test_compare_and_swap(store: Store) -> None:
    first = await store.put(pods("a"), render("x"), 0)
    with pytest.raises(errors.AlreadyExists):
        await store.put(pods("a"), render("y"), 0)
    await store.put(pods("a"), render("y"), first.revision)
    with pytest.raises(RevisionConflict):
        await store.put(pods("a"), render("z"), first.revision)
    with pytest.raises(RevisionConflict):
        await store.delete(pods("a"), render("z"), first.revision)
    with pytest.raises(errors.NotFound):
        await store.delete(pods("nope"), render("z"))
    assert store.get(pods("a")) == (2, b"y@2")


async def test_of_concurrent_writers_one_wins_and_the_losers_then_see_its_write(store: Store) -> None:
    await store.put(pods("a"), render("0"), 0)

    async def write(text: str) -> str:
        try:
            await store.put(pods("a"), render(text), 1)
        except RevisionConflict:
            entry = store.get(pods("a"))
            assert entry is not None and entry.revision == 2
            return "lost"
        return "won"

    outcomes = await asyncio.gather(*(write(str(n)) for n in range(20)))
    assert sorted(outcomes) == ["lost"] * 19 + ["won"]


async def test_lists_are_ordered_and_can_look_back(store: Store) -> None:
    await store.put(pods("b"), render("b"))
    await store.put(pods("a", "kube"), render("k"))
    await store.put(pods("a"), render("a"))
    await store.put(Key("nodes", "", "n"), render("n"))
    then = store.revision
    await store.delete(pods("b"), render("gone"))
    await store.put(pods("a"), render("changed"))
    assert [(i.namespace, i.name) for i in store.snapshot("pods").items] == [("default", "a"), ("kube", "a")]
    past = store.snapshot("pods", revision=then)
    assert past.revision == then
    assert [(i.namespace, i.name, i.entry.value) for i in past.items] == [
        ("default", "a", b"a@3"), ("default", "b", b"b@1"), ("kube", "a", b"k@2")]
    assert [i.name for i in store.snapshot("pods", "default", revision=then).items] == ["a", "b"]
    with pytest.raises(errors.DeadlineExceeded):
        store.snapshot("pods", revision=99)


async def test_a_watch_sees_every_later_event_in_order(store: Store) -> None:
    await store.put(pods("a"), render("1"))
    watcher = store.watch("pods", 0, "default")
    await asyncio.gather(*(store.put(pods(f"p{n}"), render("x")) for n in range(300)),
                         store.put(pods("z", "other"), render("x")), store.put(Key("nodes", "", "n"), render("n")))
    await store.delete(pods("a"), render("last"))
    events: list[broadcast.Event] = []
    while len(events) < 302:
        events += await watcher.next(5)
    assert [e.revision for e in events] == sorted(e.revision for e in events)
    assert (events[0].type, events[0].key.name) == ("ADDED", "a")
    assert (events[-1].type, events[-1].previous) == ("DELETED", b"1@1")
    assert events[-1].value == f"last@{store.revision}".encode()
    assert await watcher.next(0.01) == []
    watcher.close()
    with pytest.raises(WatchEnded):
        await watcher.next()


async def test_history_is_bounded_and_older_is_gone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "LIMIT_HISTORY_EVENTS", 10)
    for n in range(15):
        await store.put(pods("a"), render(str(n)))
    assert store.compacted == 5
    with pytest.raises(errors.Gone):
        store.watch("pods", 4)
    with pytest.raises(errors.Gone):
        store.snapshot("pods", revision=4)
    assert [e.revision for e in await store.watch("pods", 5).next()] == list(range(6, 16))
    with pytest.raises(errors.Gone):
        store.watch("pods", 16)


async def test_a_laggard_is_dropped_and_holds_nobody_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "LIMIT_WATCHER_EVENTS", 5)
    laggard, reader = store.watch("pods", 0), store.watch("pods", 0)
    for n in range(6):
        await store.put(pods(f"p{n}"), render("x"))
        assert len(await reader.next(5)) == 1
    with pytest.raises(WatchEnded, match="behind"):
        await laggard.next(5)


async def test_a_reopened_store_is_the_same_history_included(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    store = await Store.open(path)
    await store.put(pods("a"), render("1"))
    await store.put(pods("a"), render("2"))
    await store.put(pods("b"), render("1"))
    await store.delete(pods("b"), render("end"))
    before = [(e.revision, e.type, e.value, e.previous) for e in await store.watch("pods", 0).next()]
    await store.close()
    store = await Store.open(path)
    assert store.revision == 4
    assert store.snapshot("pods").items == [("default", "a", (2, b"2@2"))]
    assert [(e.revision, e.type, e.value, e.previous) for e in await store.watch("pods", 0).next()] == before
    assert (await store.put(pods("c"), render("x"))).revision == 5
    await store.close()


async def test_compaction_drops_superseded_rows_and_nothing_else(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "LIMIT_HISTORY_EVENTS", 10)
    monkeypatch.setattr(stores, "COMPACTION_ROWS", 20)
    path = tmp_path / "cluster.db"
    store = await Store.open(path)
    await store.put(pods("keep"), render("kept"))
    for n in range(60):
        await store.put(pods(f"p{n % 3}"), render(str(n)))
    await store.delete(pods("p0"), render("end"))
    listed, revision, compacted = store.snapshot("pods"), store.revision, store.compacted
    await store.close()
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT count(*) FROM log").fetchone()[0]
    db.close()
    assert rows <= 62 - 40
    store = await Store.open(path)
    assert store.snapshot("pods") == listed
    assert store.revision == revision
    assert store.compacted <= compacted
    with pytest.raises(errors.Gone):
        store.watch("pods", 5)
    await store.close()


async def test_a_failed_commit_fails_its_writes_publishes_nothing_and_heals(store: Store, tmp_path: Path) -> None:
    await store.put(pods("a"), render("1"))
    watcher = store.watch("pods", store.revision)
    size = max(os.stat(tmp_path / file).st_size for file in os.listdir(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, hard))
    try:
        outcomes = await asyncio.gather(
            *(store.put(pods(f"big{n}"), lambda revision: b"x" * 100_000) for n in range(5)), return_exceptions=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert all(isinstance(o, WriteFailed) for o in outcomes), outcomes
    assert "cluster.db" in str(outcomes[0])
    assert store.revision == 1
    assert await watcher.next(0.01) == []
    entry = await store.put(pods("b"), render("2"), 0)
    assert entry.revision == 2
    assert [e.key.name for e in await watcher.next(5)] == ["b"]


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_corrupt_file_is_refused_with_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cluster.db"
    path.write_bytes(content)
    with pytest.raises(errors.StateError, match="corrupt") as caught:
        await Store.open(path)
    assert caught.value.remedy and str(path) in caught.value.message
    assert path.read_bytes() == content


async def test_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    store = await Store.open(path)
    for n in range(200):
        await store.put(pods(f"p{n}"), lambda revision: b"x" * 1000)
    await store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 5:4096 * 8] = b"\xa5" * 4096 * 3
    path.write_bytes(content)
    with pytest.raises(errors.StateError, match="corrupt"):
        await Store.open(path)


async def test_foreign_newer_busy_and_unwritable_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE t (a)")
    db.close()
    with pytest.raises(errors.StateError, match="not Lightship's"):
        await Store.open(foreign)
    path = tmp_path / "cluster.db"
    store = await Store.open(path)
    with pytest.raises(errors.StateError, match="in use"):
        await Store.open(path)
    await store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(errors.StateError, match="newer"):
        await Store.open(path)
    with pytest.raises(errors.StateError, match="could not open"):
        await Store.open(tmp_path / "nowhere" / "cluster.db")


_VICTIM = """
import asyncio, sys
from pathlib import Path
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.store import Store

async def main():
    store = await Store.open(Path(sys.argv[1]))
    async def work(n):
        i = 0
        while True:
            entry = await store.put(Key("pods", "default", f"w{n}-{i % 50}"), lambda revision: b"%d" % i)
            print(entry.revision, f"w{n}-{i % 50}", i, flush=True)
            i += 1
    await asyncio.gather(*(work(n) for n in range(8)))

asyncio.run(main())
"""


async def test_kill_9_loses_no_acknowledged_write(tmp_path: Path) -> None:
    path = tmp_path / "cluster.db"
    for _ in range(3):
        victim = await asyncio.create_subprocess_exec(sys.executable, "-c", _VICTIM, str(path),
                                                      stdout=asyncio.subprocess.PIPE)
        assert victim.stdout is not None
        lines = [await victim.stdout.readline() for _ in range(500)]
        victim.kill()
        lines += (await victim.stdout.read()).splitlines(keepends=True)
        await victim.wait()
        acknowledged: dict[str, tuple[int, int]] = {}
        for line in (line.decode() for line in lines if line.endswith(b"\n")):
            revision, name, value = line.split()
            acknowledged[name] = (int(revision), int(value))
        store = await Store.open(path)
        for name, (written, number) in acknowledged.items():
            entry = store.get(pods(name))
            assert entry is not None
            assert entry.revision >= written
            assert entry.revision > written or int(entry.value) == number
        await store.close()


def test_what_readers_made_of_old_events_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "LIMIT_MEMO_EVENTS", 3)
    history = broadcast.History(0)
    events = [broadcast.Event(number, "ADDED", broadcast.Key("pods", "default", str(number)), b"{}", None)
              for number in range(1, 7)]
    for event in events:
        event.memo = {"frame": b"as large as the event"}
        history.append(event)
    assert [event.memo is None for event in events] == [True] * 3 + [False] * 3
