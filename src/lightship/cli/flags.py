"""Flags that come from settings: each field of ``Settings`` is one flag, with its help and its environment variable."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Collection, Sequence

from lightship import settings

DATA_DIR = ("data_dir",)


def add(parser: argparse.ArgumentParser, only: Collection[str] | None = None) -> None:
    """Add the flags of all settings, or of those named in ``only``."""
    group = parser.add_argument_group("settings", "each can also be set by the environment variable in brackets")
    for field in dataclasses.fields(settings.Settings):
        if only is not None and field.name not in only:
            continue
        default = "" if field.default is None else f" (default {field.default})"
        group.add_argument(settings.flag(field.name), dest=field.name, metavar=_metavar(field.name),
                           help=f"{field.metadata['help']}{default} [{settings.variable(field.name)}]")


def read(arguments: argparse.Namespace) -> settings.Settings:
    """The settings that these arguments and the environment give."""
    names = [field.name for field in dataclasses.fields(settings.Settings)]
    return settings.read({name: getattr(arguments, name, None) for name in names}, os.environ)


def given(arguments: argparse.Namespace) -> Sequence[str]:
    """The settings given as flags, as arguments again, for a child process."""
    words: list[str] = []
    for field in dataclasses.fields(settings.Settings):
        value = getattr(arguments, field.name, None)
        if value is not None:
            words += [settings.flag(field.name), value]
    return words


def _metavar(name: str) -> str:
    words = {"data_dir": "DIR", "bind": "ADDRESS", "log_level": "LEVEL", "stop_timeout_seconds": "SECONDS",
             "artifacts": "PLACE", "launcher_image": "IMAGE", "artifacts_secret": "NAME", "artifacts_claim": "NAME"}
    return words.get(name, "PORT" if name.endswith("port") else "N")
