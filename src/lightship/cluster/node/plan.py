"""From a Pod's container to what the node will do for it. Pure; ``supervisor`` calls me.

I know images (``catalogue``), lightweight components (``components``), variables (``variables``) and rights
(``security``); I know no paths of this machine and start nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightship.cluster.node import catalogue, components, security, stand_ins, variables
from lightship.cluster.node.catalogue import Environment, Image
from lightship.cluster.node.cgroups import Limits
from lightship.cluster.node.components import Component
from lightship.cluster.node.errors import ConfigError, ImageError
from lightship.cluster.node.network import resolution
from lightship.cluster.node.security import Security
from lightship.kube import objects, quantities
from lightship.kube.objects import Object

TERMINATION_MESSAGE_PATH = "/dev/termination-log"

_INTERPRETER_SETTINGS = re.compile(r"(PYTHON(?!UNBUFFERED\Z)|LD_|MALLOC_|GLIBC_|LC_|LANG\Z|LANGUAGE\Z|ASAN_)")
_BASE_LANG = "C.UTF-8"
_OURS = ("HOME", "LANG")
"""What the base environment sets because our images say nothing of it."""
_DNS_LABEL_LIMIT = 63
_KERNEL_NAME_LIMIT = 64
PROCESSES_LIMIT = 2048
"""Processes and threads that a container may have at once."""
GRACE_SECONDS = 30.0
"""How long a container has between SIGTERM and SIGKILL, where the Pod does not say."""


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """A volume of the Pod at a path of the container. ``sub_path`` is relative to the volume's root, or empty."""

    volume: str
    path: str
    sub_path: str = ""
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class ContainerPlan:
    """What one container is to be. Exactly one of ``entrypoint``, ``component`` and ``argv`` tells what runs."""

    name: str
    image: str
    environment: Environment
    entrypoint: str = ""
    argv: tuple[str, ...] = ()
    component: Component | None = None
    """A lightweight component that may be forked from a warm interpreter."""
    arguments: tuple[str, ...] = ()
    """The arguments of ``component``."""
    installs_own: bool = False
    """Whether the environment is what the container's own command would have installed: then a failure to build it
    is the container's failure, with exit code 1, and not the image's."""
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    mounts: tuple[VolumeMount, ...] = ()
    security: Security = field(default_factory=Security)
    limits: Limits = field(default_factory=Limits)
    termination_message_path: str = TERMINATION_MESSAGE_PATH
    home: str = "/root"
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    """Paths of the container, and the programs of ours that stand there for those of its image."""
    with_lightship: bool = False
    by_engine: bool = False
    """Whether podman or docker runs it: then ``argv`` and ``arguments`` stand for the image's own where they are set,
    and an empty ``workdir`` is the image's."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a plan depends on besides the Pod."""

    sources: variables.Sources = field(default_factory=variables.Sources)
    image_catalogue: Object | None = None
    engine: bool = False
    """Whether podman or docker takes what the catalogue does not map."""
    api_host: str = ""
    api_port: int = 0
    service_links: Mapping[str, str] = field(default_factory=dict)
    """Variables that tell of the namespace's Services."""


def containers(pod: Object) -> list[dict[str, Any]]:
    return list(objects.spec(pod).get("containers") or ())


def init_containers(pod: Object) -> list[dict[str, Any]]:
    return list(objects.spec(pod).get("initContainers") or ())


def make(pod: Object, container: Mapping[str, Any], surroundings: Surroundings) -> ContainerPlan:
    """The plan for one container. Raises ``ImageError`` and ``ConfigError``."""
    image = catalogue.resolve(str(container.get("image") or ""), surroundings.image_catalogue,
                              engine=surroundings.engine)
    base = _base_environment(pod, surroundings) | {"HOME": image.home}
    env = variables.resolve(pod, container, surroundings.sources, base)
    command = tuple(variables.expand(word, env) for word in container.get("command") or ())
    arguments = tuple(variables.expand(word, env) for word in container.get("args") or ())
    if image.by_engine:
        return _by_engine(pod, container, env, (command, arguments))
    component = components.recognise(command) if not image.entrypoint else None
    argv = (*(command or image.command), *arguments)
    environment = image.environment
    if component is not None:
        environment = Environment(python=environment.python, installs=(*environment.installs, *component.installs))
        argv = (*component.spawn, *arguments)
    if not argv and not image.entrypoint:
        raise ConfigError(f'no command is given for container "{container["name"]}", and the image '
                          f'"{container.get("image")}" has none here', remedy="Set the container's command")
    return ContainerPlan(
        name=container["name"], image=str(container.get("image") or ""), environment=environment,
        entrypoint=image.entrypoint, argv=argv, arguments=arguments,
        env=env | stand_ins.variables(environment, env), home=image.home,
        stand_ins={**image.programs, **stand_ins.of(environment)},
        component=component if component is not None and _may_be_warm(container, image) else None,
        installs_own=component is not None,
        workdir=container.get("workingDir") or image.workdir,
        mounts=tuple(_mounts(container, env)),
        security=security.of(pod, container),
        limits=_limits(container),
        termination_message_path=container.get("terminationMessagePath") or TERMINATION_MESSAGE_PATH,
        with_lightship=image.with_lightship,
    )


