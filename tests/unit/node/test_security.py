"""What a securityContext comes to, and the filter of system calls as the kernel reads it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from lightship.cluster.node import security
from lightship.cluster.node.errors import ConfigError
from lightship.cluster.node.inside import seccomp

ALLOWED, REFUSED, UNKNOWN = 0x7FFF0000, 0x00050001, 0x00050026
X86, ARM = 0xC000003E, 0xC00000B7


def of(context: dict[str, Any], **pod: Any) -> security.Security:
    return security.of({"spec": pod}, {"name": "main", "securityContext": context})


def numbers(*names: str) -> tuple[int, ...]:
    return tuple(sorted(security.CAPABILITIES[name] for name in names))


def test_capabilities_are_the_default_less_drop_plus_add() -> None:
    assert of({}).capabilities == numbers(*security.DEFAULT_CAPABILITIES)
    assert of({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}).capabilities == (10,)
    assert of({"capabilities": {"drop": ["CAP_KILL", "chown"]}}).capabilities == numbers(
        *(security.DEFAULT_CAPABILITIES - {"KILL", "CHOWN"}))
    assert 19 in of({"capabilities": {"add": ["SYS_PTRACE"]}}).capabilities


@pytest.mark.parametrize(("context", "pod", "words"), [
    ({"privileged": True}, {}, "is privileged"),
    ({"capabilities": {"add": ["SYS_ADMIN"]}}, {}, "the capability SYS_ADMIN"),
    ({"capabilities": {"add": ["NET_ADMIN"]}}, {}, "the capability NET_ADMIN"),
    ({"capabilities": {"add": ["FLY"]}}, {}, "unknown capability"),
    ({}, {"hostPID": True}, "hostPID"),
    ({}, {"hostIPC": True}, "hostIPC"),
    ({"procMount": "Unmasked"}, {}, "unmasked /proc"),
    ({"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}, {}, "seccomp"),
])
def test_what_would_leave_the_sandbox_is_refused(context: dict[str, Any], pod: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        of(context, **pod)
    assert caught.value.waiting == "CreateContainerConfigError"


def test_the_containers_context_lies_over_the_pods() -> None:
    pod = {"securityContext": {"runAsUser": 5, "runAsGroup": 6, "seccompProfile": {"type": "Unconfined"}}}
    made = of({"runAsUser": 7, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}, **pod)
    assert made.run_as == security.RunAs(uid=7, gid=6)
    assert (made.read_only_root, made.no_new_privileges, made.confined) == (True, True, False)


def answer(program: bytes, architecture: int, number: int, first: int = 0) -> int:
    """Runs the filter as the kernel does."""
    data = struct.pack("=iIQQ", number, architecture, 0, first)
    steps = list(struct.iter_unpack("=HBBI", program))
    place = accumulator = 0
    while True:
        code, yes, no, value = steps[place]
        place += 1
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif code == 0x06:
            return int(value)
        else:
            hit = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            place += yes if hit else no


def test_the_filter_refuses_what_reaches_past_namespaces() -> None:
    program = seccomp.program("x86_64", True)
    for number in (165, 166, 155, 272, 308, 250, 321, 304, 323, 428, 429, 442, 425):
        assert answer(program, X86, number) == REFUSED, number
    for number in (0, 1, 2, 59, 57, 101, 231, 39, 237, 434):
        assert answer(program, X86, number) == ALLOWED, number
    assert answer(program, X86, 56, 0x11) == ALLOWED  # fork
    assert answer(program, X86, 56, 0x003D0F00) == ALLOWED  # a thread
    assert answer(program, X86, 56, 0x10000000 | 0x11) == REFUSED  # with a user namespace
    assert answer(program, X86, 435) == UNKNOWN  # clone3
    assert answer(program, X86, 0x40000000 | 1) == UNKNOWN
    assert answer(program, 0x40000003, 1) == UNKNOWN  # 32 bits


def test_an_unconfined_container_is_only_refused_keyrings() -> None:
    program = seccomp.program("aarch64", False)
    assert [answer(program, ARM, number) for number in (217, 218, 219)] == [REFUSED] * 3
    assert [answer(program, ARM, number) for number in (40, 97, 435, 220)] == [ALLOWED] * 4
