"""podman or docker on this machine: whether it can run containers, how it must be spoken to, its images, what is left.

``agent`` makes me where the settings name an engine and tells the Node's condition from me; ``launch`` asks me before
each container. I find out by trying, beside the node's start, and first remove what a killed node left.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightship.cluster.node.engines import arguments, words
from lightship.cluster.node.engines.arguments import Adaptation
from lightship.cluster.node.engines.client import Client
from lightship.kube import conditions
from lightship.lib.clock import Clock
from lightship.lib.tasks import Tasks

CONDITION = "ContainerEngine"
RETRY_SECONDS = 30.0
"""An engine that could not be used is tried again for a container that comes so much later."""
PROBE_SECONDS = 60.0
CLOSE_SECONDS = 10.0
PULL_SECONDS = 1800.0
LIMIT_SWEPT_AT_ONCE = 50

_TOPS = ("usr", "bin", "sbin", "lib", "lib64", "nix/store", "gnu/store")
_LIMIT_FLAGS = {"memory": "--memory=64m", "pids": "--pids-limit=64", "cpu": "--cpus=0.5"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What the node needs of an image that is here."""

    id: str
    user: str = ""


class Engine:
    """One engine for one node. ``changed`` is called when what the condition says has changed."""

    def __init__(self, kind: str, directory: Path, clock: Clock, changed: Callable[[], None] = lambda: None) -> None:
        self.kind = kind
        self.mark = hashlib.sha256(str(directory).encode()).hexdigest()[:12]
        """Tells this node's containers from those of others."""
        self.client = Client(kind)
        self.pids: dict[str, int] = {}
        """The first process of each container that runs, for the measurements."""
        self.tasks = Tasks(f"containers of {kind}")
        self._note = directory / "container-engine"
        self._clock = clock
        self._changed = changed
        self._look: asyncio.Task[Adaptation | None] | None = None
        self._looked = 0.0
        self._problem = "not tried yet"
        self._version = ""
        self._pulls: dict[str, asyncio.Task[str]] = {}

    def begin(self) -> None:
        """Removes what is left of a former life, and then finds out how containers can be run here."""
        self._note.write_text(self.kind)
        self._look = self.tasks.spawn(self._begin(), name="probe")

    async def _begin(self) -> Adaptation | None:
        await self.sweep()
        return await self._find_out()

    async def close(self) -> None:
        """Lets what puts containers away come to its end, for whoever runs containers has ended them."""
        for task in (self._look, *self._pulls.values()):
            if task is not None:
                task.cancel()
        with contextlib.suppress(TimeoutError):  # the next start removes what is left
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.tasks.drain()
        await self.tasks.close()

    async def usable(self) -> Adaptation:
        """How to speak to the engine, once that is known. Raises ``StartError`` where it runs no containers."""
        if self._look is None or (self._look.done() and self._problem
                                  and self._clock.monotonic() - self._looked >= RETRY_SECONDS):
            self._look = self.tasks.spawn(self._find_out(), name="probe")
        found = await asyncio.shield(self._look)
        if found is None:
            raise words.no_engine(self.kind, self._problem)
        return found

    @property
    def joins_networks(self) -> bool:
        """Whether Pods with such containers can have a network of their own. Known without asking the engine."""
        return self.kind == arguments.PODMAN and os.geteuid() == 0

    def condition(self) -> dict[str, Any]:
        """What the Node says of it."""
        look = self._look
        if look is None or not look.done() or look.cancelled():
            return conditions.make(CONDITION, "Unknown", "Probing", f"finding out how {self.kind} runs containers here")
        adaptation = look.result()
        if adaptation is None:
            return conditions.make(CONDITION, False, "Unusable", f"{self.kind} cannot run containers here, and Pods "
                                   f"with images that the catalogue does not map wait: {self._problem}")
        return conditions.make(CONDITION, True, self.kind.capitalize(), describe(adaptation, self._version))

    async def sweep(self) -> int:
        """Removes every container that carries this node's label; how many there were."""
        found = await self.client.ask("ps", "--all", "--quiet", "--no-trunc",
                                      f"--filter=label={arguments.NODE_LABEL}={self.mark}")
        names = found.output.split() if found.code == 0 else []
        for start in range(0, len(names), LIMIT_SWEPT_AT_ONCE):
            some = names[start:start + LIMIT_SWEPT_AT_ONCE]
            await self.client.ask("kill", "--signal=KILL", *some)  # it says no of those that do not run
            removed = await self.client.ask("rm", "--force", "--volumes", *some)
            if removed.code:
                _log.warning("could not remove a former life's containers",
                             extra={"engine": self.kind, "cause": words.told(removed.said)})
        return len(names)

    async def ensure_image(self, image: str, policy: str) -> ImageFacts:
        """The image, pulled if ``policy`` wants that. Raises ``StartError``."""
        there = await self._facts(image) if policy != "Always" else None
        if there is not None:
            return there
        if policy == "Never":
            raise words.never_pulled(self.kind, image)
        task = self._pulls.get(image)
        if task is None:
            task = self._pulls[image] = self.tasks.spawn(self._pull(image), name=f"pull of {image}")
            task.add_done_callback(lambda _: self._pulls.pop(image, None))
        problem = await asyncio.shield(task)
        there = await self._facts(image) if not problem else None
        if there is None:
            raise words.could_not_pull(self.kind, image, problem or "it was pulled and is not there")
        return there

    async def _pull(self, image: str) -> str:
        """What the engine says of its failure, or nothing."""
        answer = await self.client.ask("pull", "--quiet", image, seconds=PULL_SECONDS)
        return answer.said if answer.code else ""

    async def _facts(self, image: str) -> ImageFacts | None:
        answer = await self.client.ask("image", "inspect", image)
        if answer.code:
            return None
        found = json.loads(answer.output)[0]
        digests = found.get("RepoDigests") or []
        # What was never in a registry has digests of this machine only.
        named = digests[0] if digests and not digests[0].startswith("localhost/") else found["Id"]
        return ImageFacts(id=named, user=str((found.get("Config") or {}).get("User") or ""))

    async def _find_out(self) -> Adaptation | None:
        self._looked = self._clock.monotonic()
        self._problem = ""
        found: Adaptation | None = None
        if shutil.which(self.kind) is None:
            self._problem = f"there is no {self.kind} in the server's PATH"
        else:
            found = await (self._try_podman() if self.kind == arguments.PODMAN else self._try_docker())
        self.client.general = found.general if found is not None else ()
        asyncio.get_running_loop().call_soon(self._changed)
        return found

    async def _try_docker(self) -> Adaptation | None:
        answer = await self.client.ask("version", "--format={{.Server.Version}}", seconds=PROBE_SECONDS)
        if answer.code:
            self._problem = words.told(answer.said)
            return None
        self._version = answer.output
        return Adaptation(kind=arguments.DOCKER)

    async def _try_podman(self) -> Adaptation | None:
        version = await self.client.ask("version", "--format={{.Client.Version}}", seconds=PROBE_SECONDS)
        if version.code:
            self._problem = words.told(version.said)
            return None
        self._version = version.output
        with tempfile.TemporaryDirectory(prefix="lightship-engine-") as directory:
            for attempt in attempts(resource.getrlimit(resource.RLIMIT_NOFILE)[1], self.joins_networks):
                limits = [_LIMIT_FLAGS[name] for name in sorted(attempt.limits)]
                answer = await self.client.ask(
                    *attempt.general, "run", "--rm", "--network=host", "--log-driver=none",
                    "--security-opt=label=disable", f"--label={arguments.NODE_LABEL}={self.mark}", *limits,
                    *attempt.more, *_host_root(Path(directory)), "/bin/true", seconds=PROBE_SECONDS)
                if answer.code == 0:
                    self._problem = ""
                    return attempt
                self._problem = self._problem or words.told(answer.said)
        return None


