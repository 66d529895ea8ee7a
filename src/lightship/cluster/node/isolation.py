"""Which isolation this machine gives: found out once, by trying it, when the node starts.

``agent`` calls ``probe`` and writes the answer into the Node's conditions; ``runner`` keeps to it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass

from lightship.cluster.node import layout
from lightship.cluster.node.errors import ZygoteError
from lightship.cluster.node.processes import Request, Zygote


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """``available``: containers have their own mount and PID namespaces. ``reason`` says why not, or with what."""

    available: bool
    user_namespace: bool = False
    """Whether a user namespace is part of it, as for a normal user."""
    reason: str = ""

    @property
    def users(self) -> bool:
        """Whether a container can run as another user than the node's."""
        return self.available and not self.user_namespace


async def probe(zygote: Zygote, survey: layout.Survey, prefix: str) -> Isolation:
    """Runs one container in a sandbox and looks at what it says."""
    if not sys.platform.startswith("linux"):
        return Isolation(available=False, reason=f"there are no namespaces on {sys.platform}")
    user_namespace = os.geteuid() != 0
    with tempfile.TemporaryDirectory(prefix="lightship-probe-") as directory:
        for name in ("root", "home", "tmp"):
            os.mkdir(f"{directory}/{name}")
        sandbox = layout.sandbox_of(layout.Root(
            survey=survey, mountpoint=f"{directory}/root", environment=(prefix,), scratch=directory, volumes=(),
            tmpfs={}, user_namespace=user_namespace, identity=layout.Identity(hostname="probe", pod_ip="")))
        problem = await _try(zygote, Request(sandbox=sandbox, env={}, workdir="/", argv=("/bin/true",)))
    if problem:
        return Isolation(available=False, reason=f"namespaces cannot be made here: {problem}")
    with_what = "a user namespace each, with one user in it, so all files are that user's: fsGroup and " \
        "supplementalGroups mean nothing" if user_namespace else "as root"
    return Isolation(available=True, user_namespace=user_namespace,
                     reason="containers have their own mount, PID and host name namespaces, Pods their own IPC "
                            f"({with_what})")


async def _try(zygote: Zygote, request: Request) -> str:
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        process = zygote.spawn("probe", request, null)
        result = await process.wait()
    except ZygoteError as error:
        return str(error)
    finally:
        os.close(null)
    if process.error:
        return process.error
    return f"a container ended with {result.code}" if result.code else ""
