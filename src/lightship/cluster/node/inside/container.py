"""A container's init: makes the sandbox, starts the main process, forwards signals, reaps, and tells its exit code.

``forkserver`` calls ``run_init`` in a fresh child, the first process of its namespaces; I call ``sandbox``,
``identity`` and, for lightweight components, ``component``. The control socket is the node's: it hears ``started``,
``failed``, ``exit``, ``exec_started`` and ``exec_exit``, and says ``signal``, ``exec`` and ``exec_end``. Its end means
that the node is gone, and I go too, with all below me. A terminal is made here, by the container's own devpts, and its
master goes to the node with ``started`` or ``exec_started``.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import termios
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from . import component, identity, linux, sandbox

CANNOT_START = 128
"""The exit code of a container whose program never ran, as container runtimes give."""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
              signal.SIGWINCH)
_MESSAGE_LIMIT_BYTES = 1024 * 1024
_SWEEP_LIMIT = 100
_MOST_DESCRIPTORS = 65536


def run_init(spec: dict[str, Any], control: socket.socket, output: int, given: int = -1) -> None:
    """Runs the container to its end and leaves the process; never returns. ``given`` is its standard input, if any."""
    code = CANNOT_START
    try:
        if spec.get("sandbox") is not None:
            linux.die_with_parent()  # else the end of ``control`` tells me, and I must live to end all below me
        if spec.get("outer_ids"):
            outer_uid, outer_gid = spec["outer_ids"]
            sandbox.map_user(outer_uid, outer_gid, 0, 0)
        code = _Init(spec, control, _Streams(given, output, output)).run()
    except BaseException as error:
        _tell(control, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(code)


def _tell(control: socket.socket, message: dict[str, Any], terminal: int = -1) -> None:
    descriptors = array.array("i", [terminal] if terminal >= 0 else [])
    try:
        control.sendmsg([json.dumps(message).encode()],
                        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if descriptors else [])
    except OSError:  # the node is gone
        if os.getpid() != 1:  # the first process of a PID namespace takes the others along
            kill_descendants()
        os._exit(CANNOT_START)


class _Streams(NamedTuple):
    """Descriptors for 0, 1 and 2; -1 for none."""

    given: int
    output: int
    error: int


class _Init:
    def __init__(self, spec: dict[str, Any], control: socket.socket, streams: _Streams) -> None:
        self._spec = spec
        self._control = control
        self._streams = streams
        self._main = 0
        self._execs: dict[int, str] = {}
        self._isolated = spec.get("sandbox") is not None
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def run(self) -> int:
        for path in self._spec.get("cgroup_procs") or ():
            with open(path, "w") as stream:
                stream.write("0")
        if self._isolated:
            sandbox.enter(self._spec["sandbox"], self._spec["workdir"])
            identity.guard_init(self._spec)
        else:
            linux.become_subreaper()
        self._main, problem, terminal = _start(self._spec, self._streams)
        for descriptor in {each for each in self._streams if each >= 0}:
            os.close(descriptor)
        if problem:
            _tell(self._control, {"failed": problem})
            return CANNOT_START
        for number in _FORWARDED:
            signal.signal(number, self._forward)
        _tell(self._control, {"started": True}, terminal)
        if terminal >= 0:
            os.close(terminal)
        code = self._loop()
        if not self._isolated:
            kill_descendants()
        return code

    def _forward(self, number: int, frame: Any) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended and is about to be reaped
            os.kill(self._main, number)

    def _loop(self) -> int:
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        code = self._reap()
        while code is None:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._control.fileno() in ready:
                self._command()
            if self._wake in ready:
                os.read(self._wake, 4096)
            code = self._reap()
        return code

    def _reap(self) -> int | None:
        """Reaps what has ended; the main process's code once that has."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return CANNOT_START
            if pid == 0:
                return None
            killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            code = 128 + killed if killed else os.WEXITSTATUS(status)
            if pid == self._main:
                if self._spec.get("component"):
                    killed = 0  # as the shell around it would tell it: by the code alone
                _tell(self._control, {"exit": code, "signal": killed})
                return code
            name = self._execs.pop(pid, None)
            if name is not None:
                _tell(self._control, {"exec_exit": name, "code": code})

    def _command(self) -> None:
        space = socket.CMSG_SPACE(3 * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = self._control.recvmsg(_MESSAGE_LIMIT_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            data, ancillary = b"", []
        if not data:
            if not self._isolated:
                kill_descendants()
            os._exit(128 + signal.SIGKILL)  # the node is gone
        message = json.loads(data.decode())
        if "signal" in message:
            self._forward(message["signal"], None)
        elif "exec" in message:
            self._execute(message, _descriptors(ancillary))
        elif "exec_end" in message:
            for pid, name in self._execs.items():
                if name == message["exec_end"]:
                    _signal_session(pid, message["number"])

    def _execute(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Starts a command beside the main process; without a terminal, on the three descriptors that came along."""
        name, tty = message["exec"], bool(message.get("tty"))
        environment = dict(self._spec["env"], **message.get("env", {}))
        spec = dict(self._spec, argv=message["argv"], component=None, env=environment, tty=tty)
        try:
            pid, problem, terminal = _start(spec, _Streams(*descriptors) if descriptors else _Streams(-1, -1, -1))
        except OSError as cause:
            pid, problem, terminal = -1, str(cause), -1
        for descriptor in descriptors:
            os.close(descriptor)
        if problem:
            _tell(self._control, {"exec_exit": name, "code": _code_of(problem), "error": problem})
            return
        self._execs[pid] = name
        _tell(self._control, {"exec_started": name}, terminal)
        if terminal >= 0:
            os.close(terminal)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
    return list(found)


def _code_of(problem: str) -> int:
    """As a shell tells it: 127 for what is not there, 126 for what cannot be run."""
    return 127 if "not found" in problem or "no such file" in problem.lower() else 126


def _signal_session(leader: int, number: int) -> None:
    """Signals every process of a session, whose id is that of its first process."""
    for pid, _, session in _processes():
        if session == leader:
            with contextlib.suppress(ProcessLookupError):  # it ended while we looked
                os.kill(pid, number)


def _start(spec: dict[str, Any], streams: _Streams) -> tuple[int, str, int]:
    """Forks the program; returns its pid, why it could not be executed (empty if it was), and its terminal's master."""
    terminal, slave = os.openpty() if spec.get("tty") else (-1, -1)
    error_read, error_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(error_read)
        _become(spec, _Streams(slave, slave, slave) if slave >= 0 else streams, error_write)
    os.close(error_write)
    if slave >= 0:
        os.close(slave)
    with os.fdopen(error_read, "rb") as stream:
        problem = stream.read().decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
        if terminal >= 0:
            os.close(terminal)
    return pid, problem, -1 if problem else terminal


def _become(spec: dict[str, Any], streams: _Streams, error_write: int) -> None:
    """In the child: everything that the program inherits, then the program. Never returns."""
    try:
        linux.die_with_parent()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP) and signal.getsignal(number) is not None:
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _take_streams(streams, spec)
        os.umask(0o022)
        environment = spec["env"]
        os.makedirs(spec["workdir"], exist_ok=True)
        identity.take(spec)
        os.chdir(spec["workdir"])
        os.closerange(3, error_write)
        os.closerange(error_write + 1, _MOST_DESCRIPTORS)
        if spec.get("component"):
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as every Python program has it
            os.close(error_write)
            os._exit(component.run(spec["component"], environment))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        argv = spec["argv"]
        os.execve(_executable(argv[0], environment), argv, environment)
    except BaseException as error:
        words = error.strerror if isinstance(error, OSError) and not error.filename else None
        os.write(error_write, (words or str(error)).encode())
    finally:
        os._exit(CANNOT_START)


def _take_streams(streams: _Streams, spec: dict[str, Any]) -> None:
    """Makes ``streams`` 0, 1 and 2, and a terminal the session's own."""
    if spec.get("tty"):
        fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        user = (spec.get("security") or {}).get("user")
        if user and not (spec.get("sandbox") or {}).get("user_namespace"):
            os.fchown(streams[0], user["uid"], -1)
    null = os.open("/dev/null", os.O_RDWR)
    high = [fcntl.fcntl(each if each >= 0 else null, fcntl.F_DUPFD_CLOEXEC, 3) for each in streams]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number)


def _executable(name: str, environment: dict[str, str]) -> str:
    """The file that ``name`` means, looked up as execvp would in the container's own PATH."""
    if "/" in name:
        if os.path.isdir(name):
            raise OSError(errno.EACCES, f'exec: "{name}": is a directory')
        if not os.path.exists(name):
            raise OSError(errno.ENOENT, f'exec: "{name}": stat {name}: no such file or directory')
        return name
    for directory in environment.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":"):
        path = os.path.join(directory or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise OSError(errno.ENOENT, f'exec: "{name}": executable file not found in $PATH')


def kill_descendants(spared: Collection[int] = ()) -> None:
    """Without a PID namespace: kills and reaps every process below this one, which must be a subreaper, but for
    ``spared`` children and what is below them."""
    for _ in range(_SWEEP_LIMIT):
        children = [pid for pid in _children(os.getpid()) if pid not in spared]
        if not children:
            return
        for pid in children:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):  # its own children are mine now: the next look finds them
                os.waitpid(pid, 0)


def _children(parent: int) -> list[int]:
    return [pid for pid, above, _ in _processes() if above == parent]


def _processes() -> Iterator[tuple[int, int, int]]:
    """All processes that are seen here: pid, parent, session."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as stream:
                words = stream.read().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended while we looked
        yield int(entry), int(words[1]), int(words[3])
