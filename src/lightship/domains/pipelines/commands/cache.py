"""``lightship cache``: the results that steps may take in place of running, and how to be rid of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from lightship.cli import connection, durations, exits, tables
from lightship.cli.connection import Platform
from lightship.lib.clock import timestamp

ENTRIES = "/apis/v2beta1/cache_entries"
LIMIT_PAGE = 200
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    cache = verbs.add_parser("cache", help="list and clear the results that steps take in place of running",
                             description="List the cached results of steps, or clear them, so that steps run again.")
    actions = cache.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listed = connection.action(actions, "list", "list cached results, the newest first", _list)
    _chosen(listed)
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50)")
    tables.add(listed)

    cleared = connection.action(
        actions, "clear", "forget cached results, so that the steps that made them run again", _clear)
    _chosen(cleared)
    cleared.add_argument("--all", action="store_true", help="all of the namespace")


def _chosen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--step", default="", metavar="NAME", help="only those of steps of this name")
    parser.add_argument("--run", default="", metavar="ID", help="only those that this run made")
    parser.add_argument("--older-than", type=durations.duration, default=None, metavar="TIME",
                        help="only those older than this, such as 12h or 7d")


def _filter(arguments: argparse.Namespace, now: datetime) -> Mapping[str, str]:
    predicates: list[dict[str, Any]] = []
    if arguments.step:
        predicates.append({"operation": "EQUALS", "key": "task", "stringValue": arguments.step})
    if arguments.run:
        predicates.append({"operation": "EQUALS", "key": "run_id", "stringValue": arguments.run})
    if arguments.older_than is not None:
        before: timedelta = arguments.older_than
        predicates.append({"operation": "LESS_THAN", "key": "created_at", "timestampValue": timestamp(now - before)})
    return {"filter": json.dumps({"predicates": predicates})} if predicates else {}


async def _list(platform: Platform, arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    found = await _entries(platform, arguments, now)
    tables.write(arguments.output, found, [
        tables.Column("KEY", lambda entry: str(entry["key"])[:16] if arguments.output == "table" else entry["key"]),
        tables.Column("STEP", lambda entry: str(entry.get("task_name", ""))),
        tables.Column("AGE", lambda entry: tables.age(entry.get("created_at"), now)),
        tables.Column("SIZE", lambda entry: size(int(entry.get("size_bytes") or 0))),
        tables.Column("RUN", lambda entry: str(entry.get("run_id", ""))),
        tables.Column("PARAMETERS", lambda entry: json.dumps(entry.get("parameters") or {}), wide=True),
    ], nothing=f"nothing is cached in the namespace {platform.namespace}")
    return exits.OK


async def _entries(platform: Platform, arguments: argparse.Namespace, now: datetime) -> list[dict[str, Any]]:
    query = {"namespace": platform.namespace, "sort_by": "created_at desc",
             "page_size": str(max(1, min(arguments.limit, LIMIT_PAGE))), **_filter(arguments, now)}
    found: list[dict[str, Any]] = []
    while len(found) < arguments.limit:
        page = await platform.kfp(ENTRIES, query)
        found += page.get("cache_entries") or []
        if not page.get("next_page_token"):
            break
        query["page_token"] = page["next_page_token"]
    return found[:arguments.limit]


async def _clear(platform: Platform, arguments: argparse.Namespace) -> int:
    chosen = _filter(arguments, datetime.now(UTC))
    if not chosen and not arguments.all:
        sys.stderr.write("error: say which: --step, --run, --older-than, or --all\n")
        return exits.WRONG_INPUT
    done = await platform.send("DELETE", ENTRIES, None, {"namespace": platform.namespace, **chosen})
    sys.stdout.write(f"forgot {done['deleted']} cached results\n")
    return exits.OK


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in UNITS:
        if count < 1024 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
