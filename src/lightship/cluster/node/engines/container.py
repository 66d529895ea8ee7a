"""One container of an engine, with the face of the node's own (``processes.Container``). ``launch`` makes me.

The engine's clients do what I am asked: ``kill``, ``exec``, and ``wait`` where its end cannot be seen otherwise. I put
the container away when it has ended, once its exit code and what ended it are known.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightship.cluster.node.descriptors import close_all
from lightship.cluster.node.engines import arguments
from lightship.cluster.node.engines.client import Client
from lightship.cluster.node.engines.engine import Engine
from lightship.cluster.node.processes import Execution, Exit

KILL_SECONDS = 30.0
_KILLED = 137

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class State:
    """What the engine knows of a container."""

    running: bool
    exit_code: int = 0
    oom_killed: bool = False
    pid: int = 0
    keeper: int = 0
    """podman's process that keeps the container; it ends just after it."""


async def inspect(client: Client, name: str) -> State | None:
    """The container's state; None where there is none."""
    answer = await client.ask("container", "inspect", name)
    if answer.code:
        return None
    state = json.loads(answer.output)[0]["State"]
    return State(running=bool(state.get("Running")), exit_code=int(state.get("ExitCode") or 0),
                 oom_killed=bool(state.get("OOMKilled")), pid=int(state.get("Pid") or 0),
                 keeper=int(state.get("ConmonPid") or 0))


class EngineContainer:
    """A container that runs. ``wait`` returns when it has ended and the engine has forgotten it."""

    def __init__(self, name: str, engine: Engine, terminal: int = -1, *,
                 memory_limit: bool = False) -> None:
        self.name = name
        self.terminal = terminal
        self.oom_killed = False
        self._engine = engine
        self._client = engine.client
        self._root = 0
        self._numbers = 0
        self._killing = self._killed = False
        self._has_memory_limit = memory_limit
        self._exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._commands: dict[str, asyncio.subprocess.Process] = {}

    def watch(self, state: State) -> None:
        """It runs: sees to its end from now on."""
        if state.pid:
            self._root = state.pid
            self._engine.pids[self.name] = state.pid
        self._engine.tasks.spawn(self._until_the_end(state.keeper), name=self.name)

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exited)

    def signal(self, number: int) -> None:
        """Sends a signal to the main process; nothing happens if it has ended."""
        if not self._exited.done():
            self._engine.tasks.spawn(self._signal(number), name=f"signal {number} to {self.name}")

    def kill(self) -> None:
        """Ends the container with all its processes."""
        if not self._killing and not self._exited.done():
            self._killing = self._killed = True
            self._engine.tasks.spawn(self._signal(9), name=f"end of {self.name}")

    async def _signal(self, number: int) -> None:
        answer = await self._client.ask("kill", f"--signal={number}", self.name, seconds=KILL_SECONDS)
        if answer.code:
            _log.debug("a container took no signal", extra={"container": self.name, "cause": answer.said})
        if number == 9:
            self._killing = False  # whoever asks again is heard again

    async def _until_the_end(self, keeper: int) -> None:
        result = Exit(code=_KILLED)
        try:
            if not (keeper and await _ended(keeper, self.name)):
                await self._client_wait()
            state = await inspect(self._client, self.name)
            if state is not None and state.running:
                await self._client_wait()
                state = await inspect(self._client, self.name)
            if state is not None:
                # podman may miss why. From inside nobody can kill a container's first process, and it was not I.
                unasked = state.exit_code == _KILLED and self._has_memory_limit and not self._killed
                self.oom_killed = state.oom_killed or unasked
                result = Exit(code=state.exit_code)
        finally:
            self._engine.pids.pop(self.name, None)
            await remove(self._client, self.name)
            self._exited.set_result(result)
            for name in list(self._commands):
                self._commands[name].kill()

    async def _client_wait(self) -> None:
        """``wait`` takes no slot of the bounded clients: it may last as long as the container."""
        with contextlib.suppress(OSError):  # without a client there is nothing to wait with: the state tells
            process = await self._client.start("wait", self.name)
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    def execute(self, argv: tuple[str, ...], streams: tuple[int, int, int] | None,
                env: Mapping[str, str] | None = None) -> Execution:
        """Starts a command inside the container, on descriptors that the caller keeps, or on a terminal of its own."""
        loop = asyncio.get_running_loop()
        self._numbers += 1
        execution = Execution(f"exec-{self._numbers}", loop.create_future(), loop.create_future())
        mine = tuple(os.dup(each) for each in streams) if streams is not None else None
        words = arguments.execute(self.name, argv, self._mark(execution), env or {}, tty=streams is None)
        self._engine.tasks.spawn(self._execute(execution, words, mine), name=f"{execution.name} in {self.name}")
        return execution

    def signal_execution(self, execution: Execution, number: int) -> None:
        """Signals every process of a command; nothing happens if it has ended. The client goes with a SIGKILL."""
        if execution.exited.done():
            return
        signal_marked(self._root, self._mark(execution), number)
        if number == 9 and execution.name in self._commands:
            self._commands[execution.name].kill()

    def _mark(self, execution: Execution) -> str:
        return f"{self.name}-{execution.name}"

    async def _execute(self, execution: Execution, words: tuple[str, ...], streams: tuple[int, ...] | None) -> None:
        master, result = -1, Exit(code=126)
        try:
            if streams is None:
                master, theirs = os.openpty()
                process = await start_on_terminal(self._client, words, theirs)
            else:
                process = await self._client.start(*words, stdin=streams[0], stdout=streams[1], stderr=streams[2])
            self._commands[execution.name] = process
        except OSError as error:
            close_all(master)
            execution.started.set_result(-1)
            execution.exited.set_result(Exit(code=126, error=f"{self._client.program} cannot be run: {error}"))
            return
        finally:
            close_all(*(streams or ()))
        if execution.started.cancelled():
            close_all(master)
        else:
            execution.started.set_result(master)
        try:
            code = await process.wait()
            result = Exit(code=code if code >= 0 else _KILLED)
        finally:
            del self._commands[execution.name]
            if process.returncode is None:
                process.kill()
            if not execution.exited.done():
                execution.exited.set_result(result)


