"""What the containers of one Pod share besides its network: IPC, /dev/shm and volumes that are memory.

``supervisor`` asks ``wanted`` and has ``runner`` call ``make`` once a Pod, before its first container; each container's
request then names the descriptors, and ``inside/commons.py`` does the work. Only Pods that need it pay for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightship.cluster.node import plan, volumes
from lightship.cluster.node.descriptors import close_all
from lightship.cluster.node.errors import StartError, ZygoteError
from lightship.cluster.node.network.channel import receive
from lightship.cluster.node.processes import Zygote
from lightship.kube import objects
from lightship.kube.objects import Object

MAKE_SECONDS = 30.0
SHARED_MEMORY_BYTES = 64 << 20
"""The size of /dev/shm, as container runtimes give it."""


@dataclass(frozen=True, kw_only=True)
class Commons:
    """``descriptors`` are those of the mount, IPC and, for a normal user, user namespace; none where nothing is
    shared."""

    descriptors: tuple[int, ...] = ()
    memory: tuple[int, ...] = ()
    """Descriptors of what is mounted there, which only measure it; no container gets them."""
    shared_memory: str = ""
    """The directory that is each container's /dev/shm; empty where each has its own."""

    def used_bytes(self) -> int:
        """The memory that the Pod's files in memory take."""
        found = [os.fstatvfs(descriptor) for descriptor in self.memory]
        return sum((one.f_blocks - one.f_bfree) * one.f_frsize for one in found)

    def close(self) -> None:
        close_all(*self.descriptors, *self.memory)


def memory_volumes(pod: Object) -> list[Mapping[str, Any]]:
    """The Pod's emptyDirs that are to be memory."""
    return [volume for volume in objects.spec(pod).get("volumes") or ()
            if (volume.get("emptyDir") or {}).get("medium") == "Memory"]


def wanted(pod: Object, surroundings: plan.Surroundings) -> bool:
    """Whether the Pod has what must be shared: by its programs, or by the lives of one."""
    return bool(memory_volumes(pod)) or plan.programs(pod, surroundings) > 1


def mounts(pod: Object, directory: Path, memory_bytes: int) -> list[dict[str, str]]:
    """Every tmpfs that the Pod's containers share, by its place below the Pod's ``directory``. ``memory_bytes`` is what
    the node has."""
    found = [{"target": str(directory / "shm"), "options": f"mode=1777,size={SHARED_MEMORY_BYTES}"}]
    group = volumes.fs_group(pod)
    mode = "mode=0777" if group is None else f"mode=2777,gid={group}"
    for volume in memory_volumes(pod):
        limit = volumes.memory_limit_bytes(pod, volume, memory_bytes)
        found.append({"target": str(directory / "volumes" / volume["name"]),
                      "options": mode + (f",size={limit}" if limit else "")})
    return found


async def make(zygote: Zygote, pod: Object, directory: Path, *, user_namespace: bool, memory_bytes: int) -> Commons:
    """Makes what the Pod shares; its volumes' directories are there. ``memory_bytes`` is what the node has. Raises
    ``StartError``."""
    shared = directory / "shm"
    shared.mkdir(parents=True, exist_ok=True)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    body = os.memfd_create("lightship-commons", os.MFD_CLOEXEC)
    answered = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours.fileno(), answered.set)
    try:
        os.write(body, json.dumps(mounts(pod, directory, memory_bytes)).encode())
        zygote.tell({"commons": user_namespace}, (body, theirs.fileno()))
        theirs.close()
        async with asyncio.timeout(MAKE_SECONDS):
            await answered.wait()
        data, descriptors = receive(ours)
    except (OSError, ZygoteError) as error:
        raise _failed(str(error) or "no answer") from error
    finally:
        loop.remove_reader(ours.fileno())
        ours.close()
        theirs.close()
        os.close(body)
    problem = json.loads(data)["problem"] if data else "the process that tried it ended"
    if problem:
        raise _failed(problem)
    namespaces = 3 if user_namespace else 2
    return Commons(descriptors=tuple(descriptors[:namespaces]), memory=tuple(descriptors[namespaces:]),
                   shared_memory=str(shared))


def _failed(cause: str) -> StartError:
    return StartError("CreateContainerError", f"could not make what the Pod's containers share: {cause}")
