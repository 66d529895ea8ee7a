"""Starts one container: environment, root, process or entrypoint, log. ``supervisor`` calls me.

I turn a ``ContainerPlan`` into a running thing and hide which of the ways it took: forked from a warm interpreter,
executed in a sandbox, executed without one, or a function of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from lightship.cluster.node import (
    commons,
    components,
    entrypoints,
    execution,
    layout,
    oom,
    plan,
    processes,
    stand_ins,
    variables,
)
from lightship.cluster.node import volumes as pod_volumes
from lightship.cluster.node.cgroups import Group, Groups
from lightship.cluster.node.commons import Commons
from lightship.cluster.node.descriptors import Descriptor, close_all, pipe
from lightship.cluster.node.engines import launch
from lightship.cluster.node.engines.engine import Engine
from lightship.cluster.node.environments import BuildError, Built, Environments
from lightship.cluster.node.errors import ConfigError, ImageError, StartError, ZygoteError
from lightship.cluster.node.isolation import Isolation
from lightship.cluster.node.logs import ContainerLog
from lightship.cluster.node.network import resolution
from lightship.cluster.node.network.pod_network import Attachment
from lightship.cluster.node.output import Output
from lightship.cluster.node.plan import ContainerPlan
from lightship.cluster.node.processes import Container, Exit, Request, ZygoteKey, Zygotes
from lightship.cluster.node.security import RunAs
from lightship.cluster.node.trash import Trash
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.lib.clock import Clock

TERMINATION_MESSAGE_LIMIT_BYTES = 4096
LIMIT_COMMAND_OUTPUT_BYTES = 16 * 1024
"""How much of a probe's or a hook's output is kept."""
_INTERFACES = ("lo", "eth0")
_LIGHTSHIP_PATH = "/opt/lightship"
_SHARED_MEMORY_PATH = "/dev/shm"


class Handle(Protocol):
    """A running container, whatever it is."""

    async def wait(self) -> Exit: ...

    def signal(self, number: int) -> None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Machinery:
    """What every container of a node shares."""

    clock: Clock
    zygotes: Zygotes
    environments: Environments
    isolation: Isolation
    survey: layout.Survey
    groups: Groups
    entrypoints: Mapping[str, entrypoints.Entrypoint]
    pods_directory: Path
    root_mountpoint: Path
    trash: Trash
    memory_bytes: int
    """The node's, beyond which no volume that is memory may grow."""
    engine: Engine | None
    """podman or docker, where the settings name one."""
    starts: asyncio.Semaphore
    """Bounds how many containers are between fork and first instruction, so that a hundred at once do not flood."""


@dataclass(eq=False)
class Started:
    """One life of one container."""

    handle: Handle
    log: ContainerLog
    env: Mapping[str, str]
    drained: asyncio.Future[None]
    """Done when the output has ended and all of it is in the log."""
    image_id: str = ""
    termination_file: Path | None = None
    group: Group | None = None
    over_memory: bool = False
    """Whether the node itself ended it for want of memory, where no group can."""
    process: Container | None = field(default=None)
    output: Output | None = None
    given: Descriptor | None = None
    """The other end of its standard input, or of its terminal, where it has either."""
    owner: int = 0
    """The user that it runs as."""

    async def execute(self, argv: tuple[str, ...], sink: Callable[[bytes], None]) -> Exit:
        """Runs a command in the container and gives ``sink`` the beginning of its output."""
        if self.process is None:
            return Exit(code=126, error="commands cannot be run in a built-in container")
        result, written = await execution.run(self.process, argv, LIMIT_COMMAND_OUTPUT_BYTES)
        sink(written)
        return result

    def let_go(self) -> None:
        """It has ended: nobody can write to it any more."""
        if self.given is not None:
            self.given.close()

    def termination_message(self) -> str:
        if self.termination_file is None:
            return ""
        with contextlib.suppress(OSError), self.termination_file.open("rb") as stream:
            return stream.read(TERMINATION_MESSAGE_LIMIT_BYTES).decode(errors="replace")
        return ""

    def oom_killed(self) -> bool:
        known = self.process is not None and self.process.oom_killed
        return self.over_memory or known or (self.group is not None and self.group.oom_killed())


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """What one start of one container depends on besides its plan."""

    pod: Object
    container: Mapping[str, Any]
    restarts: int
    volumes: Mapping[str, pod_volumes.Volume]
    service_account: pod_volumes.Volume | None
    attachment: Attachment
    commons: Commons
    dial: Callable[[str, int], Awaitable[socket.socket]]
    """Connects to a port of the Pod."""
    wait_for: Callable[[str], Awaitable[entrypoints.ContainerExit]]


