"""``lightship recurring``: pipelines that run by the clock; create, list, look into, enable, disable, delete them."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from lightship import errors
from lightship.cli import connection, durations, exits, tables
from lightship.cli.connection import Platform
from lightship.domains.pipelines.commands import finding, launching, view
from lightship.domains.pipelines.commands.finding import RECURRING
from lightship.kube.objects import Object
from lightship.lib import clock

LIMIT_PAGE = 200
_CREATE = """\
Run a pipeline by the clock. PIPELINE is what `lightship run` takes.

  lightship recurring create train.py --cron "0 30 3 * * *"      every night at 03:30:00 UTC
  lightship recurring create train.py --every 6h -p day='[[ScheduledTime]]'

Parameters may hold [[ScheduledTime]], [[CurrentTime]], [[RunUUID]] and [[Index]].
"""


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recurring = verbs.add_parser("recurring", help="run pipelines by the clock",
                                 description="Create, list, enable, disable and delete recurring runs.")
    actions = recurring.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _register_create(actions)
    listed = connection.action(actions, "list", "list recurring runs, the newest first", _list)
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50)")
    tables.add(listed)
    got = connection.action(actions, "get", "show a recurring run", _get)
    got.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="how to show it")
    got.add_argument("recurring", metavar="RECURRING", help=finding.HELP)
    for name, help, act in (
            ("enable", "enable recurring runs; the times that passed meanwhile are not made up for", _each("enable")),
            ("disable", "disable recurring runs; what runs goes on", _each("disable")),
            ("delete", "delete recurring runs; their runs stay", _each("delete"))):
        parser = connection.action(actions, name, help, act)
        parser.add_argument("recurring", metavar="RECURRING", nargs="+", help=finding.HELP)


def _register_create(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    create = actions.add_parser("create", help="run a pipeline by the clock", description=_CREATE,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    launching.add(create)
    when = create.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", metavar="SCHEDULE", help="second minute hour day month weekday, in UTC")
    when.add_argument("--every", type=durations.duration, metavar="TIME", help="a period, such as 90s, 6h or 1d")
    create.add_argument("--start", metavar="TIME", help="not before this time (RFC 3339)")
    create.add_argument("--end", metavar="TIME", help="not after this time (RFC 3339)")
    create.add_argument("--name", default="", help="what to call it (default: the pipeline's name)")
    create.add_argument("--experiment", default="", metavar="NAME", help="the experiment of its runs")
    create.add_argument("--concurrency", type=int, default=1, metavar="N", help="runs at once, 1 to 10 (default 1)")
    create.add_argument("--no-catchup", action="store_true",
                        help="of times that were missed make up for the latest only")
    create.add_argument("--disabled", action="store_true", help="do not begin before it is enabled")
    create.add_argument("-o", "--output", choices=("text", "json", "name"), default="text",
                        help="text, the recurring run as JSON, or its id alone")
    connection.add(create)
    create.set_defaults(handler=connection.handler(_create))


async def _create(platform: Platform, arguments: argparse.Namespace) -> int:
    launch = launching.prepared(arguments)
    body: Object = {
        "display_name": arguments.name or launch.name, "pipeline_spec": launch.spec,
        "runtime_config": {"parameters": launch.parameters},
        "trigger": trigger(arguments), "max_concurrency": str(arguments.concurrency),
        "no_catchup": arguments.no_catchup, "mode": "DISABLE" if arguments.disabled else "ENABLE",
        "namespace": platform.namespace}
    if arguments.experiment:
        body["experiment_id"] = await finding.needed_experiment(platform, arguments.experiment)
    made = await platform.send("POST", RECURRING.path, body, {"namespace": platform.namespace})
    if arguments.output == "json":
        sys.stdout.write(json.dumps(made, indent=2) + "\n")
    elif arguments.output == "name":
        sys.stdout.write(f"{made[RECURRING.id]}\n")
    else:
        sys.stdout.write(f"recurring run {made[RECURRING.id]}  {made.get('display_name', '')}  {schedule(made)}\n")
    return exits.OK


def trigger(arguments: argparse.Namespace) -> Object:
    """The trigger that the arguments say. Raises ``errors.InvalidInput``."""
    ends = {field: _time(option, text) for field, option, text in (
        ("start_time", "--start", arguments.start), ("end_time", "--end", arguments.end)) if text}
    if arguments.cron:
        return {"cron_schedule": {"cron": arguments.cron, **ends}}
    return {"periodic_schedule": {"interval_second": str(int(arguments.every.total_seconds())), **ends}}


def _time(option: str, text: str) -> str:
    try:
        return clock.timestamp(clock.parse_timestamp(text))
    except ValueError as error:
        raise errors.InvalidInput(f"{option} {text!r} is no time: {error}",
                                  remedy="write it like 2026-01-31T03:30:00Z") from error


async def _list(platform: Platform, arguments: argparse.Namespace) -> int:
    found = await finding.page(platform, {"page_size": str(max(1, min(arguments.limit, LIMIT_PAGE)))}, RECURRING)
    now = datetime.now(UTC)
    tables.write(arguments.output, found, [
        tables.Column("RECURRING", lambda each: str(each[RECURRING.id])),
        tables.Column("NAME", lambda each: str(each.get("display_name", ""))),
        tables.Column("STATUS", lambda each: str(each.get("status", "")).lower()),
        tables.Column("SCHEDULE", schedule),
        tables.Column("AGE", lambda each: tables.age(each.get("created_at"), now)),
        tables.Column("EXPERIMENT", lambda each: str(each.get("experiment_id", "")), wide=True),
        tables.Column("ERROR", lambda each: view.short(str((each.get("error") or {}).get("message", ""))), wide=True),
    ], nothing=f"no recurring runs in the namespace {platform.namespace}")
    return exits.OK


def schedule(shape: Object) -> str:
    """When it runs, in a few words."""
    given = shape.get("trigger") or {}
    if given.get("cron_schedule"):
        return f"cron {given['cron_schedule'].get('cron', '')}"
    return f"every {view.duration(int((given.get('periodic_schedule') or {}).get('interval_second') or 0))}"


async def _get(platform: Platform, arguments: argparse.Namespace) -> int:
    wanted = await finding.id_of(platform, arguments.recurring, RECURRING)
    shape: dict[str, Any] = await platform.kfp(f"{RECURRING.path}/{wanted}")
    if arguments.output == "json":
        sys.stdout.write(json.dumps(shape, indent=2) + "\n")
    else:
        import yaml

        sys.stdout.write(yaml.safe_dump(shape, sort_keys=False))
    return exits.OK


def _each(action: str) -> connection.Act:
    method, ending = ("DELETE", "") if action == "delete" else ("POST", f":{action}")

    async def act(platform: Platform, arguments: argparse.Namespace) -> int:
        for name in arguments.recurring:
            wanted = await finding.id_of(platform, name, RECURRING)
            await platform.send(method, f"{RECURRING.path}/{wanted}{ending}", {} if method == "POST" else None)
            sys.stdout.write(f"recurring run {wanted} is {action}d\n")
        return exits.OK

    return act
