"""``lightship trials``: what came of an Experiment, the best Trial first; a table, JSON, CSV, or a page with plots."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from lightship.cli import connection, exits, tables
from lightship.cli.connection import Platform
from lightship.client.client import Selection
from lightship.domains.tuning import kinds, names
from lightship.domains.tuning.results import page, table
from lightship.domains.tuning.results.table import Results
from lightship.kube.objects import Object

LIMIT_PAGE = 500
_STYLES = {names.SUCCEEDED: "green", names.EARLY_STOPPED: "yellow", names.RUNNING: "cyan", names.FAILED: "red",
           names.KILLED: "red", names.METRICS_UNAVAILABLE: "red"}


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = connection.action(verbs, "trials", "show an Experiment's trials, the best first", _trials)
    parser.add_argument("experiment", metavar="EXPERIMENT", help="the Experiment's name")
    parser.add_argument("-o", "--output", choices=(*tables.OUTPUTS, "csv", "html"), default="table",
                        help="how to show them: html is one file with plots (default table)")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="of a table, the best N only (default all)")


async def _trials(platform: Platform, arguments: argparse.Namespace) -> int:
    experiment = await platform.kube.get(kinds.EXPERIMENTS, arguments.experiment, platform.namespace)
    results = table.of(experiment, await _all(platform, arguments.experiment))
    if arguments.output == "json":
        sys.stdout.write(json.dumps(table.as_json(results), indent=2, allow_nan=False) + "\n")
    elif arguments.output == "yaml":
        import yaml

        sys.stdout.write(yaml.safe_dump(table.as_json(results), sort_keys=False))
    elif arguments.output == "csv":
        sys.stdout.write(table.as_csv(results))
    elif arguments.output == "html":
        sys.stdout.write(page.html(results))
    else:
        _write(results, arguments)
    return exits.OK


async def _all(platform: Platform, experiment: str) -> list[Object]:
    selection = Selection(namespace=platform.namespace, labels=f"{names.EXPERIMENT_LABEL}={experiment}")
    found: list[Object] = []
    token = ""
    while True:
        part = await platform.kube.list(kinds.TRIALS, selection, limit=LIMIT_PAGE, continue_token=token)
        found += part.items
        token = part.continue_token
        if not token:
            return found


def _write(results: Results, arguments: argparse.Namespace) -> None:
    """The table. A Trial's cells are its texts, as it reported and was assigned them."""
    items: list[dict[str, Any]] = [{
        "trial": row.view.name, "rank": str(row.rank or ""), "state": row.view.state, "message": row.message,
        "parameters": row.view.assignments, "metrics": row.view.texts,
        "took": "" if row.seconds is None else f"{row.seconds:.1f}s", "started": row.started,
    } for row in results.rows]
    if arguments.limit > 0:
        items = items[:arguments.limit]
    lead = {one.metric for one in results.objectives}
    columns = [
        tables.Column("TRIAL", lambda item: str(item["trial"]), style=lambda item: "green" if _best(item) else ""),
        tables.Column("RANK", lambda item: str(item["rank"]), style=lambda item: "green" if _best(item) else ""),
        tables.Column("STATE", lambda item: str(item["state"]), style=lambda item: _STYLES.get(item["state"], "")),
        *(_cells("metrics", name, wide=name not in lead) for name in results.metrics),
        *(_cells("parameters", name) for name in results.parameters),
        tables.Column("TOOK", lambda item: str(item["took"])),
        tables.Column("STARTED", lambda item: str(item["started"]), wide=True),
        tables.Column("MESSAGE", lambda item: str(item["message"]), wide=True),
    ]
    tables.write(arguments.output, items, columns,
                 nothing=f"the experiment {results.name} has no trials yet ({results.state})")


def _best(item: dict[str, Any]) -> bool:
    return bool(item["rank"] == "1")


def _cells(field: str, name: str, *, wide: bool = False) -> tables.Column:
    return tables.Column(name, lambda item: str(item[field].get(name, "")), wide=wide)
