"""Container logs on disk: lines, rotation, tails, following."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from lightship import errors
from lightship.cluster.node import logs
from lightship.cluster.node.logs import ContainerLog, LogQuery
from lightship.testing.clock import EPOCH, FakeClock


async def text(path: Path, query: LogQuery, live: ContainerLog | None = None) -> bytes:
    return b"".join([block async for block in logs.read(path, live, query)])


async def test_pieces_become_lines_and_the_last_need_not_end(tmp_path: Path) -> None:
    clock = FakeClock()
    log = ContainerLog(tmp_path / "0.log", clock.now)
    for piece in (b"a", b"b\nc", b"d\n", b"end"):
        log.write(piece)
        await clock.advance(10)
    log.close()
    assert await text(log.path, LogQuery()) == b"ab\ncd\nend"
    assert await text(log.path, LogQuery(since=EPOCH + timedelta(seconds=15))) == b"cd\nend"
    assert (await text(log.path, LogQuery(timestamps=True))).startswith(b"2026-01-01T00:00:10.000000000Z ab\n")
    assert await text(log.path, LogQuery(limit_bytes=4)) == b"ab\nc"


async def test_a_long_line_comes_back_whole(tmp_path: Path) -> None:
    log = ContainerLog(tmp_path / "0.log", FakeClock().now)
    line = b"x" * (3 * logs.LINE_LIMIT_BYTES + 5)
    log.write(line + b"\nnext\n")
    log.close()
    assert await text(log.path, LogQuery()) == line + b"\nnext\n"
    assert await text(log.path, LogQuery(tail_lines=1)) == b"next\n"


async def test_rotation_keeps_two_files_and_tails_reach_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_LIMIT_BYTES", 400)
    log = ContainerLog(tmp_path / "0.log", FakeClock().now)
    for number in range(100):
        log.write(b"line %d\n" % number)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 800  # noqa: ASYNC240 - a small local look
    assert await text(log.path, LogQuery(tail_lines=9)) == b"".join(b"line %d\n" % n for n in range(91, 100))
    assert await text(log.path, LogQuery(tail_lines=0)) == b""
    log.close()


async def test_a_follower_sees_what_comes_through_a_rotation_until_the_end(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_LIMIT_BYTES", 400)
    log = ContainerLog(tmp_path / "0.log", FakeClock().now)
    log.write(b"before\n")
    reader = asyncio.create_task(text(log.path, LogQuery(follow=True), log))
    for number in range(30):
        log.write(b"line %d\n" % number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    log.close()
    assert await reader == b"before\n" + b"".join(b"line %d\n" % n for n in range(30))


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"tailLines": "-1"}, {"sinceSeconds": "soon"}])
def test_queries_that_are_not_valid(query: dict[str, str]) -> None:
    with pytest.raises(errors.BadRequest):
        logs.parse_query(query, EPOCH)
