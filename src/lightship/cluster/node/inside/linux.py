"""The system calls that Python does not wrap: mount, pivot_root, clone, prctl, capabilities. Linux only.

``sandbox.py`` and ``container.py`` call me; I call libc through ctypes, holding the GIL (a fork must).
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
_SIGCHLD = 17

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

# The call numbers differ by machine only for the old calls.
_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capset": 126, "mount_setattr": 442},
    "aarch64": {"clone": 220, "pivot_root": 41, "capset": 91, "mount_setattr": 442},
}
_OPENAT2 = 437  # on every machine
_RESOLVE_NO_MAGICLINKS = 2
_RESOLVE_BENEATH = 8
_RESOLVE_IN_ROOT = 16
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_MOUNT_ATTR_NOSUID = 2
_MOUNT_ATTR_NODEV = 4

# Where the node says nothing else (cluster/node/security.py has the names): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL,
# SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, AUDIT_WRITE, SETFCAP.
KEPT_CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 29, 31)
_LAST_CAPABILITY = 40

_libc = ctypes.PyDLL(None, use_errno=True)


def supported() -> bool:
    """Whether this machine's call numbers are known here."""
    return platform.machine() in _NUMBERS


def _number(name: str) -> int:
    return _NUMBERS[platform.machine()][name]


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    result = _libc.mount(
        os.fsencode(source) if source else None,
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(result, "mount {} on {}".format(source or kind or "", target))


def unmount(target: str) -> None:
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), "umount " + target)


def pivot_root(new: str, old: str) -> None:
    number = ctypes.c_long(_number("pivot_root"))
    _check(_libc.syscall(number, os.fsencode(new), os.fsencode(old)), "pivot_root")


class _MountAttributes(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def protect(target: str, read_only: bool) -> None:
    """Makes ``target`` and every mount below it nosuid and nodev, and read-only if asked. Never undoes a flag."""
    flags = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | (_MOUNT_ATTR_RDONLY if read_only else 0)
    attributes = _MountAttributes(flags, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_number("mount_setattr")),
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(_AT_RECURSIVE),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    if result == 0:
        return
    # Before Linux 5.12: only the top mount, and the flags it already has must be repeated.
    kept = os.statvfs(target).f_flag & (MS_NOEXEC | 1024 | 2048)
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | kept | (MS_RDONLY if read_only else 0)
    mount(None, target, None, flags)


def seal(target: str) -> None:
    """Makes the mount at ``target`` read-only, and none below it."""
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def open_beneath(root: int, path: str, flags: int) -> int:
    """Opens ``path`` under the directory ``root``; no link in it leads out, whoever changes it meanwhile. Raises
    OSError: EXDEV for what leads out."""
    return _open(root, path, flags, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)


def open_inside(root: int, path: str, flags: int) -> int:
    """Opens ``path`` as a process would whose root directory is ``root``. Raises OSError."""
    return _open(root, path, flags, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)


def _open(root: int, path: str, flags: int, resolve: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    result = _libc.syscall(ctypes.c_long(_OPENAT2), ctypes.c_int(root), os.fsencode(path), ctypes.byref(how),
                           ctypes.c_size_t(ctypes.sizeof(how)))
    return _check(int(result), "open " + path)


def clone(flags: int) -> int:
    """``fork`` into new namespaces, as ``os.fork`` would: 0 in the child. The caller has one thread."""
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _libc.syscall(
        ctypes.c_long(_number("clone")),
        ctypes.c_ulong(flags | _SIGCHLD),
        ctypes.c_void_p(0),
        ctypes.c_void_p(0),
        ctypes.c_void_p(0),
        ctypes.c_void_p(0),
    )
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, "clone: " + os.strerror(code))
    return int(pid)


def prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def prctl_pointer(option: int, value: int, argument: ctypes.Structure) -> None:
    """A prctl whose third argument is a structure."""
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), ctypes.byref(argument), zero, zero), f"prctl {option}")


def unshare(flags: int) -> None:
    """New namespaces for this very process."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that made it ends."""
    prctl(PR_SET_PDEATHSIG, 9)


def become_subreaper() -> None:
    prctl(PR_SET_CHILD_SUBREAPER, 1)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilityData(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def bound_capabilities(kept: Sequence[int]) -> None:
    """Nothing that this process executes can gain more than ``kept``."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in kept:
            # A kernel older than the capability answers EINVAL: it has nothing to drop.
            _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
    _libc.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0)


def drop_capabilities(kept: Sequence[int]) -> None:
    """Leaves ``kept`` to this process and whatever it executes."""
    bound_capabilities(kept)
    _set_capabilities(sum(1 << capability for capability in kept))


def drop_all_capabilities() -> None:
    """Leaves this process none; what it executes gets what its user has."""
    _set_capabilities(0)


def _set_capabilities(mask: int) -> None:
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = _CapabilityHeader(0x20080522, 0)
    data = (_CapabilityData * 2)(_CapabilityData(low, low, 0), _CapabilityData(high, high, 0))
    number = ctypes.c_long(_number("capset"))
    _check(_libc.syscall(number, ctypes.byref(header), ctypes.byref(data)), "capset")


def set_hostname(name: str) -> None:
    encoded = name.encode()[:64]
    _check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")