async def sweep_former(directory: Path, clock: Clock) -> None:
    """For a node without an engine: removes what one with an engine left in the same directory."""
    note = directory / "container-engine"
    if not note.exists():
        return
    kind = note.read_text().strip()
    if kind in arguments.KINDS and shutil.which(kind) is not None:
        await Engine(kind, directory, clock).sweep()
    note.unlink(missing_ok=True)


def attempts(open_files: int, joins_networks: bool) -> list[Adaptation]:
    """The ways to run a container, the best first: with all limits, then with some, then with none. Pure."""
    bounded = arguments.ulimits(open_files)
    ways: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (general, more) for more in ((), bounded) for general in ((), ("--runtime=crun",), ("--runtime=runc",))]
    some: tuple[frozenset[str], ...] = (arguments.ALL_LIMITS, frozenset({"memory", "pids"}), frozenset())
    every = [(general, more, limits) for limits in some for general, more in ways]
    every += [(general, ("--cgroups=disabled", *more), frozenset[str]()) for general, more in ways]
    return [Adaptation(general=general, more=more, limits=limits, joins_networks=joins_networks)
            for general, more, limits in every]


def describe(adaptation: Adaptation, version: str) -> str:
    """The condition's message. Pure."""
    said = " ".join((*adaptation.general, *adaptation.more))
    missing = sorted(arguments.ALL_LIMITS - adaptation.limits)
    network = "each Pod has the network that the node gives it" if adaptation.joins_networks else \
        "their Pods share the host's network"
    limits = "limits of memory, processes and CPU are enforced" if not missing else \
        f"it cannot limit {', '.join(missing)} here"
    return (f"images that the catalogue does not map are run by {adaptation.kind} {version}"
            f"{f' with {said}' if said else ''}; {network}; {limits}")


def _host_root(directory: Path) -> tuple[str, ...]:
    """A root file system of this machine's own programs, so that the trial needs no image."""
    mounts = []
    for top in _TOPS:
        source, place = Path("/") / top, directory / top
        if source.is_symlink() and not place.is_symlink():
            place.symlink_to(os.readlink(source))
        elif source.is_dir() and not source.is_symlink():
            place.mkdir(parents=True, exist_ok=True)
            mounts.append(f"--volume={source}:{source}:ro")
    return (*mounts, "--rootfs", str(directory))