def programs(pod: Object, surroundings: Surroundings) -> int:
    """How many of the Pod's containers are programs: all but those that are functions of ours."""
    def one(container: Mapping[str, Any]) -> bool:
        try:
            return not catalogue.resolve(str(container.get("image") or ""), surroundings.image_catalogue,
                                         engine=surroundings.engine).entrypoint
        except ImageError:
            return True

    return sum(map(one, (*containers(pod), *init_containers(pod))))


def uses_engine(pod: Object, surroundings: Surroundings) -> bool:
    """Whether podman or docker runs any of the Pod's containers."""
    def one(container: Mapping[str, Any]) -> bool:
        try:
            return catalogue.resolve(str(container.get("image") or ""), surroundings.image_catalogue,
                                     engine=surroundings.engine).by_engine
        except ImageError:
            return False

    return surroundings.engine and any(one(container) for container in (*containers(pod), *init_containers(pod)))


def _by_engine(pod: Object, container: Mapping[str, Any], env: Mapping[str, str],
               words: tuple[tuple[str, ...], tuple[str, ...]]) -> ContainerPlan:
    """What the image says stays as it is: its PATH, its home, its user, its directory and its command. ``words`` are
    the container's command and arguments."""
    given = {variable["name"] for variable in container.get("env") or ()}
    own = {name: value for name, value in env.items() if name in given or name not in _OURS}
    # Whether the image's user may run is known only when the image is there.
    checked = {**container, "securityContext": {**(container.get("securityContext") or {}), "runAsNonRoot": False}}
    return ContainerPlan(
        name=container["name"], image=str(container.get("image") or ""), environment=Environment(), by_engine=True,
        argv=words[0], arguments=words[1], env=own, workdir=container.get("workingDir") or "",
        mounts=tuple(_mounts(container, env)), security=security.of(pod, checked), limits=_limits(container),
        termination_message_path=container.get("terminationMessagePath") or TERMINATION_MESSAGE_PATH)


def hostname(pod: Object) -> str:
    return str(objects.spec(pod).get("hostname") or objects.name(pod))[:_DNS_LABEL_LIMIT].rstrip("-.")


def kernel_name(pod: Object) -> str:
    """What ``hostname`` says in its containers: with its domain where ``setHostnameAsFQDN`` asks for it. Raises
    ``ConfigError`` where the kernel does not hold so long a name."""
    short = hostname(pod)
    if not objects.spec(pod).get("setHostnameAsFQDN"):
        return short
    name = resolution.full_name(pod, short) or short
    if len(name) > _KERNEL_NAME_LIMIT:
        raise ConfigError(f"the Pod sets setHostnameAsFQDN, and its full name {name} is too long: {len(name)} "
                          f"characters, of {_KERNEL_NAME_LIMIT} that a hostname may have",
                          remedy="Give the Pod a shorter hostname or subdomain")
    return name


def _base_environment(pod: Object, surroundings: Surroundings) -> dict[str, str]:
    base = {**surroundings.service_links, "HOSTNAME": kernel_name(pod), "LANG": _BASE_LANG}
    if surroundings.api_host:
        host, port = surroundings.api_host, str(surroundings.api_port)
        base |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port,
                 "KUBERNETES_SERVICE_PORT_HTTPS": port, "KUBERNETES_PORT": f"tcp://{host}:{port}"}
    return base


def _may_be_warm(container: Mapping[str, Any], image: Image) -> bool:
    """Whether a forked interpreter cannot be told from a fresh one: nothing set that is read at its start."""
    return not image.with_lightship and not any(
        _INTERPRETER_SETTINGS.match(variable["name"]) for variable in container.get("env") or ()
    ) and not container.get("envFrom")


def _limits(container: Mapping[str, Any]) -> Limits:
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}

    def millis(amounts: Mapping[str, Any]) -> int:
        return int(quantities.parse(amounts["cpu"]) * 1000) if "cpu" in amounts else 0

    return Limits(memory_bytes=quantities.whole(limits["memory"]) if "memory" in limits else 0,
                  processes=PROCESSES_LIMIT, cpu_millis=millis(limits), cpu_request_millis=millis(requests))


def _mounts(container: Mapping[str, Any], env: Mapping[str, str]) -> list[VolumeMount]:
    for mount in container.get("volumeMounts") or ():
        if mount.get("mountPropagation") == "Bidirectional":
            raise ConfigError(f'the volume mount "{mount["name"]}" is Bidirectional, which this node does not give: '
                              "mounts of a container would reach the host", remedy="Take mountPropagation off")
    return [
        VolumeMount(volume=mount["name"], path=mount["mountPath"].rstrip("/") or "/",
                    sub_path=mount.get("subPath") or variables.expand(mount.get("subPathExpr") or "", env),
                    read_only=bool(mount.get("readOnly")))
        for mount in container.get("volumeMounts") or ()
    ]
