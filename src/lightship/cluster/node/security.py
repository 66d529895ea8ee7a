"""What a container's securityContext comes to on this node. Pure; ``plan`` calls me, ``inside/identity.py`` applies it.

Invariant 9 comes first: what would let a container out of its sandbox (privileged, the host's namespaces, a capability
over the host) is refused with a reason, never silently ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightship.cluster.node.errors import ConfigError
from lightship.kube import objects
from lightship.kube.objects import Object

IMAGE_USER = 1000
"""Who a container with ``runAsNonRoot`` and no ``runAsUser`` is: environments, unlike images, name no user."""

CAPABILITIES = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6,
    "SETUID": 7, "SETPCAP": 8, "LINUX_IMMUTABLE": 9, "NET_BIND_SERVICE": 10, "NET_BROADCAST": 11, "NET_ADMIN": 12,
    "NET_RAW": 13, "IPC_LOCK": 14, "IPC_OWNER": 15, "SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_CHROOT": 18,
    "SYS_PTRACE": 19, "SYS_PACCT": 20, "SYS_ADMIN": 21, "SYS_BOOT": 22, "SYS_NICE": 23, "SYS_RESOURCE": 24,
    "SYS_TIME": 25, "SYS_TTY_CONFIG": 26, "MKNOD": 27, "LEASE": 28, "AUDIT_WRITE": 29, "AUDIT_CONTROL": 30,
    "SETFCAP": 31, "MAC_OVERRIDE": 32, "MAC_ADMIN": 33, "SYSLOG": 34, "WAKE_ALARM": 35, "BLOCK_SUSPEND": 36,
    "AUDIT_READ": 37, "PERFMON": 38, "BPF": 39, "CHECKPOINT_RESTORE": 40,
}
"""The kernel's numbers by Kubernetes' names."""

DEFAULT_CAPABILITIES = frozenset({
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE",
    "SYS_CHROOT", "AUDIT_WRITE", "SETFCAP",
})
"""What container runtimes leave to root, less MKNOD (there is no device group here) and NET_RAW, which on the host's
network would read the traffic of every other Pod and of the platform."""

_ADDABLE = DEFAULT_CAPABILITIES | {
    "NET_BROADCAST", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_PTRACE", "SYS_NICE", "LEASE"}
_HOST_NAMESPACES = ("hostPID", "hostIPC")


@dataclass(frozen=True, kw_only=True)
class RunAs:
    """Who the container runs as, where the node can choose."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Security:
    """What one container may do."""

    run_as: RunAs | None = None
    capabilities: tuple[int, ...] = tuple(sorted(CAPABILITIES[name] for name in DEFAULT_CAPABILITIES))
    no_new_privileges: bool = False
    read_only_root: bool = False
    confined: bool = True
    """Whether system calls that no container needs are refused (seccomp ``RuntimeDefault``, our default too)."""

    raw_network: bool = True
    """Whether NET_RAW is wanted, which reaches as far as the network namespace does: it is given in a Pod's own."""

    def with_network(self) -> tuple[int, ...]:
        """The capabilities in a network namespace of the Pod's own."""
        return tuple(sorted({*self.capabilities, *((CAPABILITIES["NET_RAW"],) if self.raw_network else ())}))


def of(pod: Object, container: Mapping[str, Any]) -> Security:
    """The container's security. Raises ``ConfigError`` for what the node does not give."""
    spec = objects.spec(pod)
    shared, own = spec.get("securityContext") or {}, container.get("securityContext") or {}
    merged = {**shared, **own}
    name = container.get("name")
    if own.get("privileged"):
        raise ConfigError(f'container "{name}" is privileged, which this node does not give: a privileged process '
                          "could read every other Pod and the platform",
                          remedy="Take privileged off; add the single capabilities that are needed")
    for field in _HOST_NAMESPACES:
        if spec.get(field):
            raise ConfigError(f"the Pod asks for {field}, which this node does not give: Pods do not see the host's "
                              "processes", remedy=f"Take {field} off")
    count = sum(len(spec.get(field) or ()) for field in ("containers", "initContainers"))
    if spec.get("shareProcessNamespace") and count > 1:
        raise ConfigError("the Pod asks for shareProcessNamespace, which this node does not give: the processes of a "
                          "container end with its first process, in a namespace of their own",
                          remedy="Take shareProcessNamespace off")
    if own.get("procMount") not in (None, "Default"):
        raise ConfigError(f'container "{name}" asks for an unmasked /proc, which this node does not give',
                          remedy="Take procMount off")
    profile = (own.get("seccompProfile") or shared.get("seccompProfile") or {}).get("type")
    if profile == "Localhost":
        raise ConfigError(f'container "{name}" names a seccomp profile of the node, and this node has none',
                          remedy="Use the type RuntimeDefault or Unconfined")
    asked = own.get("capabilities") or {}
    dropped, added = ({_plain(entry) for entry in asked.get(verb) or ()} for verb in ("drop", "add"))
    return Security(
        run_as=run_as(merged), capabilities=capabilities(str(name), asked),
        raw_network=bool("NET_RAW" in added or not dropped & {"ALL", "NET_RAW"}),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        read_only_root=bool(own.get("readOnlyRootFilesystem")), confined=profile != "Unconfined")


def run_as(merged: Mapping[str, Any]) -> RunAs | None:
    """Who a container is, from its securityContext laid over its Pod's; None for whoever the node chooses."""
    uid = merged.get("runAsUser")
    if uid is None and merged.get("runAsNonRoot"):
        uid = IMAGE_USER
    group, fs_group = merged.get("runAsGroup"), merged.get("fsGroup")
    extra = tuple(merged.get("supplementalGroups") or ())
    if uid is None and group is None and fs_group is None and not extra:
        return None
    if uid == 0 and merged.get("runAsNonRoot"):
        raise ConfigError("container's runAsUser breaks non-root policy")
    groups = (*extra, *((fs_group,) if fs_group is not None else ()))
    return RunAs(uid=uid or 0, gid=group if group is not None else 0, groups=groups)


def capabilities(container: str, asked: Mapping[str, Any]) -> tuple[int, ...]:
    """The kept capabilities: the default set, less ``drop``, with ``add``."""
    dropped = {_plain(name) for name in asked.get("drop") or ()}
    added = {_plain(name) for name in asked.get("add") or ()}
    if unknown := sorted((dropped | added) - set(CAPABILITIES) - {"ALL"}):
        raise ConfigError(f'container "{container}": unknown capability "{unknown[0]}"')
    kept = set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES) - dropped
    if "ALL" in added:
        kept |= _ADDABLE - dropped
    for name in sorted(added - {"ALL"}):
        if name not in _ADDABLE:
            raise ConfigError(f'container "{container}" asks for the capability {name}, which this node does not give: '
                              "it reaches beyond the container", remedy=f"Take {name} off capabilities.add")
        kept.add(name)
    kept.discard("NET_RAW")  # see ``raw_network``
    return tuple(sorted(CAPABILITIES[name] for name in kept))


def _plain(name: str) -> str:
    return name.upper().removeprefix("CAP_")
