"""A filter for system calls that no container needs and that reach past namespaces: what runtimes' default refuses.

``identity.py`` calls me in the process that becomes the container's program; ``sandbox.remember`` has me build the
filter once in the fork server. Keyrings, which no namespace divides, are refused even to an unconfined container.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

from . import linux

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ARCHITECTURE_OFFSET, _NUMBER_OFFSET, _FIRST_ARGUMENT_OFFSET = 4, 0, 16
_X32 = 0x40000000
_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2

_KEYS = ("add_key", "request_key", "keyctl")
_NEW = {  # numbers that all machines share
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "quotactl_fd": 443,
}
_MACHINES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (0xC000003E, {
        "acct": 163, "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "clock_adjtime": 305,
        "clock_settime": 227, "clone": 56, "delete_module": 176, "init_module": 175, "finit_module": 313,
        "kcmp": 312, "kexec_load": 246, "kexec_file_load": 320, "mount": 165, "umount2": 166, "ioperm": 173,
        "iopl": 172, "lookup_dcookie": 212, "name_to_handle_at": 303, "open_by_handle_at": 304, "nfsservctl": 180,
        "perf_event_open": 298, "pivot_root": 155, "quotactl": 179, "reboot": 169, "setns": 308,
        "settimeofday": 164, "swapon": 167, "swapoff": 168, "syslog": 103, "sysfs": 139, "unshare": 272,
        "uselib": 134, "userfaultfd": 323, "ustat": 136, "vhangup": 153,
    }),
    "aarch64": (0xC00000B7, {
        "acct": 89, "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "clock_adjtime": 266,
        "clock_settime": 112, "clone": 220, "delete_module": 106, "init_module": 105, "finit_module": 273,
        "kcmp": 272, "kexec_load": 104, "kexec_file_load": 294, "mount": 40, "umount2": 39, "lookup_dcookie": 18,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "nfsservctl": 42, "perf_event_open": 241,
        "pivot_root": 41, "quotactl": 60, "reboot": 142, "setns": 268, "settimeofday": 170, "swapon": 224,
        "swapoff": 225, "syslog": 116, "unshare": 97, "userfaultfd": 282, "vhangup": 58,
    }),
}
_CLONE3 = 435

_programs: dict[bool, bytes] = {}


def remember() -> None:
    """In the fork server, before the fork: builds the filters once."""
    if not _programs:
        for confined in (True, False):
            _programs[confined] = program(platform.machine(), confined)


def program(machine: str, confined: bool) -> bytes:
    """The filter as the kernel takes it. What is refused answers EPERM; a foreign calling convention ENOSYS."""
    architecture, numbers = _MACHINES[machine]
    denied = [numbers[name] for name in _KEYS]
    if confined:
        denied += [number for name, number in numbers.items() if name != "clone" and name not in _KEYS]
        denied += list(_NEW.values())
    no_such_call, refused, allowed = 0, 1, 2
    steps: list[tuple[int, int, int, int]] = [(_JUMP_EQUAL, number, refused, -1) for number in sorted(denied)]
    if machine == "x86_64":
        steps.insert(0, (_JUMP_GREATER_EQUAL, _X32, no_such_call, -1))
    if confined:
        steps.append((_JUMP_EQUAL, _CLONE3, no_such_call, -1))  # its flags cannot be seen: libc falls back to clone
        steps.append((_JUMP_EQUAL, numbers["clone"], -1, allowed))
        steps.append((_LOAD, _FIRST_ARGUMENT_OFFSET, -1, -1))
        steps.append((_JUMP_BITS, _NAMESPACES, refused, allowed))
    else:
        steps.append((_JUMP_EQUAL, _X32 - 1, allowed, allowed))
    return _assemble(architecture, steps)


def _assemble(architecture: int, steps: list[tuple[int, int, int, int]]) -> bytes:
    """Jumps name one of the three ends by its place after ``steps``, or -1 for the next instruction."""
    head = [(_LOAD, _ARCHITECTURE_OFFSET, -1, -1), (_JUMP_EQUAL, architecture, -1, 0), (_LOAD, _NUMBER_OFFSET, -1, -1)]
    whole = [*head, *steps]
    ends = [(_RETURN, _ERRNO | errno.ENOSYS), (_RETURN, _ERRNO | errno.EPERM), (_RETURN, _ALLOW)]
    out = b""
    for place, (code, value, yes, no) in enumerate(whole):
        hops = [0 if end < 0 else len(whole) + end - place - 1 for end in (yes, no)]
        out += struct.pack("=HBBI", code, *(hops if code != _LOAD else (0, 0)), value)
    return out + b"".join(struct.pack("=HBBI", code, 0, 0, value) for code, value in ends)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(confined: bool) -> None:
    """For this process and all that it becomes and makes. Needs CAP_SYS_ADMIN in its user namespace."""
    remember()
    code = _programs[confined]
    linux.prctl_pointer(_PR_SET_SECCOMP, _MODE_FILTER, _Program(len(code) // 8, code))
