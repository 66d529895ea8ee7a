"""Starts one container with the engine. ``runner`` calls me for images that the catalogue does not map.

The container is created first and started then, so that the engine's refusals and the program's output stay apart.
With podman the container gets the very pipes of the node; elsewhere, and for terminals, a client that is attached
carries its output.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightship.cluster.node import layout, plan, volumes
from lightship.cluster.node.descriptors import Descriptor, close_all, pipe
from lightship.cluster.node.engines import arguments, identity, words
from lightship.cluster.node.engines.arguments import Adaptation, Bind, User, Wanted
from lightship.cluster.node.engines.container import EngineContainer, State, inspect, remove, start_on_terminal
from lightship.cluster.node.engines.engine import Engine
from lightship.cluster.node.errors import ConfigError, StartError
from lightship.cluster.node.inside import linux, sandbox
from lightship.cluster.node.network import resolution
from lightship.cluster.node.network.pod_network import Attachment
from lightship.cluster.node.output import Output
from lightship.cluster.node.plan import ContainerPlan
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.lib.clock import Clock

LOOK_SECONDS = 0.05
"""How often an attached client's container is looked at until it runs."""
START_SECONDS = 120.0
LIMIT_HELD_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Order:
    """One container to start. ``directory`` is its own on this machine."""

    pod: Object
    container: Mapping[str, Any]
    made: ContainerPlan
    restarts: int
    directory: Path
    attachment: Attachment
    mounts: Sequence[layout.Mount]
    memory: Mapping[str, int]
    devices: tuple[str, ...] = ()
    hosts: str = ""
    """What its /etc/hosts says."""


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A container that runs."""

    container: EngineContainer
    output: Output
    given: Descriptor | None
    image_id: str
    owner: int


@dataclass(eq=False)
class _Held:
    """What comes before the program is known to run: the engine's own words, if it then does not."""

    sink: Callable[[bytes], None]
    skip: bytes = b""
    """The client's own answer, with which all begins and which is not the program's; empty once it is gone."""
    words: bytearray = field(default_factory=bytearray)
    open: bool = False

    def write(self, data: bytes) -> None:
        self.words += data
        if self.open or len(self.words) > LIMIT_HELD_BYTES:
            self.release()

    def release(self) -> None:
        self.open = True
        if self.skip:
            place = self.words.find(self.skip)
            if place < 0 and len(self.words) <= LIMIT_HELD_BYTES:
                return
            del self.words[:place + len(self.skip) if place >= 0 else 0]
            self.skip = b""
        if self.words:
            self.sink(bytes(self.words))
            self.words.clear()


async def launch(engine: Engine, order: Order, write: Callable[[bytes], None], clock: Clock) -> Launched:
    """Starts it; returns once its program runs. Raises ``StartError``."""
    adaptation = await engine.usable()
    facts = await engine.ensure_image(order.made.image, str(order.container.get("imagePullPolicy") or "IfNotPresent"))
    user = identity.user_of(order.pod, order.container, facts.user)
    name = f"lightship-{engine.mark}-{objects.uid(order.pod)}-{order.made.name}-{order.restarts}"
    pinned: list[tuple[str, int]] = []
    try:
        wanted = replace(_wanted(engine, order, adaptation, user), name=name, binds=_binds(order, pinned))
        created = await engine.client.ask(*arguments.create(wanted, adaptation), env=arguments.inherited(wanted))
        if created.code:
            raise words.could_not_create(engine.kind, created.said)
        start = _Start(engine, name, order, adaptation, clock)
        try:
            return await start.run(write, user, facts.id, pinned)
        except BaseException:
            engine.tasks.spawn(remove(engine.client, name), name=f"removal of {name}")
            raise
    finally:
        close_all(*(descriptor for _, descriptor in pinned))


