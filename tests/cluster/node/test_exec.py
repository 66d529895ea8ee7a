"""Commands, terminals and attached clients inside running containers, through what the node offers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.client.sessions import STDERR, STDOUT, End, Session, Wanted
from lightship.kube.objects import Key
from lightship.testing.nodes import NodeUnderTest, node_under_test, over, pod, running, shell, terminated

LIMIT_SECONDS = 15
KEY = Key("default", "p")


@pytest.fixture(params=["isolated", "plain"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NodeUnderTest]:
    """With namespaces, and without: the same is expected of both."""
    async with node_under_test(tmp_path / "data" / "node", isolate=request.param == "isolated") as made:
        if request.param == "isolated" and not made.node.isolation.available:
            pytest.skip(f"no isolation here: {made.node.isolation.reason}")
        yield made


async def started(node: NodeUnderTest, script: str = "exec sleep 1000", **more: Any) -> None:
    await node.create(pod("p", shell(script, **more), terminationGracePeriodSeconds=0))
    await node.wait("p", running)


@asynccontextmanager
async def executed(node: NodeUnderTest, *argv: str, **wanted: bool) -> AsyncIterator[Session]:
    session = await node.node.streams.target(KEY, "main").execute(argv, Wanted(**wanted))
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield session
    finally:
        await session.close()


async def drain(session: Session, stream: int = STDOUT) -> bytes:
    data = b""
    while more := await session.read(stream):
        data += more
    return data


async def until(session: Session, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        more = await session.read(STDOUT)
        assert more, data
        data += more
    return data


async def test_output_error_and_exit_code_are_the_commands(node: NodeUnderTest) -> None:
    await started(node, env=[{"name": "WHO", "value": "me"}], workingDir="/tmp")
    async with executed(node, "sh", "-c", "echo $WHO; pwd; echo wrong >&2; exit 3") as session:
        assert await drain(session) == b"me\n/tmp\n"
        assert await drain(session, STDERR) == b"wrong\n"
        assert await session.wait() == End(code=3)


@pytest.mark.parametrize(("argv", "code", "words"), [
    (("no-such-program",), 127, 'exec: "no-such-program": executable file not found in $PATH'),
    (("/tmp",), 126, "is a directory"), (("/nothing/there",), 127, "no such file or directory")])
async def test_what_cannot_be_executed_ends_at_once_and_says_so(node: NodeUnderTest, argv: tuple[str, ...], code: int,
                                                               words: str) -> None:
    await started(node)
    async with executed(node, *argv) as session:
        end = await session.wait()
        assert (end.code, words in end.error) == (code, True)
        assert await drain(session) == b""


async def test_input_goes_in_whole_and_its_end_is_seen(node: NodeUnderTest) -> None:
    await started(node)
    async with executed(node, "wc", "-c", stdin=True) as session:
        for _ in range(40):
            await session.write(b"x" * 100_000)
        session.close_stdin()
        assert (await drain(session)).strip() == b"4000000"
        assert (await session.wait()).code == 0


async def test_input_that_nobody_reads_is_dropped_once_the_command_is_gone(node: NodeUnderTest) -> None:
    await started(node)
    async with executed(node, "true", stdin=True) as session:
        await session.wait()
        for _ in range(10):
            await session.write(b"x" * 100_000)


async def test_output_that_nobody_reads_stays_with_the_command(node: NodeUnderTest) -> None:
    await started(node)
    async with executed(node, "sh", "-c", "yes | head -c 3000000; echo done >&2") as session:
        assert not (waiting := asyncio.create_task(session.wait())).done()
        assert len(await drain(session)) == 3_000_000
        assert (await waiting).code == 0
        assert await drain(session, STDERR) == b"done\n"


async def test_a_terminal_is_one(node: NodeUnderTest) -> None:
    await started(node)
    async with executed(node, "sh", stdin=True, tty=True) as session:
        session.resize(97, 31)
        await session.write(b"tty; stty size; echo $TERM; ps -o tty= -p $$ >/dev/null; echo en''d\n")
        seen = await until(session, b"end\r\n")
        assert b"/dev/pts/" in seen
        assert b"31 97\r\n" in seen
        assert b"xterm\r\n" in seen
        await session.write(b"sh -c 'echo go\"\"ing; exec sleep 1000'\n")
        await until(session, b"going\r\n")
        await session.write(b"\x03")  # job control: the terminal's signal reaches the foreground program alone
        await session.write(b"echo aft''er $?\n")
        assert b"after 130" in await until(session, b"after 130")
        await session.write(b"exit 7\n")
        await drain(session)
        assert (await session.wait()).code == 7


@pytest.mark.parametrize("tty", [False, True])
async def test_a_client_that_leaves_takes_the_whole_session_along(node: NodeUnderTest, tty: bool) -> None:
    await started(node)
    script = "sleep 1000 & echo /proc/$! /proc/$$ here; sleep 1000; true"
    async with executed(node, "sh", "-c", script, stdin=True, tty=tty) as session:
        left = set((await until(session, b"here")).split()[:2])
    assert (await session.wait()).code in (129, 137)
    async with executed(node, "sh", "-c", "ls -d /proc/[0-9]*") as session:
        assert not left.intersection((await drain(session)).split())


async def test_an_abandoned_command_that_ignores_the_hangup_is_killed(node: NodeUnderTest,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightship.cluster.node.execution.HANGUP_SECONDS", 0.2)
    await started(node)
    async with executed(node, "sh", "-c", "trap '' HUP; echo up; while :; do sleep 1; done") as session:
        await until(session, b"up")
    assert (await session.wait()).code == 137


async def test_a_container_that_ends_ends_what_was_executed_in_it(node: NodeUnderTest) -> None:
    await started(node, "read x", stdin=True)
    async with executed(node, "sleep", "1000") as session:
        attached = await node.node.streams.target(KEY, "main").attach(Wanted(stdin=True))
        await attached.write(b"go\n")
        assert (await session.wait()).code == 137
        assert await drain(session) == b""
        await attached.close()


async def test_attaching_sees_what_comes_and_writes_to_it(node: NodeUnderTest) -> None:
    await started(node, "while read line; do echo got $line; done; echo bye", stdin=True, stdinOnce=True)
    session = await node.node.streams.target(KEY, "main").attach(Wanted(stdin=True))
    async with asyncio.timeout(LIMIT_SECONDS):
        await session.write(b"one\n")
        await until(session, b"got one\n")
        session.close_stdin()
        assert await drain(session) == b"bye\n"
        assert await session.wait() == End()
        await session.close()
    assert await node.wait("p", over)
    assert await node.log("p") == "got one\nbye\n"


async def test_a_detached_client_ends_nothing_unless_the_input_is_for_one_only(node: NodeUnderTest) -> None:
    await started(node, "exec cat", stdin=True)
    target = node.node.streams.target(KEY, "main")
    await (await target.attach(Wanted(stdin=True))).close()
    session = await target.attach(Wanted(stdin=True))
    await session.write(b"still\n")
    assert await until(session, b"still\n")
    await session.close()


async def test_a_container_with_a_terminal(node: NodeUnderTest) -> None:
    await started(node, "tty; read line; stty size; echo you said $line; exit 4", stdin=True, tty=True)
    session = await node.node.streams.target(KEY, "main").attach(Wanted(stdin=True, tty=True))
    async with asyncio.timeout(LIMIT_SECONDS):
        session.resize(80, 24)
        await session.write(b"hello\n")
        seen = await drain(session)
        assert b"24 80\r\nyou said hello\r\n" in seen
        await session.close()
    assert terminated(await node.wait("p", over))["exitCode"] == 4
    assert "/dev/pts/" in (await node.log("p"))


async def test_a_container_that_does_not_run_is_said_so(node: NodeUnderTest) -> None:
    with pytest.raises(errors.BadRequest, match="does not run on this node"):
        node.node.streams.target(KEY, "main")
    await node.finish(pod("p", shell("true")))
    with pytest.raises(errors.BadRequest):
        node.node.streams.target(KEY, "main")


async def test_a_killed_container_leaves_no_process_behind(node: NodeUnderTest) -> None:
    """Not what a shell has left in the background either, which would hold the Pod's end up for ever."""
    mark = f"1000.{os.getpid()}"
    await node.create(pod("p", shell(f"sleep {mark} & sleep {mark}; true"), terminationGracePeriodSeconds=0,
                          activeDeadlineSeconds=1))
    async with asyncio.timeout(LIMIT_SECONDS):
        await node.wait("p", running)
        await node.wait("p", over)
    assert not processes_of(mark)


def processes_of(mark: str) -> list[bytes]:
    """The command lines of the machine's processes that have ``mark`` as an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended while we looked
            found.append(path.read_bytes())
    return [line for line in found if mark.encode() in line.split(b"\0")]
