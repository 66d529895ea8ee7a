"""Containers as processes: the node's side of zygotes and of each container's init.

``supervisor`` calls me; I start ``inside/zygote.py`` under an environment's python and speak to it, and to the init of
each container, over packet sockets. All callbacks run on the event loop; nothing here blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import socket
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lightship.cluster.node.errors import ZygoteError
from lightship.lib.clock import Clock
from lightship.lib.tasks import Tasks

ZYGOTE_START_SECONDS = 60.0
ZYGOTE_IDLE_SECONDS = 300.0
"""A fork server that ran nothing for so long ends, and gives its memory back; the next use starts it again."""
ZYGOTES_LIMIT = 16
"""Fork servers kept at most; beyond it the idle one that was used longest ago ends."""

_ZYGOTE = Path(__file__).parent / "inside" / "zygote.py"
_PACKET_LIMIT_BYTES = 256 * 1024
_WORDS_LIMIT = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ZygoteKey:
    """Which fork server: an interpreter, what it preloads, and the environment variables it was started with."""

    python: str
    preload: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    joined: bool = False
    """Whether it has entered the node's user namespace, without which a normal user's cannot enter a Pod's network."""


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a process ended. ``signal`` is 0 unless one ended it; then ``code`` is 128 + signal."""

    code: int
    signal: int = 0
    error: str = ""
    """Why it never started, if it did not."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a container's init needs to know; see ``inside/container.py``."""

    sandbox: Mapping[str, Any] | None
    env: Mapping[str, str]
    workdir: str
    argv: tuple[str, ...] = ()
    component: Mapping[str, Any] | None = None
    security: Mapping[str, Any] = field(default_factory=dict)
    """Who its program is and what it may do; see ``inside/identity.py``."""
    cgroup_procs: tuple[str, ...] = ()
    network: int = -1
    """The descriptor of the Pod's network namespace; -1 for the host's."""
    commons: tuple[int, ...] = ()
    """The descriptors of what the Pod's containers share; see ``commons.py``."""
    tty: bool = False
    """The program gets a terminal of the container's own; the node gets its other side as ``Process.terminal``."""

    def head(self) -> dict[str, Any]:
        """What the fork server itself needs to know: nothing that is the Pod's."""
        sandbox = self.sandbox or {}
        return {"network": self.network >= 0, "commons": len(self.commons), "sandboxed": self.sandbox is not None,
                "user_namespace": bool(sandbox.get("user_namespace")),
                "copies": [entry["source"] for entry in sandbox.get("mounts", ()) if entry["kind"] == "copy"]}

    def encode(self) -> bytes:
        """What the container's init reads."""
        return json.dumps({
            "sandbox": self.sandbox, "env": dict(self.env), "workdir": self.workdir, "argv": list(self.argv),
            "component": self.component, "security": dict(self.security), "cgroup_procs": list(self.cgroup_procs),
            "tty": self.tty,
        }).encode()


@dataclass(eq=False)
class Execution:
    """One command beside a container's main process. ``started`` gives its terminal's descriptor, or -1."""

    name: str
    started: asyncio.Future[int]
    exited: asyncio.Future[Exit]


class Container(Protocol):
    """A running container that commands can be run in: one of mine, or an engine's."""

    @property
    def name(self) -> str: ...

    @property
    def terminal(self) -> int:
        """The descriptor of its terminal, or -1."""

    @property
    def oom_killed(self) -> bool:
        """Whether it ended for want of memory, as far as it knows itself."""

    def execute(self, argv: tuple[str, ...], streams: tuple[int, int, int] | None,
                env: Mapping[str, str] | None = None) -> Execution: ...

    def signal_execution(self, execution: Execution, number: int) -> None: ...


