"""From a container to the engine's command lines. Pure; ``launch`` and ``engine`` call me.

podman and docker take nearly the same words; where they differ, ``Adaptation`` says which engine I speak to and what
this machine needs said besides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lightship.cluster.node.cgroups import Limits
from lightship.cluster.node.errors import ConfigError, StartError
from lightship.cluster.node.security import CAPABILITIES, Security

PODMAN, DOCKER = "podman", "docker"
KINDS = (PODMAN, DOCKER)
"""What the setting ``containers`` may name."""

NODE_LABEL = "lightship.dev/node"
POD_LABEL = "lightship.dev/pod"
UID_LABEL = "lightship.dev/pod-uid"
CONTAINER_LABEL = "lightship.dev/container"

EXEC_MARK = "LIGHTSHIP_EXEC"
"""The variable by which the processes of one command inside a container are known."""

ALL_LIMITS = frozenset({"memory", "pids", "cpu"})
_NAMES = {number: name for name, number in CAPABILITIES.items()}
_OPEN_FILES = 20_000
_PROCESSES = 4096
_OWN_VARIABLES = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|TERM|TMPDIR|LANG|NOTIFY_SOCKET|.*_PROXY|XDG_.*|LC_.*|LD_.*|GO[A-Z]+|CONTAINERS?_.*"
    r"|STORAGE_.*|REGISTRY_.*|DOCKER_.*|BUILDAH_.*|PODMAN_.*|_.*|DBUS_.*|SSL_.*|SSH_.*)\Z", re.IGNORECASE)
"""What the engine's own client may read: a container's values for these must not reach it."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What the engine is and what this machine needs said to it, as ``engine`` found by trying."""

    kind: str = PODMAN
    general: tuple[str, ...] = ()
    """Flags before the verb, such as another OCI runtime."""
    more: tuple[str, ...] = ()
    """Flags of ``create``."""
    limits: frozenset[str] = ALL_LIMITS
    """What it can limit here: some of memory, pids and cpu."""
    joins_networks: bool = False
    """Whether a container can be put into a network namespace that the node made."""

    @property
    def passes_descriptors(self) -> bool:
        """Whether a container without a terminal gets the very pipes that the node made, so that nothing is lost."""
        return self.kind == PODMAN


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A path of this machine inside the container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class User:
    """Who the container is to be. ``flag`` is ``--user``'s value; empty for the image's own."""

    flag: str = ""
    groups: tuple[int, ...] = ()

    @property
    def number(self) -> int:
        """The user's number, where it is one; root's otherwise."""
        uid = self.flag.partition(":")[0]
        return int(uid) if uid.isdigit() else 0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One container, as the engine is to make it."""

    name: str
    image: str
    labels: Mapping[str, str]
    command: tuple[str, ...] = ()
    """Takes the place of the image's entrypoint and command; empty for the image's."""
    arguments: tuple[str, ...] = ()
    """Takes the place of the image's command; empty for the image's."""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    hostname: str = ""
    network: str = "host"
    binds: tuple[Bind, ...] = ()
    memory_mounts: Mapping[str, int] = field(default_factory=dict)
    """Memory by its path: its limit in bytes, 0 for none."""
    user: User = field(default_factory=User)
    security: Security = field(default_factory=Security)
    capabilities: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)
    devices: tuple[str, ...] = ()
    stdin: bool = False
    tty: bool = False
    taken: frozenset[str] = frozenset()
    """Variables of the client's own environment: a container's of the same name must be told by value."""


def create(wanted: Wanted, adaptation: Adaptation) -> tuple[str, ...]:
    """The words of ``create``. Raises ``ConfigError`` and, for what is no image's name, ``StartError``."""
    if not wanted.image or wanted.image.startswith("-"):
        raise StartError("InvalidImageName", f'couldn\'t parse image name "{wanted.image}": invalid reference format')
    words = ["create", f"--name={wanted.name}", "--pull=never", "--restart=no", "--stop-timeout=0",
             "--no-healthcheck", "--security-opt=label=disable", f"--network={wanted.network}"]
    if adaptation.kind == PODMAN:
        words += ["--systemd=false", "--sdnotify=ignore", "--http-proxy=false"]
    words += _streams(wanted, adaptation)
    words += [f"--label={name}={value}" for name, value in wanted.labels.items()]
    quiet = inherited(wanted)
    words += [f"--env={name}" if name in quiet else f"--env={name}={value}" for name, value in wanted.env.items()]
    words += [_bind(bind) for bind in wanted.binds]
    words += [f"--tmpfs={_path(path)}:mode=1777" + (f",size={size}" if size else "")
              for path, size in wanted.memory_mounts.items()]
    if wanted.workdir:
        words.append(f"--workdir={wanted.workdir}")
    if wanted.hostname:
        words.append(f"--hostname={wanted.hostname}")
    words += _rights(wanted, adaptation)
    words += _limits(wanted.limits, adaptation.limits)
    words += [f"--device=/dev/{name}" for name in wanted.devices]
    words += adaptation.more
    if wanted.command:
        words.append(f"--entrypoint={wanted.command[0]}")
    return (*words, wanted.image, *wanted.command[1:], *wanted.arguments)


