"""Which run or recurring run a person means: an id, the beginning of one, a name, or ``last``. The verbs call me."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Kind:
    """What there are several of, as REST lists them. ``command`` shows them all."""

    path: str
    listed: str
    id: str
    said: str
    command: str


RUN = Kind(RUNS, "runs", "run_id", "run", "lightship runs list")
RECURRING = Kind("/apis/v2beta1/recurringruns", "recurringRuns", "recurring_run_id", "recurring run",
                 "lightship recurring list")


async def page(platform: Platform, query: Mapping[str, str], kind: Kind = RUN) -> list[dict[str, Any]]:
    """One page, the newest first."""
    asked = {"namespace": platform.namespace, "sort_by": "created_at desc", **query}
    found = await platform.kfp(kind.path, asked)
    return found.get(kind.listed) or []


async def run_id(platform: Platform, wanted: str) -> str:
    """The id of the run. Raises ``errors.NotFound``."""
    return await id_of(platform, wanted, RUN)


async def id_of(platform: Platform, wanted: str, kind: Kind) -> str:
    """The id of what is ``wanted``. Raises ``errors.NotFound``."""
    if _ID.fullmatch(wanted):
        return wanted
    newest = await page(platform, {"page_size": "1" if wanted == LAST else str(PAGE)}, kind)
    if wanted == LAST:
        if not newest:
            raise errors.NotFound(f"there is no {kind.said} in the namespace {platform.namespace} yet")
        return str(newest[0][kind.id])
    named = [each for each in newest if each.get("display_name") == wanted]
    if not named:
        predicate = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": wanted}]}
        named = await page(platform, {"page_size": "1", "filter": json.dumps(predicate)}, kind)
    if named:
        return str(named[0][kind.id])
    if len(wanted) >= MINIMUM_PREFIX_CHARACTERS:
        begun = [str(each[kind.id]) for each in newest if str(each[kind.id]).startswith(wanted.lower())]
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise errors.InvalidInput(f'{len(begun)} {kind.said}s begin with "{wanted}"',
                                      remedy=f"name one of {', '.join(begun[:LIMIT_NAMED])}")
    raise errors.NotFound(f'there is no {kind.said} "{wanted}" in the namespace {platform.namespace}',
                          remedy=f"{kind.command} shows them")


async def experiment_id(platform: Platform, name: str) -> str:
    """The id of the experiment of that name; empty where there is none."""
    predicate = {"predicates": [{"operation": "EQUALS", "key": "name", "stringValue": name}]}
    found = await platform.kfp(EXPERIMENTS, {"namespace": platform.namespace, "filter": json.dumps(predicate)})
    return next((str(experiment["experiment_id"]) for experiment in found.get("experiments") or []), "")


async def needed_experiment(platform: Platform, name: str) -> str:
    """The id of the experiment, which is made where there is none."""
    found = await experiment_id(platform, name)
    if found:
        return found
    made = await platform.send("POST", EXPERIMENTS, {"display_name": name, "namespace": platform.namespace})
    return str(made["experiment_id"])
