"""Programs that an image has and this machine need not: which of ours stand in for them, and at which paths.

``plan`` asks me for what an environment's image would have (pure), ``runner`` for the files on disk. MPI's images come
with ssh and its server: an environment with an MPI in it gets ``programs/remote_shell.py`` as both. Open MPI 5 has
other names for settings than the Open MPI 4 that Kubeflow's controllers speak to: what a Pod says in the old ones is
said in the new ones too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lightship.cluster.node.catalogue import Environment

_PROGRAMS = Path(__file__).with_name("programs")
_MPI = re.compile(r"(openmpi|mpich|impi-rt)(?=[^A-Za-z0-9._-]|\Z)", re.IGNORECASE)
_REMOTE_SHELL = "remote_shell.py"
_OF_MPI = {"/usr/sbin/sshd": _REMOTE_SHELL, "/usr/bin/ssh": _REMOTE_SHELL}
_FULL_NAMES = "OMPI_MCA_orte_keep_fqdn_hostnames"
_RENAMED = {
    "OMPI_MCA_orte_default_hostfile": "PRTE_MCA_prte_default_hostfile",
    _FULL_NAMES: "PRTE_MCA_prte_keep_fqdn_hostnames",
    "OMPI_MCA_orte_set_default_slots": "PRTE_MCA_prte_set_default_slots",
    "OMPI_MCA_plm_rsh_agent": "PRTE_MCA_plm_ssh_agent",
    "OMPI_MCA_plm_rsh_args": "PRTE_MCA_plm_ssh_args",
}
_LIBRARY = {"MLX_MPI_LIBNAME": "libmpi.so.40"}
"""MLX loads ``libmpi.so``, which in Open MPI's wheel is a script for linkers."""
_UNRESOLVED = "PRTE_MCA_prte_do_not_resolve"


def has_mpi(environment: Environment) -> bool:
    return any(_MPI.match(package) for install in environment.installs for package in install.packages)


def of(environment: Environment) -> Mapping[str, str]:
    """Paths in the container, and the files in ``programs`` that are there."""
    return _OF_MPI if has_mpi(environment) else {}


def variables(environment: Environment, env: Mapping[str, str]) -> dict[str, str]:
    """What such an image would set, and Open MPI 5's names for what ``env`` says in Open MPI 4's; but for what is
    given."""
    if not has_mpi(environment):
        return {}
    said = {new: env[old] for old, new in _RENAMED.items() if old in env}
    # A host of the list may be the launcher itself, by its full name: Open MPI 4 looked, Open MPI 5 must be told to.
    resolving = {_UNRESOLVED: "0"} if _FULL_NAMES in env else {}
    return {name: value for name, value in (_LIBRARY | said | resolving).items() if name not in env}


def placed(files: Iterable[str], directory: Path) -> dict[str, str]:
    """The files' paths as programs under ``directory``, written where they are not there: a package's own files may
    not be executed wherever it is installed."""
    found = {}
    for name in files:
        place, content = directory / name, (_PROGRAMS / name).read_bytes()
        if not place.exists() or place.read_bytes() != content:
            directory.mkdir(parents=True, exist_ok=True)
            fresh = place.with_name(f"{name}.{os.getpid()}")
            fresh.write_bytes(content)
            fresh.chmod(0o755)
            os.rename(fresh, place)
        found[name] = str(place)
    return found
