"""What a container's root holds: the allow-list of host entries, and where an environment and volumes go. Pure.

``supervisor`` calls me; ``inside/sandbox.py`` applies the list in order. The one look at the machine, which host
entries exist, is ``survey()``, made once when the node starts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOP = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32", "/nix/store", "/gnu/store")
_ETC = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls",
    "pki/ca-trust", "crypto-policies", "resolv.conf", "nsswitch.conf", "localtime", "timezone", "mime.types",
    "protocols", "services", "host.conf", "gai.conf", "alternatives", "os-release", "debian_version", "magic",
    "python3", "fonts", "profile", "bash.bashrc", "terminfo",
)
_RESOLUTION = ("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")
"""What says how names are found: a Pod with a resolver of its own has its own."""
_NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_LIVE = ("/etc/resolv.conf",)
"""Files that change while the node runs: mounted, so that containers started later see the change."""
COPY_LIMIT_BYTES = 64 * 1024
_SYS = ("/sys/devices/system",)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The allow-listed host entries that this machine has: (path, target of the link or empty)."""

    entries: tuple[tuple[str, str], ...]
    copied: frozenset[str] = frozenset()
    """Small files among them that are copied rather than mounted: a mount costs ten times as much."""


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One mount of a container: a host path at ``target``."""

    source: str
    target: str
    read_only: bool = False
    beneath: str = ""
    """A path under ``source`` that is meant, made if it is missing; no link in it leads out of ``source``."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """How a container names itself and its neighbours."""

    hostname: str
    pod_ip: str
    uid: int = 0
    gid: int = 0
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The Pod's ``hostAliases``: (address, names)."""
    full_name: str = ""
    """Its name with its domain, where it has one."""
    kernel_name: str = ""
    """What ``hostname`` says where that is not ``hostname``."""
    resolver: str = ""
    """The Pod's own resolv.conf; empty for the host's."""


def gpu_devices(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """The names of what a program needs to use NVIDIA's GPUs. Which of them it uses the driver's variables say."""
    return tuple(sorted(path.name for path in devices.glob("nvidia*") if not path.is_dir()))


def survey() -> Survey:
    """Looks at the machine."""
    found = []
    for path in (*_TOP, *(f"/etc/{name}" for name in _ETC), *_SYS):
        if os.path.islink(path) and path in _TOP:
            found.append((path, os.readlink(path)))
        elif os.path.exists(path):
            found.append((path, ""))
    copied = {path for path, _ in found if path.startswith("/etc/") and path not in _LIVE and os.path.isfile(path)
              and os.path.getsize(path) <= COPY_LIMIT_BYTES and os.access(path, os.R_OK)}
    return Survey(entries=tuple(found), copied=frozenset(copied))


@dataclass(frozen=True, kw_only=True)
class Root:
    """Everything that decides one container's root."""

    survey: Survey
    mountpoint: str
    environment: tuple[str, ...]
    """Directories of the environment and of its base interpreter, shown read-only at their own paths."""
    scratch: str
    """The container's own directory on disk, with ``tmp`` and ``home`` in it."""
    volumes: tuple[Mount, ...]
    identity: Identity
    user_namespace: bool
    tmpfs: Mapping[str, int]
    """Volumes that are memory: container path to size in bytes, 0 for no limit of their own."""
    read_only: bool = False
    """Whether only volumes may be written to."""
    interfaces: tuple[str, ...] = ()
    """The names of its network's interfaces, where it has a network of its own: programs look for them in /sys."""
    home: str = "/root"
    """Where the container's own home directory is."""
    devices: tuple[str, ...] = ()
    """Names below ``/dev`` that it has beyond what every container has."""


def sandbox_of(root: Root) -> dict[str, Any]:
    """The sandbox part of a request to a zygote."""
    mounts: list[dict[str, Any]] = []
    for path, link in root.survey.entries:
        if root.identity.resolver and path in _RESOLUTION:
            continue
        if link:
            mounts.append({"kind": "symlink", "source": link, "target": path})
        elif path in root.survey.copied:
            mounts.append({"kind": "copy", "source": path, "target": path})
        else:
            mounts.append(_bind(path, path, read_only=True))
    covered = [path for path, link in root.survey.entries if not link]
    mounts += _own_files(root.identity, root.home)
    mounts.append(_bind(f"{root.scratch}/home", root.home, read_only=root.read_only))
    mounts.append(_bind(f"{root.scratch}/tmp", "/tmp", read_only=root.read_only))
    mounts += [{"kind": "directory", "target": "/var/tmp", "mode": 0o1777},
               {"kind": "directory", "target": "/run", "mode": 0o755}]
    mounts += [{"kind": "directory", "target": f"/sys/class/net/{name}", "mode": 0o755} for name in root.interfaces]
    covered = [path for path, link in root.survey.entries if not link]
    # Environments last among equals: an interpreter or the node's directory may lie below the home or /tmp.
    inner = [_bind(path, path, read_only=True) for path in root.environment
             if not any(path == top or path.startswith(top + "/") for top in covered)]
    inner += [_bind(volume.source, volume.target, read_only=volume.read_only) | (
        {"beneath": volume.beneath} if volume.beneath else {}) for volume in root.volumes]
    inner += [{"kind": "tmpfs", "target": target, "size_bytes": size, "mode": 0o1777}
              for target, size in root.tmpfs.items()]
    mounts += sorted(inner, key=lambda entry: str(entry["target"]))
    return {"root": root.mountpoint, "user_namespace": root.user_namespace, "hostname": _kernel_name(root.identity),
            "read_only": root.read_only, "mounts": mounts, "devices": list(root.devices)}


def hosts(identity: Identity) -> str:
    """What a container's /etc/hosts says."""
    said = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    if identity.pod_ip:
        # Also as its peers call it, before the name server knows of a Pod that has just begun.
        as_peers = ".".join(identity.full_name.split(".")[:2])
        names = [name for name in (identity.full_name, as_peers, identity.hostname) if name]
        said += f"{identity.pod_ip}\t{' '.join(dict.fromkeys(names))}\n"
    for address, aliases in identity.hosts:
        said += f"{address}\t{' '.join(aliases)}\n"
    return said


def _kernel_name(identity: Identity) -> str:
    return identity.kernel_name or identity.hostname


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"kind": "bind", "source": source, "target": target, "read_only": read_only}


def _own_files(identity: Identity, home: str) -> list[dict[str, Any]]:
    passwd = f"root:x:0:0:root:{home}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    group = "root:x:0:\nnogroup:x:65534:\n"
    if identity.uid not in (0, 65534):
        passwd += f"user:x:{identity.uid}:{identity.gid}:user:{home}:/bin/sh\n"
    if identity.gid not in (0, 65534):
        group += f"user:x:{identity.gid}:\n"
    files = {"/etc/passwd": passwd, "/etc/group": group, "/etc/hosts": hosts(identity),
             "/etc/hostname": _kernel_name(identity) + "\n"}
    if identity.resolver:
        files |= {"/etc/resolv.conf": identity.resolver, "/etc/nsswitch.conf": _NSSWITCH}
    return [{"kind": "file", "target": path, "content": content} for path, content in files.items()]