class _Start:
    """The way from a created container to one that runs."""

    def __init__(self, engine: Engine, name: str, order: Order, adaptation: Adaptation, clock: Clock) -> None:
        self._engine = engine
        self._client = engine.client
        self._name = name
        self._container = order.container
        self._adaptation = adaptation
        self._clock = clock
        self._limited = bool(order.made.limits.memory_bytes) and "memory" in adaptation.limits
        self._terminal = -1

    async def run(self, write: Callable[[bytes], None], user: User, image_id: str,
                  pinned: Sequence[tuple[str, int]]) -> Launched:
        owner = user.number if os.geteuid() == 0 else 0
        held = _Held(write)
        output = Output(held.write, owner=owner or None)
        given: Descriptor | None = None
        read_end = write_end = -1
        try:
            if self._container.get("tty"):
                state, given = await self._on_terminal(output, held)
            else:
                if self._container.get("stdin"):
                    read_end, write_end = pipe()
                state = await self._on_pipes(output, read_end, held, pinned)
                given = Descriptor(write_end) if write_end >= 0 else None
        except BaseException:
            output.close_write_end()
            close_all(write_end)
            raise
        finally:
            close_all(read_end)
        output.close_write_end()
        container = EngineContainer(self._name, self._engine, self._terminal,
                                    memory_limit=self._limited)
        held.release()
        container.watch(state)
        return Launched(container=container, output=output, given=given, image_id=image_id, owner=owner)

    async def _on_pipes(self, output: Output, read_end: int, held: _Held,
                        pinned: Sequence[tuple[str, int]]) -> State:
        stdin = read_end if read_end >= 0 else asyncio.subprocess.DEVNULL
        if not self._adaptation.passes_descriptors:
            attach = ["--attach", *(["--interactive"] if read_end >= 0 else [])]
            process = await self._client.start("start", *attach, self._name, stdin=stdin, stdout=output.write_end,
                                               stderr=output.write_end)
            output.close_write_end()
            state = await self._until_running(process, output, held)
            self._verify(state, pinned)
            return state
        held.skip = self._name.encode() + b"\n"
        await self._hand_over(stdin, output, held)
        state = await self._state()
        self._verify(state, pinned)
        started = await self._client.ask("start", self._name)
        if started.code:
            raise words.could_not_start(self._engine.kind, started.said)
        return state

    async def _hand_over(self, stdin: int, output: Output, held: _Held) -> None:
        """The client whose own descriptors become the container's: all is made, and its program waits."""
        process = await self._client.start("init", self._name, stdin=stdin, stdout=output.write_end,
                                           stderr=output.write_end)
        output.close_write_end()
        try:
            async with asyncio.timeout(START_SECONDS):
                code = await process.wait()
        except TimeoutError:
            code = 124
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code:
            await output.done
            raise words.could_not_start(self._engine.kind, held.words.decode(errors="replace"))

    async def _on_terminal(self, output: Output, held: _Held) -> tuple[State, Descriptor]:
        master, theirs = os.openpty()
        given = Descriptor(os.dup(master))
        self._terminal = master
        output.read_terminal(master)
        process = await start_on_terminal(
            self._client, ("start", "--attach", "--interactive", "--sig-proxy=false", "--detach-keys=", self._name),
            theirs)
        try:
            return await self._until_running(process, output, held), given
        except BaseException:
            given.close()
            raise

    async def _until_running(self, client: asyncio.subprocess.Process, output: Output, held: _Held) -> State:
        """An attached client does not tell when its container runs: the engine does."""
        self._engine.tasks.spawn(client.wait(), name=f"client of {self._name}")
        until = self._clock.monotonic() + START_SECONDS
        while self._clock.monotonic() < until:
            over = client.returncode is not None
            state = await inspect(self._client, self._name)
            if state is not None and (state.running or (over and (state.exit_code == client.returncode)
                                                        and state.exit_code not in (125, 126, 127))):
                return state
            if over:
                await output.done
                raise words.could_not_start(self._engine.kind, held.words.decode(errors="replace"))
            await self._clock.sleep(LOOK_SECONDS)
        client.kill()
        raise StartError("RunContainerError", f"{self._engine.kind} did not start the container within "
                         f"{START_SECONDS:.0f} s")

    async def _state(self) -> State:
        state = await inspect(self._client, self._name)
        if state is None:
            raise words.could_not_start(self._engine.kind, "the container vanished while it was started")
        return state

    def _verify(self, state: State, pinned: Sequence[tuple[str, int]]) -> None:
        """That each subPath is what it was when it was looked at: another container may have put a link there."""
        if not pinned or not state.pid:
            return
        root = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_CLOEXEC)
        try:
            for target, descriptor in pinned:
                there = linux.open_inside(root, target, os.O_PATH)
                same = os.path.samestat(os.fstat(there), os.fstat(descriptor))
                os.close(there)
                if not same:
                    raise ConfigError(f'the subPath that is mounted at "{target}" changed while it was mounted')
        finally:
            os.close(root)