@dataclass(eq=False)
class Process:
    """One running container. ``started`` raises nothing: it is false when the program could not be executed."""

    name: str
    control: socket.socket
    zygote: Zygote
    started: asyncio.Future[bool]
    exited: asyncio.Future[Exit]
    error: str = ""
    oom_killed: bool = False
    """Never known here: the control group tells."""
    told: Exit | None = None
    terminal: int = -1
    """The descriptor of its terminal, once started, where it has one: whoever takes it closes it."""
    execs: dict[str, Execution] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def wait(self) -> Exit:
        return await asyncio.shield(self.exited)

    def signal(self, number: int) -> None:
        """Sends a signal to the main process; nothing happens if it has ended."""
        self._say({"signal": number}, ())

    def kill(self) -> None:
        """Ends the container with all its processes, at once."""
        self.zygote.kill(self.name)

    def execute(self, argv: tuple[str, ...], streams: tuple[int, int, int] | None,
                env: Mapping[str, str] | None = None) -> Execution:
        """Starts a command inside the container, on descriptors that the caller keeps, or on a terminal of its own.

        ``execution`` calls me: it knows what to do with both.
        """
        loop = asyncio.get_running_loop()
        execution = Execution(f"exec-{next(self.numbers)}", loop.create_future(), loop.create_future())
        self.execs[execution.name] = execution
        message = {"exec": execution.name, "argv": list(argv), "tty": streams is None, "env": dict(env or {})}
        if not self._say(message, streams or ()):
            self._exec_ended(execution.name, Exit(code=137, error="the container has ended"))
        return execution

    def signal_execution(self, execution: Execution, number: int) -> None:
        """Signals every process of a command's session; nothing happens if it has ended."""
        self._say({"exec_end": execution.name, "number": number}, ())

    def _exec_started(self, name: str, terminal: int) -> None:
        execution = self.execs.get(name)
        if execution is not None and not execution.started.done():
            execution.started.set_result(terminal)
        elif terminal >= 0:
            os.close(terminal)  # whoever started it is gone

    def _exec_ended(self, name: str, result: Exit) -> None:
        execution = self.execs.pop(name, None)
        if execution is not None:
            _resolve(execution.started, -1)
            _resolve(execution.exited, result)

    def _say(self, message: Mapping[str, Any], descriptors: tuple[int, ...]) -> bool:
        if self.exited.done():
            return False
        try:
            socket.send_fds(self.control, [json.dumps(message).encode()], list(descriptors))
        except OSError as error:
            _log.debug("a container's init no longer listens", extra={"container": self.name, "cause": str(error)})
            return False
        return True

    def hear(self) -> None:
        """A packet of the init, or its end."""
        descriptors: list[int] = []
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, _PACKET_LIMIT_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self.control.fileno())
            return
        terminal = descriptors[0] if descriptors else -1
        message = json.loads(data)
        if "started" in message:
            self.terminal = terminal
            _resolve(self.started, True)
        elif "failed" in message:
            self.error = message["failed"]
            _resolve(self.started, False)
        elif "exit" in message:
            self.told = Exit(code=message["exit"], signal=message["signal"])
        elif "exec_started" in message:
            self._exec_started(message["exec_started"], terminal)
        elif "exec_exit" in message:
            self._exec_ended(message["exec_exit"], Exit(code=message["code"], error=message.get("error", "")))

    def ended(self, reported: Exit) -> None:
        """The zygote has reaped the init: nothing of the container runs any more."""
        while True:  # the init's last words may still lie in the socket
            before = self.control.fileno()
            try:
                data = self.control.recv(_PACKET_LIMIT_BYTES, socket.MSG_PEEK)
            except OSError:
                break
            if not data or before < 0:
                break
            self.hear()
        asyncio.get_running_loop().remove_reader(self.control.fileno())
        self.control.close()
        result = self.told or reported
        if self.error:
            result = Exit(code=result.code, error=self.error)
        elif reported.error:
            self.error = reported.error
        _resolve(self.started, False)
        _resolve(self.exited, result)
        for name in list(self.execs):
            self._exec_ended(name, Exit(code=137, error="the container has ended"))


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


