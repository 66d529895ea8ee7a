"""``lightship runs``: list, get, logs, retry, stop, archive and delete runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lightship import errors
from lightship.cli import connection, exits, tables
from lightship.cli.connection import Platform
from lightship.domains.pipelines.commands import finding, follow, logs, tree, view

STATES = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELING", "CANCELED", "SKIPPED", "PAUSED")
LIMIT_PAGE = 200


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    runs = verbs.add_parser("runs", help="list runs, look into one, stop it, run it again",
                            description="List runs, look into one, stop it, or run again what failed of it.")
    actions = runs.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listed = connection.action(actions, "list", "list runs, the newest first", _list)
    listed.add_argument("--state", choices=[state.lower() for state in STATES], help="only runs in this state")
    listed.add_argument("--experiment", default="", metavar="NAME", help="only runs of this experiment")
    listed.add_argument("--archived", action="store_true", help="the archived ones, too")
    listed.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (default 20)")
    tables.add(listed)

    got = connection.action(actions, "get", "show a run's steps", _get)
    got.add_argument("-f", "--follow", action="store_true", help="go on showing until it ends")
    got.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="how to show it")
    _names(got)

    printed = connection.action(actions, "logs", "print the logs of a run's steps", _logs)
    printed.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")
    printed.add_argument("--tail", type=int, default=-1, metavar="N", help="the last N lines of each step only")
    _names(printed)
    printed.add_argument("step", metavar="STEP", nargs="?", default="", help="a step's name or path (default: all)")

    retried = connection.action(actions, "retry", "run again what failed of a run", _retry)
    retried.add_argument("-f", "--follow", action="store_true", help="show the run until it ends")
    _names(retried)
    for name, help, act in (("stop", "stop a run; its exit handlers run", _each(":terminate")),
                            ("archive", "archive a run", _each(":archive")),
                            ("unarchive", "take a run out of the archive", _each(":unarchive"))):
        _names(connection.action(actions, name, help, act), several=True)
    deleted = connection.action(actions, "delete", "delete a run and its records", _delete)
    _names(deleted, several=True)


def _names(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    parser.add_argument("run", metavar="RUN", nargs="+" if several else None, help=finding.HELP)


async def _list(platform: Platform, arguments: argparse.Namespace) -> int:
    predicates = []
    if arguments.state:
        predicates.append({"operation": "EQUALS", "key": "state", "stringValue": arguments.state.upper()})
    if not arguments.archived:
        predicates.append({"operation": "EQUALS", "key": "storage_state", "stringValue": "AVAILABLE"})
    query = {"page_size": str(max(1, min(arguments.limit, LIMIT_PAGE)))}
    if predicates:
        query["filter"] = json.dumps({"predicates": predicates})
    if arguments.experiment:
        query["experiment_id"] = await finding.experiment_id(platform, arguments.experiment)
        if not query["experiment_id"]:
            raise errors.NotFound(f'there is no experiment "{arguments.experiment}" in the namespace '
                                  f"{platform.namespace}")
    found = await finding.page(platform, query)
    now = datetime.now(UTC)
    tables.write(arguments.output, found, [
        tables.Column("RUN", lambda run: str(run["run_id"])),
        tables.Column("NAME", lambda run: str(run.get("display_name", ""))),
        tables.Column("STATE", lambda run: view.said(str(run.get("state", ""))), style=_style),
        tables.Column("AGE", lambda run: tables.age(run.get("created_at"), now)),
        tables.Column("TOOK", lambda run: _took(run)),
        tables.Column("EXPERIMENT", lambda run: str(run.get("experiment_id", "")), wide=True),
        tables.Column("ERROR", lambda run: view.short(str((run.get("error") or {}).get("message", ""))), wide=True),
    ], nothing=f"no runs in the namespace {platform.namespace}")
    return exits.OK


def _style(run: dict[str, Any]) -> str:
    return view.MARKS.get(str(run.get("state")), ("", ""))[1]


def _took(run: dict[str, Any]) -> str:
    seconds = tree.of_run({key: run.get(key) for key in ("created_at", "finished_at", "state")}).seconds(
        datetime.now(UTC))
    return "" if seconds is None else view.duration(seconds)


async def _get(platform: Platform, arguments: argparse.Namespace) -> int:
    run_id = await finding.run_id(platform, arguments.run)
    if arguments.follow:
        run = await follow.follow(platform, run_id, follow.progress_stream(arguments.output))
    else:
        run = await platform.kfp(f"{follow.RUNS}/{run_id}")
    if arguments.output == "json":
        sys.stdout.write(json.dumps(run, indent=2) + "\n")
    elif arguments.output == "yaml":
        import yaml

        sys.stdout.write(yaml.safe_dump(run, sort_keys=False))
    elif not arguments.follow:
        view.write(tree.of_run(run), datetime.now(UTC), sys.stdout)
    if run.get("state") not in tree.FINAL or (arguments.output != "text" and not arguments.follow):
        return exits.OK
    code = await follow.explain(platform, run, follow.progress_stream(arguments.output))
    return code if arguments.follow else exits.OK


async def _logs(platform: Platform, arguments: argparse.Namespace) -> int:
    run_id = await finding.run_id(platform, arguments.run)
    wanted = logs.Wanted(run_id=run_id, step=arguments.step, follow=arguments.follow, tail=arguments.tail)
    return await logs.write(platform, wanted, sys.stdout)


async def _retry(platform: Platform, arguments: argparse.Namespace) -> int:
    run_id = await finding.run_id(platform, arguments.run)
    await platform.send("POST", f"{follow.RUNS}/{run_id}:retry", {})
    sys.stdout.write(f"run {run_id} runs again what failed\n")
    if not arguments.follow:
        return exits.OK
    run = await follow.follow(platform, run_id, sys.stdout)
    return await follow.explain(platform, run, sys.stdout)


_DID = {":terminate": "is being stopped", ":archive": "is archived", ":unarchive": "is out of the archive"}


def _each(action: str) -> connection.Act:
    async def act(platform: Platform, arguments: argparse.Namespace) -> int:
        return await _every(platform, arguments.run, "POST", action, _DID[action])

    return act


async def _delete(platform: Platform, arguments: argparse.Namespace) -> int:
    return await _every(platform, arguments.run, "DELETE", "", "is deleted")


async def _every(platform: Platform, wanted: Sequence[str], method: str, action: str, did: str) -> int:
    """The same for each of several runs; one that cannot be is told and does not hold up the others."""
    code = exits.OK
    for name in wanted:
        try:
            run_id = await finding.run_id(platform, name)
            await platform.send(method, f"{follow.RUNS}/{run_id}{action}", {} if method == "POST" else None)
            sys.stdout.write(f"run {run_id} {did}\n")
        except errors.Unavailable:
            raise
        except errors.LightshipError as error:
            code = exits.report(error)
    return code
