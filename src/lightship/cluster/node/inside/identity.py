"""Who a container's program is and what it may do: user, groups, capabilities, system calls, limits.

``container.py`` calls ``take`` in the child that becomes the program (the main one, and each that is executed later),
as its last deed. I call ``linux.py``, ``seccomp.py`` and, for users inside a user namespace, ``sandbox.py``.
"""

from __future__ import annotations

import os
import resource
from typing import Any

from . import linux, sandbox, seccomp

_OPEN_FILES = 65536
_SPARE = 36  # CAP_BLOCK_SUSPEND: no program has it, so none without SYS_PTRACE may look into the init


def take(spec: dict[str, Any]) -> None:
    """Becomes what ``spec["security"]`` says; after me nothing is left to gain."""
    security = spec.get("security") or {}
    user = security.get("user")
    sandboxed = spec.get("sandbox") is not None
    _limit(security)
    uid = int(user["uid"]) if user else 0
    if sandboxed and spec["sandbox"]["user_namespace"]:
        if user and (uid or user["gid"]):
            # One more user namespace, in which the only user there is has the wanted numbers.
            linux.unshare(linux.CLONE_NEWUSER)
            sandbox.map_user(0, 0, uid, int(user["gid"]))
    elif os.geteuid() == 0:
        os.setgroups(list(user["groups"]) if user else [])
        if user:
            os.setgid(int(user["gid"]))
    if sandboxed:
        if not _guarded(spec):
            seccomp.install(bool(security.get("confined", True)))
        _drop(security, uid)
    elif uid and os.geteuid() == 0:
        os.setuid(uid)
    if security.get("no_new_privileges"):
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def guard_init(spec: dict[str, Any]) -> None:
    """For a container's first process, once its root is made: it keeps nothing that leads out of the container.

    A program with SYS_PTRACE may write into it, so its system calls are those of programs from here on, and its
    capabilities too, but for what makes programs of several users.
    """
    if not _guarded(spec):
        return
    security = spec.get("security") or {}
    seccomp.install(bool(security.get("confined", True)))
    linux.drop_capabilities(sorted({*security.get("capabilities", ()), *linux.KEPT_CAPABILITIES, _SPARE}))


def _guarded(spec: dict[str, Any]) -> bool:
    """Not where programs get a user namespace of their own: that is yet to be made, and they cannot reach out of it."""
    sandbox_spec, user = spec.get("sandbox"), (spec.get("security") or {}).get("user")
    return sandbox_spec is not None and not (sandbox_spec["user_namespace"] and user and (user["uid"] or user["gid"]))


def _drop(security: dict[str, Any], uid: int) -> None:
    kept = tuple(security.get("capabilities", linux.KEPT_CAPABILITIES))
    if uid:
        linux.bound_capabilities(kept)
        os.setuid(uid)
        linux.drop_all_capabilities()
    else:
        linux.drop_capabilities(kept)


def _limit(security: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most > _OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, most))
    if security.get("cpus"):
        os.sched_setaffinity(0, security["cpus"])
    with open("/proc/self/oom_score_adj", "r+") as adjustment:
        wanted = int(security.get("oom_score", 0))
        if wanted > int(adjustment.read()):  # to raise it is allowed to everybody, to lower it to few
            adjustment.seek(0)
            adjustment.write(str(wanted))
    if security.get("processes"):  # counted in the container's own user namespace
        count = int(security["processes"])
        resource.setrlimit(resource.RLIMIT_NPROC, (count, count))
