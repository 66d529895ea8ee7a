"""The loop of a zygote: one request a container, one fork each, one report when it has ended.

``zygote.py`` starts me; I call ``container.run_init`` in the child. The node's socket carries one JSON message a
packet; ``spawn`` brings descriptors: the request (a memory file), the container's control socket, its output and, where
it has one, its input; then what its Pod's containers share, and last its Pod's network namespace, where the message
says so. ``commons`` asks for what a Pod's containers share to be made, ``namespaces`` for the node's own, ``join``
takes me into the latter for good. When the socket ends, the node is gone: every container is killed and I exit. One
thread, always.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from . import commons, component, container, linux, network, sandbox

_MESSAGE_LIMIT_BYTES = 64 * 1024
_DESCRIPTORS = 8


def serve(descriptor: int, preload: list[str]) -> None:
    linux.die_with_parent()
    linux.become_subreaper()
    node = socket.socket(fileno=descriptor)
    node.setblocking(True)
    os.set_inheritable(descriptor, False)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _note)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the node ends me by closing the socket
    problem = _preload(preload)
    gc.collect()
    gc.freeze()
    # From here on the end of the socket ends me, and I all containers: a signal could come while I am at it.
    linux.prctl(linux.PR_SET_PDEATHSIG, 0)
    _send(node, {"ready": os.getpid(), "problem": problem, "version": list(sys.version_info[:3])})
    _Server(node, wake_read).run()


def _note(number: int, frame: Any) -> None:
    """Something for the wake-up descriptor to tell of."""


def _preload(names: list[str]) -> str:
    """Imports what containers will want; says what went wrong, if anything."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            return f"could not import {name}: {error}"
    if len(os.listdir("/proc/self/task")) != 1:
        return "importing {} started a thread, after which a fork is not safe".format(", ".join(names))
    if component.MODULE in names:
        try:
            component.after_preload()
        except BaseException as error:
            return f"could not rehearse a component: {error!r}"
    return ""


def _send(node: socket.socket, message: dict[str, Any]) -> None:
    try:
        node.send(json.dumps(message).encode())
    except OSError:
        os._exit(0)  # the node is gone, and my death takes the containers along


class _Server:
    def __init__(self, node: socket.socket, wake: int) -> None:
        self._node = node
        self._wake = wake
        self._containers: dict[int, str] = {}
        self._bare: set[int] = set()
        """Those of them that have no PID namespace."""
        self._home = network.Home()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._node.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
            if self._node.fileno() in ready:
                message, descriptors = self._receive()
                if message is None:
                    self._end()
                self._handle(message, descriptors)

    def _receive(self) -> tuple[Any, list[int]]:
        descriptors = array.array("i")
        space = socket.CMSG_SPACE(_DESCRIPTORS * descriptors.itemsize)
        try:
            data, ancillary, _, _ = self._node.recvmsg(_MESSAGE_LIMIT_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return None, []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        return (json.loads(data.decode()) if data else None), list(descriptors)

    def _handle(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "spawn" in message:
            if message.get("network"):
                with self._home.visit(descriptors.pop()):
                    self._spawn(message, descriptors)
            else:
                self._spawn(message, descriptors)
        elif "kill" in message:
            for pid, name in self._containers.items():
                if name == message["kill"]:
                    os.kill(pid, signal.SIGKILL)
        elif "commons" in message:
            self._make_commons(descriptors, message["commons"])
        elif "namespaces" in message:
            self._make_namespaces(descriptors[0], message["namespaces"])
        elif "join" in message:
            network.join(descriptors[1], descriptors[0])
            linux.die_with_parent()  # new credentials forget it
            for descriptor in descriptors:
                os.close(descriptor)
        elif "pids" in message:
            _send(self._node, {"pids": {name: pid for pid, name in self._containers.items()}})
        elif "stop" in message:
            self._end()

    def _spawn(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Forks a container. Its request, with a Pod's secrets in it, is for the child alone to read: what I read would
        stay in my memory, which each later child begins with."""
        name, shared = message["spawn"], message["commons"]
        request, control, output, *given = descriptors[:len(descriptors) - shared]
        common = descriptors[len(descriptors) - shared:]
        try:
            if message["sandboxed"]:
                sandbox.remember(message["copies"])
            outer_ids = None
            if message["user_namespace"]:  # within the Pod's own, if there is one, its root is 0
                outer_ids = [0, 0] if common else [os.geteuid(), os.getegid()]
            pid = _fork(message, common)
        except (OSError, ValueError) as error:
            _send(self._node, {"exit": name, "code": 128, "signal": 0, "error": str(error)})
            pid = -1
        if pid == 0:
            self._node.close()
            os.close(self._wake)
            container.run_init(_request_of(request, common, outer_ids), socket.socket(fileno=control), output, *given)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self._containers[pid] = name
            if not message["sandboxed"]:
                self._bare.add(pid)

    def _make_commons(self, descriptors: list[int], user_namespace: bool) -> None:
        request, answer = descriptors
        channel = socket.socket(fileno=answer)
        try:
            mounts = json.loads(_read_all(request))
            outer_ids = [os.geteuid(), os.getegid()] if user_namespace else None
            if linux.clone(linux.CLONE_NEWNS | linux.CLONE_NEWIPC | (
                    linux.CLONE_NEWUSER if user_namespace else 0)) == 0:
                self._node.close()
                commons.serve(mounts, outer_ids, channel)
        except (OSError, ValueError) as error:
            channel.send(json.dumps({"problem": str(error)}).encode())
        finally:
            channel.close()
            os.close(request)

    def _make_namespaces(self, answer: int, user_namespace: bool) -> None:
        channel = socket.socket(fileno=answer)
        if os.fork() == 0:
            self._node.close()
            network.serve_namespaces(channel, user_namespace)
        channel.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._containers.pop(pid, None)
            if name is None:
                continue  # an orphan that a container without namespaces left: it has ended
            killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            if pid in self._bare:
                self._bare.discard(pid)
                if killed:  # it could not put its own processes away, and they are mine now
                    container.kill_descendants(self._containers)
            code = 128 + killed if killed else os.WEXITSTATUS(status)
            _send(self._node, {"exit": name, "code": code, "signal": killed, "error": ""})

    def _end(self) -> None:
        for pid in self._containers:
            os.kill(pid, signal.SIGKILL)
        while self._containers:
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                break
            self._containers.pop(pid, None)
        container.kill_descendants()
        os._exit(0)


def _request_of(descriptor: int, common: list[int], outer_ids: list[int] | None) -> dict[str, Any]:
    """In the child: what it is to run, once it has let go of what it may not keep."""
    try:
        spec: dict[str, Any] = json.loads(_read_all(descriptor))
        for each in (descriptor, *common):
            os.close(each)
        return dict(spec, outer_ids=outer_ids)
    except (OSError, ValueError):
        os._exit(container.CANNOT_START)


def _fork(message: dict[str, Any], common: list[int]) -> int:
    if not message["sandboxed"]:
        return os.fork()
    flags = linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    if message["user_namespace"]:
        flags |= linux.CLONE_NEWUSER
    if common:
        return commons.fork(common, flags & ~linux.CLONE_NEWIPC)
    return linux.clone(flags)


def _read_all(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        return stream.read().decode()
