"""What the containers of one Pod share: an IPC namespace, and a mount namespace that holds their common memory. Linux.

``forkserver`` calls ``serve`` in a child in new namespaces, which mounts what is to be shared, sends the namespaces'
descriptors and the mounts' to the node and ends: a namespace lives as long as somebody holds it. For each container it
then calls ``fork``, whose child begins as a copy of that mount namespace. The mounts lie on the Pod's own directories,
where only who is in those namespaces sees them: to ``sandbox`` they are binds like any others.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

from . import linux, network, sandbox

CLONE_PARENT = 0x00008000
_MS_SLAVE = 1 << 19
_KINDS = ("mnt", "ipc", "user")
_WORDS_LIMIT_BYTES = 4096
_LIMIT_MEASURED = 32
"""A Pod with more volumes of memory has the further ones, and the node cannot tell what they hold."""


def serve(mounts: Sequence[dict[str, Any]], outer_ids: Sequence[int] | None, answer: socket.socket) -> None:
    """Makes what is shared and sends ``{"problem"}`` with descriptors of mnt, ipc and, in a user namespace, user, and
    then of the mounts themselves; never returns."""
    descriptors: list[int] = []
    problem = ""
    try:
        if outer_ids is not None:
            sandbox.map_user(outer_ids[0], outer_ids[1], 0, 0)
        # No mount of ours reaches the host, but what the host mounts later reaches us.
        linux.mount(None, "/", None, linux.MS_REC | _MS_SLAVE)
        for entry in mounts:
            linux.mount("tmpfs", entry["target"], "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, entry["options"])
        kinds = _KINDS if outer_ids is not None else _KINDS[:2]
        descriptors = [os.open("/proc/self/ns/" + kind, os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
        descriptors += [os.open(entry["target"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                        for entry in mounts[:_LIMIT_MEASURED]]
    except OSError as error:
        problem, descriptors = str(error), []
    try:
        packed = struct.pack(f"={len(descriptors)}i", *descriptors)
        answer.sendmsg([json.dumps({"problem": problem}).encode()],
                       [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if descriptors else [])
    finally:  # where the node is gone nobody holds them, and they go
        os._exit(0)


def fork(descriptors: Sequence[int], flags: int) -> int:
    """As ``linux.clone`` does, but from within the Pod's namespaces; 0 in the child, which is the caller's own.

    A process cannot come back from a user namespace: another one goes there, and makes the caller's child.
    """
    told, tell = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            os.close(told)
            pid = _enter_and_clone(descriptors, flags)
            if pid == 0:
                os.close(tell)
                return 0
            os.write(tell, str(pid).encode())
        except OSError as error:
            os.write(tell, str(error).encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as stream:
        words = stream.read(_WORDS_LIMIT_BYTES).decode(errors="replace")
    os.waitpid(between, 0)
    if not words.isdigit():
        raise OSError("could not enter the Pod's namespaces: " + (words or "the process that tried it ended"))
    return int(words)


def _enter_and_clone(descriptors: Sequence[int], flags: int) -> int:
    mounts, ipc, *user = descriptors
    if user:
        network.join_user(user[0])
    network.setns(ipc, linux.CLONE_NEWIPC)
    network.setns(mounts, linux.CLONE_NEWNS)
    return linux.clone(flags | CLONE_PARENT)