class Zygote:
    """One fork server."""

    def __init__(self, key: ZygoteKey, channel: socket.socket) -> None:
        self.key = key
        self.problem = ""
        """Why it could not preload what it was asked to; plain commands still work."""
        self.processes: dict[str, Process] = {}
        self.idle = asyncio.Event()
        """Set while no container of it runs."""
        self.idle.set()
        self.last_used = 0.0
        self._channel = channel
        self._child: asyncio.subprocess.Process | None = None
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked: asyncio.Future[dict[str, int]] | None = None
        self.dead = False

    @staticmethod
    async def start(key: ZygoteKey) -> Zygote:
        """Starts one and waits until it has preloaded. Raises ``ZygoteError``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        zygote = Zygote(key, ours)
        loop = asyncio.get_running_loop()
        try:
            zygote._child = await asyncio.create_subprocess_exec(
                key.python, str(_ZYGOTE), str(theirs.fileno()), *key.preload, pass_fds=(theirs.fileno(),),
                env=dict(key.environment), cwd="/", start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
        except OSError as error:
            ours.close()
            raise ZygoteError(f"could not start {key.python}: {error}") from error
        finally:
            theirs.close()
        loop.add_reader(ours.fileno(), zygote._hear)
        try:
            async with asyncio.timeout(ZYGOTE_START_SECONDS):
                zygote.problem = await zygote._ready
        except (ZygoteError, TimeoutError) as error:
            said = await zygote.stop()
            raise ZygoteError(f"the fork server of {key.python} did not start: {said or error or 'timeout'}") from error
        return zygote

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def spawn(self, name: str, request: Request, output: int, given: int = -1) -> Process:
        """Starts a container whose stdout and stderr go to ``output``, and which reads ``given``; the caller keeps and
        closes both."""
        if self.dead:
            raise ZygoteError(f"the fork server of {self.key.python} has died")
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        process = Process(name, ours, self, loop.create_future(), loop.create_future())
        body = os.memfd_create("lightship-request", os.MFD_CLOEXEC)
        try:
            os.write(body, request.encode())
            message = json.dumps({"spawn": name, **request.head()}).encode()
            more = [each for each in (given, *request.commons, request.network) if each >= 0]
            socket.send_fds(self._channel, [message], [body, theirs.fileno(), output, *more])
        except OSError as error:
            ours.close()
            raise ZygoteError(f"the fork server of {self.key.python} does not take requests: {error}") from error
        finally:
            os.close(body)
            theirs.close()
        self.processes[name] = process
        self.idle.clear()
        loop.add_reader(ours.fileno(), process.hear)
        return process

    def tell(self, message: Mapping[str, Any], descriptors: tuple[int, ...]) -> None:
        """Anything else that a fork server does; see ``inside/forkserver.py``."""
        try:
            socket.send_fds(self._channel, [json.dumps(message).encode()], list(descriptors))
        except OSError as error:
            raise ZygoteError(f"the fork server of {self.key.python} does not take requests: {error}") from error

    async def containers(self) -> dict[str, int]:
        """The first process of each of its containers, by the container's name; what has died has none."""
        if self.dead or not self.processes:
            return {}
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            try:
                self._channel.send(b'{"pids": true}')
            except OSError:  # it is dying, and its containers with it
                self._told({})
                return {}
        return await asyncio.shield(self._asked)

    def _told(self, pids: dict[str, int]) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            _resolve(asked, pids)

    def kill(self, name: str) -> None:
        if name in self.processes and not self.dead:
            with contextlib.suppress(OSError):  # it is dying, and its containers with it
                self._channel.send(json.dumps({"kill": name}).encode())

    async def stop(self) -> str:
        """Ends it and every container of it, and waits until nothing is left; returns what it said at its end."""
        if not self.dead:
            self._close()
        if self._child is None:
            return ""
        _, said = await self._child.communicate()
        return said.decode(errors="replace").strip()[-_WORDS_LIMIT:]

    def _hear(self) -> None:
        try:
            data = self._channel.recv(_PACKET_LIMIT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        message = json.loads(data)
        if "ready" in message:
            _resolve(self._ready, message["problem"])
        elif "pids" in message:
            self._told(message["pids"])
        elif "exit" in message:
            process = self.processes.pop(message["exit"], None)
            if process is not None:
                process.ended(Exit(code=message["code"], signal=message["signal"], error=message["error"]))
            if not self.processes:
                self.idle.set()

    def _close(self) -> None:
        self.dead = True
        self._told({})
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()
        if not self._ready.done():
            self._ready.set_exception(ZygoteError("it ended before it was ready"))
        processes, self.processes = self.processes, {}
        for process in processes.values():
            process.ended(Exit(code=137, signal=9, error=""))
        self.idle.set()


class Zygotes:
    """All fork servers of a node: started on first use, a bounded number, ended when idle for long or together."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zygotes: dict[ZygoteKey, asyncio.Task[Zygote]] = {}
        self.namespaces: tuple[int, ...] = ()
        """What a fork server enters first that is to start Pods in networks of their own; empty for root."""
        self._tasks = Tasks("zygotes")

    @property
    def cold(self) -> bool:
        """Whether none runs or starts."""
        return not self._zygotes

    async def get(self, key: ZygoteKey) -> Zygote:
        """The running fork server for ``key``; concurrent callers share its start. Raises ``ZygoteError``."""
        self._forget_if_over(key)
        if key not in self._zygotes:
            await self._make_room()
        if key not in self._zygotes:
            self._zygotes[key] = asyncio.create_task(self._start(key))
        zygote = await asyncio.shield(self._zygotes[key])
        zygote.last_used = self._clock.monotonic()
        return zygote

    async def _start(self, key: ZygoteKey) -> Zygote:
        zygote = await Zygote.start(key)
        if key.joined:
            zygote.tell({"join": True}, self.namespaces)
        zygote.last_used = self._clock.monotonic()
        self._tasks.spawn(self._end_when_idle(zygote), name=key.python)
        return zygote

    async def _end_when_idle(self, zygote: Zygote) -> None:
        while not zygote.dead:
            if zygote.processes:
                await zygote.idle.wait()
                zygote.last_used = self._clock.monotonic()
            left = zygote.last_used + ZYGOTE_IDLE_SECONDS - self._clock.monotonic()
            if left <= 0:
                await zygote.stop()
                self._forget_if_over(zygote.key)
                return
            await self._clock.sleep(left)

    def _forget_if_over(self, key: ZygoteKey) -> None:
        task = self._zygotes.get(key)
        if task is not None and task.done() and not _is_running(task):
            del self._zygotes[key]

    async def _make_room(self) -> None:
        idle = [task for task in self._zygotes.values() if _is_idle(task)]
        if len(self._zygotes) < ZYGOTES_LIMIT or not idle:
            return
        oldest = min(idle, key=lambda task: task.result().last_used)
        del self._zygotes[oldest.result().key]
        await oldest.result().stop()

    async def stop(self) -> None:
        await self._tasks.close()
        tasks, self._zygotes = list(self._zygotes.values()), {}
        stops: list[Awaitable[str]] = []
        for task in tasks:
            task.cancel()
            if _has_started(task):
                stops.append(task.result().stop())
        await asyncio.gather(*stops)

    def pids(self) -> list[int]:
        """The pids of those that run, for measurements."""
        return [task.result().pid for task in self._zygotes.values() if _is_running(task)]

    async def containers(self) -> dict[str, int]:
        """The first process of every container that runs, by the container's name."""
        running = [task.result() for task in self._zygotes.values() if _is_running(task)]
        found: dict[str, int] = {}
        for pids in await asyncio.gather(*(zygote.containers() for zygote in running)):
            found |= pids
        return found


def _has_started(task: asyncio.Task[Zygote]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _is_running(task: asyncio.Task[Zygote]) -> bool:
    return _has_started(task) and not task.result().dead


def _is_idle(task: asyncio.Task[Zygote]) -> bool:
    return _is_running(task) and not task.result().processes
