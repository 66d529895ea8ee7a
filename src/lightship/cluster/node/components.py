"""Recognises the command of a lightweight KFP component. Pure; ``plan`` calls me.

Upstream's SDK (2.1 to 2.17) writes ``sh -c '<pip install ...> && "$0" "$@"' sh -ec '<write $0 to a file, run
kfp.dsl.executor_main on it>' <source>``. What I recognise needs no pip and no shell at run time; anything else, however
close, is not mine and runs literally.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from lightship.cluster.node.catalogue import Install

PRELOAD = ("kfp.dsl.executor_main",)

_BOOTSTRAP = (
    'if ! [ -x "$(command -v pip)" ]; then python3 -m ensurepip || python3 -m ensurepip --user || '
    "apt-get install python3-pip fi PIP_DISABLE_PIP_VERSION_CHECK=1 "
)
_VENV = (
    'export PIP_DISABLE_PIP_VERSION_CHECK=1 tmp=$(mktemp -d) python3 -m venv "$tmp/venv" --system-site-packages '
    '. "$tmp/venv/bin/activate" '
)
"""What ``use_venv`` adds: an environment of its own, which ours is anyway."""
_RUN_REST = '&& "$0" "$@"'
_RUN = (
    'program_path=$(mktemp -d) printf "%s" "$0" > "$program_path/ephemeral_component.py" _KFP_RUNTIME=true python3 -m '
    'kfp.dsl.executor_main --component_module_path "$program_path/ephemeral_component.py" "$@"'
)
_FLAGS = frozenset({"--no-deps"})
_IGNORED_FLAGS = frozenset({"--quiet", "--no-warn-script-location"})
_VALUES = frozenset({"--index-url", "--extra-index-url", "--trusted-host"})


@dataclass(frozen=True, kw_only=True)
class Component:
    """A lightweight component: what it installs, its source, and the shell line that runs it without installing."""

    installs: tuple[Install, ...]
    source: str
    spawn: tuple[str, ...]
    """The inner command, which runs in an environment that has what ``installs`` says."""


def recognise(command: Sequence[str]) -> Component | None:
    """The component that ``command`` is, or None."""
    if len(command) != 7 or tuple(command[:2]) != ("sh", "-c") or tuple(command[3:5]) != ("sh", "-ec"):
        return None
    if _squeeze(command[5]) != _RUN:
        return None
    outer = _squeeze(command[2])
    if not outer.startswith(_BOOTSTRAP) or not outer.endswith(_RUN_REST):
        return None
    installs = _installs(outer[len(_BOOTSTRAP):-len(_RUN_REST)].replace(_VENV, "", 1))
    if installs is None:
        return None
    return Component(installs=installs, source=command[6], spawn=tuple(command[3:7]))


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _installs(commands: str) -> tuple[Install, ...] | None:
    try:
        words = shlex.split(commands)
    except ValueError:
        return None
    groups: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            groups.append([])
        else:
            groups[-1].append(word)
    found = [_install(group) for group in groups]
    installs = tuple(install for install in found if install is not None)
    has_kfp = any(package.split("==")[0].strip() == "kfp" for install in installs for package in install.packages)
    return installs if has_kfp and len(installs) == len(found) else None


def _install(words: list[str]) -> Install | None:
    if words[:4] != ["python3", "-m", "pip", "install"]:
        return None
    packages: list[str] = []
    options: list[str] = []
    no_deps = False
    rest = iter(words[4:])
    for word in rest:
        if word in _FLAGS:
            no_deps = True
        elif word in _VALUES:
            options += [word, next(rest, "")]
        elif word.startswith("-"):
            if word not in _IGNORED_FLAGS:
                return None
        else:
            packages.append(word)
    return Install(packages=tuple(packages), no_deps=no_deps, options=tuple(options)) if packages else None
