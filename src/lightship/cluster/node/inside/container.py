"""A container's init: makes the sandbox, starts the main process, forwards signals, reaps, and tells its exit code.

``forkserver`` calls ``run_init`` in a fresh child, the first process of its namespaces; I call ``sandbox`` and, for
lightweight components, ``component``. The control socket is the node's: it hears ``started``, ``failed`` and
``exit``, and says ``signal`` and ``exec``. Its end means that the node is gone, and I go too, with all below me.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import select
import signal
import socket
from typing import Any

from . import component, linux, sandbox

CANNOT_START = 128
"""The exit code of a container whose program never ran, as container runtimes give."""

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
              signal.SIGWINCH)
_MESSAGE_LIMIT_BYTES = 1024 * 1024
_SWEEP_LIMIT = 100


def run_init(spec: dict[str, Any], control: socket.socket, output: int) -> None:
    """Runs the container to its end and leaves the process; never returns."""
    code = CANNOT_START
    try:
        linux.die_with_parent()
        if spec.get("outer_ids"):
            sandbox.map_user(*spec["outer_ids"])
        code = _Init(spec, control, output).run()
    except BaseException as error:
        _tell(control, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(code)


def _tell(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.send(json.dumps(message).encode())
    except OSError:
        os._exit(CANNOT_START)  # the node is gone


class _Init:
    def __init__(self, spec: dict[str, Any], control: socket.socket, output: int) -> None:
        self._spec = spec
        self._control = control
        self._output = output
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
            sandbox.enter(self._spec["sandbox"])
        else:
            linux.become_subreaper()
        self._main, problem = _start(self._spec, self._output)
        os.close(self._output)
        if problem:
            _tell(self._control, {"failed": problem})
            return CANNOT_START
        for number in _FORWARDED:
            signal.signal(number, self._forward)
        _tell(self._control, {"started": True})
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
        space = socket.CMSG_SPACE(array.array("i").itemsize)
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
            output = array.array("i", ancillary[0][2])[0]
            spec = dict(self._spec, argv=message["argv"], component=None)
            pid, problem = _start(spec, output)
            os.close(output)
            if problem:
                _tell(self._control, {"exec_exit": message["exec"], "code": 126, "error": problem})
            else:
                self._execs[pid] = message["exec"]


def _start(spec: dict[str, Any], output: int) -> tuple[int, str]:
    """Forks the program; returns its pid, and why it could not be executed (empty if it was)."""
    error_read, error_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(error_read)
        _become(spec, output, error_write)
    os.close(error_write)
    with os.fdopen(error_read, "rb") as stream:
        problem = stream.read().decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
    return pid, problem


def _become(spec: dict[str, Any], output: int, error_write: int) -> None:
    """In the child: everything that the program inherits, then the program. Never returns."""
    try:
        linux.die_with_parent()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP) and signal.getsignal(number) is not None:
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.umask(0o022)
        environment = spec["env"]
        _take_identity(spec)
        os.makedirs(spec["workdir"], exist_ok=True)
        os.chdir(spec["workdir"])
        if spec.get("component"):
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as every Python program has it
            os.closerange(3, error_write)
            os.close(error_write)
            os.closerange(error_write + 1, 4096)
            os._exit(component.run(spec["component"], environment))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        argv = spec["argv"]
        os.execve(_executable(argv[0], environment), argv, environment)
    except BaseException as error:
        os.write(error_write, str(error).encode())
    finally:
        os._exit(CANNOT_START)


def _take_identity(spec: dict[str, Any]) -> None:
    user = spec.get("user")
    sandboxed = spec.get("sandbox") is not None
    if user:
        os.setgroups(user["groups"])
        os.setgid(user["gid"])
    if sandboxed and (not user or user["uid"] == 0):
        linux.drop_capabilities()
    elif user:
        if sandboxed:
            linux.bound_capabilities()
        os.setuid(user["uid"])
    if spec.get("no_new_privileges"):
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


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


def kill_descendants() -> None:
    """Without a PID namespace: kills and reaps every process below this one, which must be a subreaper."""
    for _ in range(_SWEEP_LIMIT):
        children = _children(os.getpid())
        if not children:
            return
        for pid in children:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):  # its own children are mine now: the next look finds them
                os.waitpid(pid, 0)


def _children(parent: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as stream:
                if int(stream.read().rsplit(")", 1)[1].split()[1]) == parent:
                    found.append(int(entry))
        except OSError:
            pass  # it ended while we looked
    return found