def _wanted(engine: Engine, order: Order, adaptation: Adaptation, user: User) -> Wanted:
    made, attachment = order.made, order.attachment
    own_network = attachment.descriptor >= 0
    if own_network and not adaptation.joins_networks:
        raise StartError("CreateContainerError", f"{engine.kind} cannot join the Pod's network here",
                         remedy="Set hostNetwork for the Pod, or run the server as root with podman")
    network = f"ns:/proc/{os.getpid()}/fd/{attachment.descriptor}" if own_network else "host"
    return Wanted(
        name="", image=made.image, command=made.argv, arguments=made.arguments, env=made.env,
        labels={arguments.NODE_LABEL: engine.mark, arguments.POD_LABEL: str(objects.key(order.pod)),
                arguments.UID_LABEL: objects.uid(order.pod), arguments.CONTAINER_LABEL: made.name},
        workdir=made.workdir, hostname=plan.kernel_name(order.pod), network=network,
        memory_mounts=order.memory, user=user, security=made.security,
        capabilities=made.security.with_network() if own_network else made.security.capabilities,
        limits=made.limits, devices=order.devices, stdin=bool(order.container.get("stdin")),
        tty=bool(order.container.get("tty")), taken=frozenset(os.environ))


def _binds(order: Order, pinned: list[tuple[str, int]]) -> tuple[Bind, ...]:
    """The container's mounts. What ``subPath`` names is opened, and stays so in ``pinned`` with its target."""
    own = {mount.target for mount in order.mounts}
    binds = [_bind(mount, pinned) for mount in order.mounts]
    binds.append(Bind(source=str(order.directory / "termination-log"), target=order.made.termination_message_path))
    for target, content in (("/etc/hosts", order.hosts), ("/etc/resolv.conf", order.attachment.resolver)):
        if content and target not in own:
            path = order.directory / target.removeprefix("/etc/")
            path.write_text(content)
            binds.append(Bind(source=str(path), target=target))
    return tuple(binds)


def _bind(mount: layout.Mount, pinned: list[tuple[str, int]]) -> Bind:
    if not mount.beneath:
        return Bind(source=mount.source, target=mount.target, read_only=mount.read_only)
    if not sys.platform.startswith("linux"):
        source = volumes.sub_path(mount.source, mount.beneath)
        return Bind(source=source, target=mount.target, read_only=mount.read_only)
    try:
        descriptor = sandbox.open_sub_path(mount.source, mount.beneath)
    except OSError as error:
        raise ConfigError(f'subPath "{mount.beneath}" leads out of its volume or cannot be made: {error.strerror}') \
            from error
    pinned.append((mount.target, descriptor))
    return Bind(source=os.readlink(f"/proc/self/fd/{descriptor}"), target=mount.target, read_only=mount.read_only)


def hosts_of(pod: Object, attachment: Attachment, aliases: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """What the container's /etc/hosts says."""
    hostname = plan.hostname(pod)
    return layout.hosts(layout.Identity(hostname=hostname, pod_ip=attachment.ip, hosts=tuple(aliases),
                                        full_name=resolution.full_name(pod, hostname)))
