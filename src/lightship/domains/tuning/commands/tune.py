"""``lightship tune``: apply a file's Experiments, and with ``--follow`` watch one until it ends."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from lightship import errors
from lightship.cli import connection, exits
from lightship.cli.connection import Platform
from lightship.domains.tuning import kinds
from lightship.domains.tuning.commands import progress
from lightship.kube import objects
from lightship.kube.objects import Key, Object

LIMIT_FILE_BYTES = 10 * 1024 * 1024
POLL_SECONDS = 0.25
POLL_SHARE = 4.0
"""Times as long as an answer took are waited for the next."""
QUIET_SECONDS = 5.0
"""Without a terminal, a line of progress comes at most so often."""


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = connection.action(verbs, "tune", "start an Experiment of a file, and watch it", _tune)
    parser.description = ("Apply the Experiment that a YAML or JSON file holds, as kubectl apply would; - reads "
                          "standard input. Where it exists already, its budget (maxTrialCount and its siblings) may "
                          "be raised so.")
    parser.add_argument("file", metavar="FILE", help="the Experiment's file, or - for standard input")
    parser.add_argument("-f", "--follow", action="store_true", help="show its progress until it ends")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text",
                        help="json: the Experiment on standard output, the progress on standard error")


async def _tune(platform: Platform, arguments: argparse.Namespace) -> int:
    wanted = read(arguments.file)
    out = sys.stdout if arguments.output == "text" else sys.stderr
    experiment = await _apply(platform, wanted)
    key = Key(objects.namespace(experiment), objects.name(experiment))
    out.write(f"experiment {key.name} is in the namespace {key.namespace}\n")
    if not arguments.follow:
        if arguments.output == "json":
            sys.stdout.write(json.dumps(experiment, indent=2) + "\n")
        else:
            out.write(f"  its trials: lightship trials {key.name} -n {key.namespace}\n")
        return exits.OK
    experiment = await _follow(platform, key, out)
    if arguments.output == "json":
        sys.stdout.write(json.dumps(experiment, indent=2) + "\n")
    out.write("".join(f"{line}\n" for line in progress.summary(experiment)))
    return exits.OK if progress.succeeded(experiment) else exits.FAILED


def read(file: str) -> Object:
    """The one Experiment of a file. Raises ``errors.InvalidInput``."""
    import yaml

    try:
        if file == "-":
            text = sys.stdin.read(LIMIT_FILE_BYTES + 1)
        else:
            with Path(file).open(encoding="utf-8") as stream:
                text = stream.read(LIMIT_FILE_BYTES + 1)
        if len(text) > LIMIT_FILE_BYTES:
            raise errors.TooLarge(f"{file} is larger than {LIMIT_FILE_BYTES // 1024**2} MiB")
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise errors.InvalidInput(f"cannot read {file}: {error}") from error
    return _only_experiment(file, documents)


def _only_experiment(file: str, documents: Sequence[Any]) -> Object:
    found = [one for one in documents if isinstance(one, dict) and one.get("kind") == kinds.EXPERIMENTS.kind
             and one.get("apiVersion") == kinds.EXPERIMENTS.api_version]
    if len(found) != 1 or len(documents) != 1:
        said = ", ".join(str(one.get("kind", "?")) if isinstance(one, dict) else "?" for one in documents) or "nothing"
        raise errors.InvalidInput(f"{file} holds {said}, and not one Experiment of {kinds.EXPERIMENTS.api_version}",
                                  remedy="put what the Experiment needs beside it into a file of its own, and apply "
                                         "that with kubectl")
    experiment: Object = found[0]
    return experiment


async def _apply(platform: Platform, wanted: Object) -> Object:
    metadata = dict(wanted.get("metadata") or {})
    metadata["namespace"] = metadata.get("namespace") or platform.namespace
    wanted = dict(wanted) | {"metadata": metadata}
    if not metadata.get("name"):
        if not metadata.get("generateName"):
            raise errors.InvalidInput("the Experiment has neither a name nor a generateName", field="metadata.name")
        return await platform.kube.create(kinds.EXPERIMENTS, wanted)
    key = Key(str(metadata["namespace"]), str(metadata["name"]))
    return await platform.kube.patch(kinds.EXPERIMENTS, key, wanted, type="apply")


async def _follow(platform: Platform, key: Key, stream: TextIO) -> Object:
    """Show the progress until the Experiment has ended; the Experiment as it is then."""
    terminal = stream.isatty()
    pace = progress.Pace()
    said, said_at = "", 0.0
    try:
        while True:
            before = time.monotonic()
            experiment = await platform.kube.get(kinds.EXPERIMENTS, key.name, key.namespace)
            now = time.monotonic()
            line = progress.line(experiment, pace.of(experiment, now))
            over = progress.ended(experiment)
            if terminal:
                stream.write("\r\033[K" + line[:_columns()] + ("\n" if over else ""))
            elif line != said and (over or now - said_at >= QUIET_SECONDS):
                stream.write(line + "\n")
                said, said_at = line, now
            stream.flush()
            if over:
                return experiment
            await asyncio.sleep(max(POLL_SECONDS, POLL_SHARE * (now - before)))
    except errors.NotFound as error:
        raise errors.NotFound(f"the experiment {key.name} was deleted while it was followed") from error


def _columns() -> int:
    try:
        return os.get_terminal_size().columns - 1
    except OSError:
        return 200
