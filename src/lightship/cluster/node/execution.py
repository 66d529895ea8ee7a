"""Commands inside running containers: kubectl exec, exec probes and lifecycle hooks take this one way.

``streams`` calls ``start`` for clients, ``container_life`` calls ``run`` for probes and hooks; I speak to the
container through its ``processes.Container``. A command runs as the container's own program
would, in a session of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from lightship.client.sessions import STDERR, STDOUT, End, Wanted
from lightship.cluster.node.descriptors import Descriptor, pipe
from lightship.cluster.node.processes import Container, Execution, Exit

HANGUP_SECONDS = 5.0
"""How long an abandoned command has between SIGHUP and SIGKILL."""
_TERMINAL = {"TERM": "xterm"}  # as container runtimes give to a command with a terminal


async def start(process: Container, argv: tuple[str, ...], wanted: Wanted, owner: int = 0) -> Running:
    """Starts ``argv``; a command that cannot be executed is one that ends at once, with the reason.

    ``owner`` is the user that the container runs as, who may then open its own /dev/stdout by name.
    """
    if wanted.tty:
        execution = process.execute(argv, None, _TERMINAL)
        number = await _started(process, execution)
        terminal = Descriptor(number) if number >= 0 else None
        running = Running(process, execution, terminal.duplicate() if terminal else None,
                          {STDOUT: terminal} if terminal else {})
        running.tty = True
        return running
    ours: dict[int, int] = {}
    theirs: list[int] = []
    for stream, asked in enumerate((wanted.stdin, wanted.stdout, wanted.stderr)):
        if not asked:
            theirs.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            continue
        read, write = pipe()
        theirs.append(write if stream else read)
        ours[stream] = read if stream else write
    if owner:
        for each in theirs:
            os.fchown(each, owner, -1)
    given = Descriptor(ours.pop(0)) if wanted.stdin else None
    running = Running(process, process.execute(argv, (theirs[0], theirs[1], theirs[2])), given,
                      {stream: Descriptor(number) for stream, number in ours.items()})
    for each in theirs:
        os.close(each)
    await _started(process, running.execution)
    return running


async def _started(process: Container, execution: Execution) -> int:
    try:
        return await execution.started
    except asyncio.CancelledError:
        process.signal_execution(execution, signal.SIGKILL)
        raise


async def run(process: Container, argv: tuple[str, ...], limit_bytes: int) -> tuple[Exit, bytes]:
    """A command to its end: how it ended, and the first ``limit_bytes`` of what it wrote. Cancelling me ends it."""
    running = await start(process, argv, Wanted())
    written = bytearray()

    async def collect(stream: int) -> None:
        while data := await running.read(stream):
            written.extend(data[:max(0, limit_bytes - len(written))])

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(collect(STDOUT))
            group.create_task(collect(STDERR))
        end = await running.wait()
    finally:
        await running.close()
    return Exit(code=end.code, error=end.error), bytes(written)


class Running:
    """A command that runs: the ``Session`` of ``kubectl exec``."""

    def __init__(self, process: Container, execution: Execution, given: Descriptor | None,
                 outputs: dict[int, Descriptor]) -> None:
        self.execution = execution
        self.tty = False
        self._process = process
        self._given = given
        self._outputs = outputs

    async def read(self, stream: int) -> bytes:
        output = self._outputs.get(stream)
        return await output.read() if output is not None else b""

    async def write(self, data: bytes) -> None:
        if self._given is not None:
            with contextlib.suppress(BrokenPipeError):  # it reads no more: the rest is dropped
                await self._given.write(data)

    def close_stdin(self) -> None:
        if not self.tty:  # a terminal has no end that could be closed alone
            self._close_given()

    def _close_given(self) -> None:
        if self._given is not None:
            self._given.close()

    def resize(self, columns: int, rows: int) -> None:
        if self._given is not None:
            self._given.resize(columns, rows)

    async def wait(self) -> End:
        result = await asyncio.shield(self.execution.exited)
        return End(code=result.code, error=result.error)

    async def close(self) -> None:
        try:
            if not self.execution.exited.done():
                await self._hang_up()
        finally:
            self._close_given()
            for output in self._outputs.values():
                output.close()

    async def _hang_up(self) -> None:
        self._process.signal_execution(self.execution, signal.SIGHUP)
        self._process.signal_execution(self.execution, signal.SIGCONT)
        try:
            async with asyncio.timeout(HANGUP_SECONDS):
                await asyncio.shield(self.execution.exited)
        except TimeoutError:
            return
        finally:
            if not self.execution.exited.done():
                self._process.signal_execution(self.execution, signal.SIGKILL)
