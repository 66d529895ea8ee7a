"""A container's root: an allow-list of mounts on a tmpfs, entered by pivot_root. Linux only.

``container.py`` calls me in the first process of new namespaces; I call ``linux.py`` and ``seccomp.py``. The list of
mounts comes from the node (``cluster/node/layout.py``) in order, parents before children. Nothing is ever created
outside the tmpfs: a mount point that is missing under a read-only mount is made on an overlay of its nearest existing
ancestor.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from . import linux, seccomp

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_READ_ONLY_PROC = ("sys", "sysrq-trigger", "irq", "bus", "fs")
_MASKED_PROC = ("kcore", "keys", "timer_list", "sched_debug", "kmsg", "kallsyms")
_ROOT_LIMIT = "size=256m,mode=755"  # what a container may write outside /tmp, its home and its volumes
_SHARED_MEMORY_LIMIT = "size=64m,mode=1777"  # as container runtimes give


_copies: dict[str, bytes] = {}


def remember(sources: Iterable[str]) -> None:
    """In the fork server, before the fork: reads the small host files that containers get as copies, each once."""
    seccomp.remember()
    for source in sources:
        if source not in _copies:
            with open(source, "rb") as stream:
                _copies[source] = stream.read()


def map_user(outer_uid: int, outer_gid: int, uid: int, gid: int) -> None:
    """In a new user namespace: ``uid`` inside is ``outer_uid`` outside, and nobody else exists."""
    _write("/proc/self/setgroups", b"deny")
    _write("/proc/self/uid_map", f"{uid} {outer_uid} 1".encode())
    _write("/proc/self/gid_map", f"{gid} {outer_gid} 1".encode())


def enter(spec: dict[str, Any], workdir: str) -> None:
    """Builds the root at ``spec['root']`` (an empty directory) and makes it this process's ``/``."""
    root = spec["root"]
    # Private first: from here on no mount of ours can reach the host's tree.
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("lightship", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, _ROOT_LIMIT)
    overlaid: list[str] = []
    for entry in spec["mounts"]:
        try:
            _apply(root, entry, overlaid)
        except OSError as error:
            raise OSError(error.errno, "{} ({})".format(entry.get("target"), error.strerror)) from error
    _devices(root, spec.get("devices") or ())
    _proc(root, masked=not spec["user_namespace"])
    os.chdir(root)
    linux.pivot_root(".", ".")
    linux.unmount(".")
    os.chdir("/")
    if spec.get("hostname"):
        linux.set_hostname(spec["hostname"])
    if spec.get("read_only"):
        os.makedirs(workdir, exist_ok=True)
        for path in ["/", *(overlay[len(root):] for overlay in overlaid)]:
            linux.seal(path)


def _apply(root: str, entry: dict[str, Any], overlaid: list[str]) -> None:
    kind, target = entry["kind"], root + entry["target"]
    if kind == "symlink":
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(entry["source"], target)
    elif kind == "file":
        _write_file(target, entry["content"].encode())
    elif kind == "copy":
        _write_file(target, _copies[entry["source"]])
    elif kind == "directory":
        os.makedirs(target, exist_ok=True)
        os.chmod(target, entry.get("mode", 0o755))
    elif kind == "tmpfs":
        _ensure(root, target, True, overlaid)
        options = "mode={:o}".format(entry.get("mode", 0o1777))
        if entry.get("size_bytes"):
            options += f",size={entry['size_bytes']}"
        linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    elif kind == "bind":
        source, opened = entry["source"], -1
        if entry.get("beneath"):
            opened = open_sub_path(source, entry["beneath"])
            source = f"/proc/self/fd/{opened}"
        _ensure(root, target, os.path.isdir(source), overlaid)
        linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
        if opened >= 0:
            os.close(opened)
        linux.protect(target, bool(entry.get("read_only")))
    else:
        raise OSError(22, "unknown kind of mount " + kind)


def open_sub_path(volume: str, relative: str) -> int:
    """Opens a subPath; what is missing is made as directories. Another container may change the volume meanwhile, so
    each step is taken from a descriptor, and no link leads out."""
    root = os.open(volume, os.O_PATH | os.O_DIRECTORY)
    try:
        parts = [part for part in relative.split("/") if part not in ("", ".")]
        for count in range(1, len(parts) + 1):
            try:
                os.close(linux.open_beneath(root, "/".join(parts[:count]), os.O_PATH))
            except FileNotFoundError:
                parent = linux.open_beneath(root, "/".join(parts[:count - 1]) or ".", os.O_RDONLY | os.O_DIRECTORY)
                os.mkdir(parts[count - 1], 0o777, dir_fd=parent)
                os.chmod(parts[count - 1], 0o777, dir_fd=parent)
                os.close(parent)
        return linux.open_beneath(root, "/".join(parts) or ".", os.O_PATH)
    finally:
        os.close(root)


def _ensure(root: str, target: str, directory: bool, overlaid: list[str]) -> None:
    """Makes the mount point ``target``, on an overlay where its parents are read-only."""
    if os.path.lexists(target):
        return
    ancestor = os.path.dirname(target)
    while not os.path.isdir(ancestor):
        ancestor = os.path.dirname(ancestor)
    if os.statvfs(ancestor).f_flag & linux.MS_RDONLY:
        layer = f"{root}/.layers/{len(overlaid)}"
        os.makedirs(layer + "/upper")
        os.makedirs(layer + "/work")
        options = f"lowerdir={ancestor},upperdir={layer}/upper,workdir={layer}/work"
        linux.mount("overlay", ancestor, "overlay", linux.MS_NOSUID | linux.MS_NODEV, options)
        overlaid.append(ancestor)
    if directory:
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def _devices(root: str, more: Iterable[str]) -> None:
    dev = root + "/dev"
    os.makedirs(dev, exist_ok=True)
    for name in (*_DEVICES, *more):
        target = dev + "/" + name
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o666))
        linux.mount("/dev/" + name, target, None, linux.MS_BIND)
    for name, source in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                         ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")):
        os.symlink(source, dev + "/" + name)
    os.mkdir(dev + "/pts")
    linux.mount("devpts", dev + "/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666")
    if not os.path.isdir(dev + "/shm"):
        os.mkdir(dev + "/shm")
        linux.mount("shm", dev + "/shm", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, _SHARED_MEMORY_LIMIT)


def _proc(root: str, masked: bool) -> None:
    proc = root + "/proc"
    os.makedirs(proc, exist_ok=True)
    linux.mount("proc", proc, "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    if not masked:
        return
    # Root of the host's own user namespace may write these whatever its capabilities are.
    for name in _READ_ONLY_PROC:
        path = proc + "/" + name
        if os.path.exists(path):
            linux.mount(path, path, None, linux.MS_BIND | linux.MS_REC)
            linux.mount(None, path, None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID
                        | linux.MS_NODEV | linux.MS_NOEXEC)
    for name in _MASKED_PROC:
        if os.path.exists(proc + "/" + name):
            linux.mount("/dev/null", proc + "/" + name, None, linux.MS_BIND)


def _write_file(path: str, content: bytes) -> None:
    try:
        _write(path, content)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, content)


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
