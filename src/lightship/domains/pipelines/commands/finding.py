"""Which run a person means: an id, the beginning of one, a name, or ``last``. The verbs call me."""

from __future__ import annotations

import json
import re
from typing import Any

from lightship import errors
from lightship.cli.connection import Platform
from lightship.domains.pipelines.commands.follow import RUNS

LAST = "last"
MINIMUM_PREFIX_CHARACTERS = 4
EXPERIMENTS = "/apis/v2beta1/experiments"
PAGE = 200
LIMIT_NAMED = 5
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
HELP = "its id, the beginning of it, its name (the newest of that name), or `last`"


async def page(platform: Platform, query: dict[str, str]) -> list[dict[str, Any]]:
    """One page of runs, the newest first."""
    asked = {"namespace": platform.namespace, "sort_by": "created_at desc"} | query
    found = await platform.kfp(RUNS, asked)
    return found.get("runs") or []


async def run_id(platform: Platform, wanted: str) -> str:
    """The id of the run. Raises ``errors.NotFound``."""
    if _ID.fullmatch(wanted):
        return wanted
    newest = await page(platform, {"page_size": "1" if wanted == LAST else str(PAGE)})
    if wanted == LAST:
        if not newest:
            raise errors.NotFound(f"there is no run in the namespace {platform.namespace} yet")
        return str(newest[0]["run_id"])
    named = [run for run in newest if run.get("display_name") == wanted]
    if not named:
        predicate = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": wanted}]}
        named = await page(platform, {"page_size": "1", "filter": json.dumps(predicate)})
    if named:
        return str(named[0]["run_id"])
    if len(wanted) >= MINIMUM_PREFIX_CHARACTERS:
        begun = [str(run["run_id"]) for run in newest if str(run["run_id"]).startswith(wanted.lower())]
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise errors.InvalidInput(f'{len(begun)} runs begin with "{wanted}"',
                                      remedy=f"name one of {', '.join(begun[:LIMIT_NAMED])}")
    raise errors.NotFound(f'there is no run "{wanted}" in the namespace {platform.namespace}',
                          remedy="lightship runs list shows them")


async def experiment_id(platform: Platform, name: str) -> str:
    """The id of the experiment of that name; empty where there is none."""
    predicate = {"predicates": [{"operation": "EQUALS", "key": "name", "stringValue": name}]}
    found = await platform.kfp(EXPERIMENTS, {"namespace": platform.namespace, "filter": json.dumps(predicate)})
    return next((str(experiment["experiment_id"]) for experiment in found.get("experiments") or []), "")