async def remove(client: Client, name: str) -> None:
    """Removes a container, whatever state it is in."""
    answer = await client.ask("rm", "--force", "--volumes", name)
    if answer.code:
        _log.warning("could not remove a container", extra={"container": name, "cause": answer.said})


async def start_on_terminal(client: Client, words: tuple[str, ...], theirs: int) -> asyncio.subprocess.Process:
    """A client whose controlling terminal is ``theirs``, so that it hears of new sizes; I close it here."""
    def take() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    try:
        return await asyncio.create_subprocess_exec(*client.words(*words), cwd="/", stdin=theirs, stdout=theirs,
                                                    stderr=theirs, start_new_session=True, preexec_fn=take)
    finally:
        os.close(theirs)


async def _ended(keeper: int, name: str) -> bool:
    """Waits for the end of the container's keeper; False where it cannot be watched."""
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return False
    try:
        descriptor = opener(keeper)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    try:
        with contextlib.suppress(OSError):  # it ends just now: the descriptor tells
            if not _is_keeper(keeper, name):
                return True  # the number is another process's by now
        loop.add_reader(descriptor, over.set)
        await over.wait()
        return True
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _is_keeper(pid: int, name: str) -> bool:
    return name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()


def signal_marked(root: int, mark: str, number: int, proc: Path = Path("/proc")) -> int:
    """Signals the processes in the PID namespace of ``root`` whose environment has ``mark``; how many they were."""
    wanted = f"{arguments.EXEC_MARK}={mark}".encode()
    found = 0
    with contextlib.suppress(OSError):  # the container has ended
        namespace = os.readlink(proc / str(root) / "ns" / "pid")
        for entry in proc.iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):  # another user's, or it ended while we looked
                if os.readlink(entry / "ns" / "pid") == namespace and \
                        wanted in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), number)
                    found += 1
    return found