def inherited(wanted: Wanted) -> dict[str, str]:
    """The variables that the engine reads from its client's environment, where no other user sees their values."""
    return {name: value for name, value in wanted.env.items()
            if name not in wanted.taken and _OWN_VARIABLES.match(name) is None}


def execute(container: str, argv: tuple[str, ...], mark: str, env: Mapping[str, str], *,
            tty: bool) -> tuple[str, ...]:
    """The words of ``exec``."""
    words = ["exec", "--interactive", "--detach-keys=", f"--env={EXEC_MARK}={mark}"]
    if tty:
        words.append("--tty")
    words += [f"--env={name}={value}" for name, value in env.items()]
    return (*words, container, *argv)


def ulimits(open_files: int) -> tuple[str, ...]:
    """Bounds of resources that an engine may set without the right to raise them; ``open_files`` is the node's own."""
    files = min(open_files, _OPEN_FILES)
    return f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={_PROCESSES}:{_PROCESSES}"


def _streams(wanted: Wanted, adaptation: Adaptation) -> list[str]:
    if wanted.tty:
        return ["--interactive", "--tty", "--log-driver=none"]
    given = ["--interactive"] if wanted.stdin else []
    return [*given, "--log-driver=" + ("passthrough" if adaptation.passes_descriptors else "none")]


def _bind(bind: Bind) -> str:
    source, target = bind.source, bind.target
    if ":" not in source + target:
        return f"--volume={source}:{target}" + (":ro" if bind.read_only else "")
    if "," not in source + target:
        return f"--mount=type=bind,source={source},target={target}" + (",readonly" if bind.read_only else "")
    raise ConfigError(f'the mount at "{target}" has a colon and a comma in its paths, which the container engine '
                      "cannot be told")


def _path(path: str) -> str:
    if ":" in path:
        raise ConfigError(f'the memory volume at "{path}" has a colon in its path, which the container engine '
                          "cannot be told")
    return path


def _rights(wanted: Wanted, adaptation: Adaptation) -> list[str]:
    words = ["--cap-drop=ALL", *(f"--cap-add={_NAMES[number]}" for number in wanted.capabilities)]
    if wanted.user.flag:
        words.append(f"--user={wanted.user.flag}")
    words += [f"--group-add={group}" for group in wanted.user.groups]
    if wanted.security.no_new_privileges:
        words.append("--security-opt=no-new-privileges")
    if not wanted.security.confined:
        words.append("--security-opt=seccomp=unconfined")
    if wanted.security.read_only_root:
        words.append("--read-only")
        if adaptation.kind == PODMAN:
            words.append("--read-only-tmpfs=false")
    return words


def _limits(limits: Limits, can: frozenset[str]) -> list[str]:
    words = []
    if limits.memory_bytes and "memory" in can:
        words += [f"--memory={limits.memory_bytes}", f"--memory-swap={limits.memory_bytes}"]
    if limits.processes and "pids" in can:
        words.append(f"--pids-limit={limits.processes}")
    if limits.cpu_millis and "cpu" in can:
        words.append(f"--cpus={limits.cpu_millis / 1000:.3f}")
    if limits.cpu_request_millis and "cpu" in can:
        words.append(f"--cpu-shares={max(2, limits.cpu_request_millis * 1024 // 1000)}")
    return words