class BuildFailed(StartError):
    """What the container itself would have installed cannot be installed: it fails as it would have by itself."""

    def __init__(self, message: str, log: ContainerLog) -> None:
        super().__init__("Error", message)
        self.log = log


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a process is to run and what takes its output."""

    built: Built
    zygote: processes.Zygote
    log: ContainerLog


class Runner:
    """Starts containers on one node."""

    def __init__(self, machinery: Machinery) -> None:
        self._machinery = machinery

    async def start(self, made: ContainerPlan, occasion: Occasion) -> Started:
        """Starts it; returns once its program runs. Raises ``StartError``."""
        log = ContainerLog(log_path(self._machinery.pods_directory, objects.uid(occasion.pod), made.name,
                                    occasion.restarts), self._machinery.clock.now)
        try:
            if made.entrypoint:
                return self._start_entrypoint(made, occasion, log)
            if made.by_engine:
                return await self._start_by_engine(made, occasion, log)
            return await self._start_process(made, occasion, log)
        except BaseException as error:
            if not isinstance(error, BuildFailed):
                log.close()
            raise

    async def warm(self, made: ContainerPlan) -> None:
        """Starts what the container will be forked from, while the rest of its Pod is made ready. Raises what its start
        would raise."""
        if made.entrypoint or made.by_engine:
            return
        built = await self._machinery.environments.get(made.environment)
        joined = bool(self._machinery.zygotes.namespaces)
        await self._zygote(self._zygote_key(made, built, joined=joined)[0])

    async def share(self, pod: Object, attachment: Attachment) -> Commons:
        """Makes what the Pod's containers share, once its volumes' directories are there. Raises ``StartError``."""
        key = replace(bare_key(self._machinery.environments.host), joined=self._joins(attachment))
        return await commons.make(await self._zygote(key), pod, self._machinery.pods_directory / objects.uid(pod),
                                  user_namespace=self._machinery.isolation.user_namespace,
                                  memory_bytes=self._machinery.memory_bytes)

    def _joins(self, attachment: Attachment) -> bool:
        return attachment.descriptor >= 0 and bool(self._machinery.zygotes.namespaces)

    def _start_entrypoint(self, made: ContainerPlan, occasion: Occasion, log: ContainerLog) -> Started:
        entrypoint = self._machinery.entrypoints.get(made.entrypoint)
        if entrypoint is None:
            known = ", ".join(sorted(self._machinery.entrypoints)) or "none"
            raise ImageError(f'there is no built-in entrypoint "{made.entrypoint}" (there are: {known})')
        mounts = {mount.path: mount_source(mount, occasion.volumes) for mount in made.mounts}
        context = entrypoints.EntrypointContext(
            pod=occasion.pod, container=occasion.container, arguments=made.arguments or made.argv, env=made.env,
            mounts=mounts, write=log.write, wait_for=occasion.wait_for,
            dial=partial(occasion.dial, occasion.attachment.ip))
        drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        drained.set_result(None)
        return Started(handle=entrypoints.Running(entrypoint, context), log=log, env=made.env, drained=drained,
                       image_id=f"lightship://{made.entrypoint}")

    async def _start_by_engine(self, made: ContainerPlan, occasion: Occasion, log: ContainerLog) -> Started:
        assert self._machinery.engine is not None, "the plan leaves a container to an engine that is not there"
        directory = self._machinery.pods_directory / objects.uid(occasion.pod) / "containers" / made.name
        prepare_scratch(directory, None)
        mounts, memory = bind_mounts(made, occasion)
        order = launch.Order(
            pod=occasion.pod, container=occasion.container, made=made, restarts=occasion.restarts, directory=directory,
            attachment=occasion.attachment, mounts=mounts, memory=memory,
            hosts=launch.hosts_of(occasion.pod, occasion.attachment, _host_aliases(occasion.pod)),
            devices=layout.gpu_devices() if _has_gpus(occasion.pod, made.name) else ())
        launched = await launch.launch(self._machinery.engine, order, log.write, self._machinery.clock)
        return Started(handle=launched.container, log=log, env=made.env, drained=launched.output.done,
                       process=launched.container, image_id=launched.image_id, output=launched.output,
                       given=launched.given, owner=launched.owner, termination_file=directory / "termination-log")

    async def _start_process(self, made: ContainerPlan, occasion: Occasion, log: ContainerLog) -> Started:
        built = await self._environment(made, log)
        key, warm = self._zygote_key(made, built, joined=self._joins(occasion.attachment))
        zygote = await self._zygote(key)
        if warm and zygote.problem:
            key = replace(bare_key(self._machinery.environments.host), joined=key.joined)
            zygote, warm = await self._zygote(key), False
        if not warm:
            made = replace(made, component=None)
        async with self._machinery.starts:
            return await self._spawn(made, occasion, _Place(built=built, zygote=zygote, log=log))

    async def _spawn(self, made: ContainerPlan, occasion: Occasion, place: _Place) -> Started:
        built, zygote, log = place.built, place.zygote, place.log
        directory = self._machinery.pods_directory / objects.uid(occasion.pod) / "containers" / made.name
        prepare_scratch(directory, made.security.run_as)
        group = self._group(made, occasion)
        env = {"PATH": built.path, **made.env}
        if not self._machinery.isolation.available:
            env |= {"HOME": str(directory / "home"), "TMPDIR": str(directory / "tmp")}
        if made.with_lightship:
            env["PYTHONPATH"] = _LIGHTSHIP_PATH
        request = Request(
            sandbox=self._sandbox(made, occasion, built, directory), env=env, workdir=made.workdir,
            argv=() if made.component else made.argv, component=_component_call(made) if made.component else None,
            security=self._security(made, occasion), cgroup_procs=group.procs if group else (),
            network=occasion.attachment.descriptor, commons=occasion.commons.descriptors,
            tty=bool(occasion.container.get("tty")))
        owner = made.security.run_as.uid if made.security.run_as and self._machinery.isolation.users else None
        output = Output(log.write, owner=owner)
        container = occasion.container
        given_read, given_write = pipe() if container.get("stdin") and not container.get("tty") else (-1, -1)
        name = f"{objects.uid(occasion.pod)}/{made.name}/{occasion.restarts}"
        try:
            process = zygote.spawn(name, request, output.write_end, given_read)
        except ZygoteError as error:
            close_all(given_write)
            raise StartError("CreateContainerError", str(error)) from error
        finally:
            close_all(given_read)
            if not request.tty:  # with a terminal the pipe must not end before the terminal takes its place
                output.close_write_end()
        try:
            started = await process.started
        except asyncio.CancelledError:
            process.kill()
            close_all(given_write)
            raise
        if not started:
            await process.wait()
            output.close_write_end()
            close_all(given_write)
            if group is not None:
                group.remove()
            raise StartError("RunContainerError" if process.error else "StartError",
                             f"failed to start container: {process.error or 'its fork server ended'}")
        given = Descriptor(given_write) if given_write >= 0 else None
        if process.terminal >= 0:
            given = Descriptor(os.dup(process.terminal))
            output.read_terminal(process.terminal)
        return Started(handle=process, log=log, env=env, drained=output.done, process=process, group=group,
                       image_id=built.id, output=output, given=given, owner=owner or 0,
                       termination_file=directory / "termination-log")

    async def _environment(self, made: ContainerPlan, log: ContainerLog) -> Built:
        try:
            return await self._machinery.environments.get(made.environment)
        except BuildError as error:
            if made.installs_own:
                log.write(f"{error}\n".encode())
                raise BuildFailed(str(error), log) from error
            raise

    def _zygote_key(self, made: ContainerPlan, built: Built, *, joined: bool) -> tuple[ZygoteKey, bool]:
        if made.component is None or (made.security.run_as is not None and made.security.run_as.uid):
            return replace(bare_key(self._machinery.environments.host), joined=joined), False
        environment = (("LANG", "C.UTF-8"), ("PATH", built.path), ("_KFP_RUNTIME", "true"))
        return ZygoteKey(python=built.python, preload=components.PRELOAD, environment=environment,
                         joined=joined), True

    async def _zygote(self, key: ZygoteKey) -> processes.Zygote:
        try:
            return await self._machinery.zygotes.get(key)
        except ZygoteError as error:
            raise StartError("CreateContainerError", str(error)) from error

    def _group(self, made: ContainerPlan, occasion: Occasion) -> Group | None:
        name = f"{objects.uid(occasion.pod)}-{made.name}-{occasion.restarts}"
        return self._machinery.groups.make(name, made.limits)

    def _security(self, made: ContainerPlan, occasion: Occasion) -> Mapping[str, Any]:
        """The part of a request that ``inside/identity.py`` applies."""
        security = made.security
        user = None if security.run_as is None else {
            "uid": security.run_as.uid, "gid": security.run_as.gid, "groups": list(security.run_as.groups)}
        controllers = self._machinery.groups.controllers
        # In a user namespace the kernel counts a container's own processes; elsewhere the whole user's.
        counted = self._machinery.isolation.user_namespace and "pids" not in controllers
        own_network = occasion.attachment.descriptor >= 0
        return {"user": user, "confined": security.confined,
                "capabilities": list(security.with_network() if own_network else security.capabilities),
                "processes": made.limits.processes if counted else 0,
                "cpus": [] if "cpu" in controllers else affinity(made.limits.cpu_millis, objects.uid(occasion.pod)),
                "no_new_privileges": security.no_new_privileges,
                "oom_score": oom.score(objects.spec(occasion.pod), occasion.container, self._machinery.memory_bytes)}

    def _sandbox(self, made: ContainerPlan, occasion: Occasion, built: Built,
                 directory: Path) -> Mapping[str, Any] | None:
        isolation = self._machinery.isolation
        if not isolation.available:
            if made.mounts:
                raise ConfigError(f'container "{made.name}" mounts volumes, and this node cannot: {isolation.reason}',
                                  remedy="Allow unprivileged user namespaces, or run the server as root")
            return None
        mounts, memory = bind_mounts(made, occasion)
        mounts.append(layout.Mount(source=str(directory / "termination-log"), target=made.termination_message_path))
        if occasion.commons.shared_memory and all(mount.path != _SHARED_MEMORY_PATH for mount in made.mounts):
            mounts.append(layout.Mount(source=occasion.commons.shared_memory, target=_SHARED_MEMORY_PATH))
        if made.with_lightship:
            package = Path(__file__).parents[2]
            mounts.append(layout.Mount(source=str(package), target=f"{_LIGHTSHIP_PATH}/lightship", read_only=True))
        programs = stand_ins.placed(set(made.stand_ins.values()), self._machinery.pods_directory.parent / "programs")
        mounts += [layout.Mount(source=programs[name], target=path, read_only=True)
                   for path, name in made.stand_ins.items()]
        run_as = made.security.run_as or RunAs()
        return layout.sandbox_of(layout.Root(
            survey=self._machinery.survey, mountpoint=str(self._machinery.root_mountpoint),
            environment=built.directories, scratch=str(directory), volumes=tuple(mounts), tmpfs=memory,
            identity=layout.Identity(hostname=plan.hostname(occasion.pod), pod_ip=occasion.attachment.ip,
                                     uid=run_as.uid, resolver=occasion.attachment.resolver,
                                     full_name=resolution.full_name(occasion.pod, plan.hostname(occasion.pod)),
                                     kernel_name=plan.kernel_name(occasion.pod),
                                     gid=run_as.gid, hosts=_host_aliases(occasion.pod)),
            home=made.home, interfaces=_INTERFACES if occasion.attachment.descriptor >= 0 else (),
            user_namespace=isolation.user_namespace, read_only=made.security.read_only_root,
            devices=layout.gpu_devices() if _has_gpus(occasion.pod, made.name) else ()))


def _has_gpus(pod: Object, name: str) -> bool:
    """Whether the scheduler gave the container any: what its variables say is no permission."""
    return any(container["name"] == name and variables.devices(pod, container) for container in plan.containers(pod))


def affinity(cpu_millis: int, seed: str) -> list[int]:
    """The processors of a container with a CPU limit where no quota can be had; none for no limit."""
    if not cpu_millis or not hasattr(os, "sched_getaffinity"):
        return []
    there = sorted(os.sched_getaffinity(0))
    first = zlib.crc32(seed.encode()) % len(there)
    return [there[(first + n) % len(there)] for n in range(min(len(there), -(-cpu_millis // 1000)))]


def log_path(pods_directory: Path, uid: str, container: str, restarts: int) -> Path:
    return pods_directory / uid / "logs" / container / f"{restarts}.log"


def mount_source(mount: plan.VolumeMount, made: Mapping[str, pod_volumes.Volume]) -> str:
    """The directory that a built-in container works on, in this process."""
    volume = _volume(mount, made)
    return pod_volumes.sub_path(volume.path, mount.sub_path) if mount.sub_path else volume.path


def _volume(mount: plan.VolumeMount, made: Mapping[str, pod_volumes.Volume]) -> pod_volumes.Volume:
    volume = made.get(mount.volume)
    if volume is None:
        raise ConfigError(f'the volume mount "{mount.volume}" names no volume of the Pod')
    return volume


def bind_mounts(made: ContainerPlan, occasion: Occasion) -> tuple[list[layout.Mount], dict[str, int]]:
    """The container's volume mounts: binds, and those that are memory by their path."""
    binds: list[layout.Mount] = []
    memory: dict[str, int] = {}
    for mount in made.mounts:
        volume = _volume(mount, occasion.volumes)
        pod_volumes.check_sub_path(mount.sub_path)
        if not volume.path:
            memory[mount.path] = volume.size_bytes
        else:
            read_only = mount.read_only or volume.read_only
            binds.append(layout.Mount(source=volume.path, target=mount.path, read_only=read_only,
                                      beneath=mount.sub_path))
    own = {mount.path for mount in made.mounts}
    if occasion.service_account is not None and pod_volumes.SERVICE_ACCOUNT_PATH not in own:
        binds.append(layout.Mount(source=occasion.service_account.path, target=pod_volumes.SERVICE_ACCOUNT_PATH,
                                  read_only=True))
    return binds, memory


def prepare_scratch(directory: Path, run_as: RunAs | None) -> None:
    """The container's own directories on disk, fresh in each life but for what /tmp and the home already held."""
    for name, mode in (("home", 0o755), ("tmp", 0o1777)):
        path = directory / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
    message = directory / "termination-log"
    message.write_bytes(b"")
    message.chmod(0o666)
    if run_as is not None and run_as.uid and os.geteuid() == 0:
        os.chown(directory / "home", run_as.uid, run_as.gid)


def bare_key(host: Built) -> ZygoteKey:
    """The fork server for plain commands."""
    return ZygoteKey(python=host.python, environment=(("LANG", "C.UTF-8"), ("PATH", host.path)))


def _component_call(made: ContainerPlan) -> Mapping[str, Any]:
    assert made.component is not None
    return {"source": made.component.source, "args": list(made.arguments)}


def _host_aliases(pod: Object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    aliases = objects.spec(pod).get("hostAliases") or ()
    return tuple((alias["ip"], tuple(alias.get("hostnames") or ())) for alias in aliases)
