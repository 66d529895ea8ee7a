"""Open watches of a custom kind whose definition changes or goes: they end, as upstream's do, and nothing is lost."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.apiserver.conftest import Caller
from tests.unit.apiserver.test_definitions import CRDS, TABS, crd, tab

NAME = "crontabs.stable.example.org"
MERGE = "application/merge-patch+json"


async def _events(body: AsyncIterator[bytes]) -> list[tuple[str, str]]:
    """All events of a watch until it ends."""
    seen = []
    async with asyncio.timeout(10):
        async for chunk in body:
            seen += [json.loads(line) for line in chunk.splitlines()]
    await body.aclose()  # type: ignore[attr-defined]
    return [(event["type"], event["object"]["metadata"]["name"]) for event in seen]


@pytest.mark.parametrize("what", ["schema", "versions", "deletion"])
async def test_a_watch_ends_with_its_definition(caller: Caller, what: str) -> None:
    await caller.json("POST", CRDS, crd())
    watches: list[Any] = [await caller.send("GET", f"{TABS}?watch=1") for _ in range(2)]
    running = [asyncio.create_task(_events(watch.body)) for watch in watches]
    await caller.json("POST", TABS, tab())
    spec = copy.deepcopy(crd()["spec"])
    if what == "schema":
        spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["more"] = {"type": "string"}
    else:
        spec["versions"].append(spec["versions"][0] | {"name": "v2", "storage": False})
    if what == "deletion":
        status, _ = await caller.json("DELETE", f"{CRDS}/{NAME}")
    else:
        status, _ = await caller.json("PATCH", f"{CRDS}/{NAME}", {"spec": spec}, content_type=MERGE)
    assert status == 200
    wanted = [("ADDED", "a")] + [("DELETED", "a")] * (what == "deletion")
    assert await asyncio.gather(*running) == [wanted, wanted]


async def test_what_changes_no_specification_ends_no_watch(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    watch: Any = await caller.send("GET", f"{TABS}?watch=1&timeoutSeconds=1")
    await caller.json("PATCH", f"{CRDS}/{NAME}", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    await caller.json("POST", TABS, tab())
    assert await _events(watch.body) == [("ADDED", "a")]


async def test_a_large_object_is_judged_aside_and_by_the_same_rules(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    large = tab() | {"metadata": {"name": "a", "annotations": {"note": "x" * 100_000}}}
    beats = asyncio.create_task(caller.json("GET", f"{CRDS}/{NAME}"))
    status, made = await caller.json("POST", TABS, large)
    assert (status, made["spec"]["image"]) == (201, "nginx")
    assert beats.done(), "others had their turn while it was judged"
    assert (await caller.json("PATCH", f"{TABS}/a", {"spec": {"replicas": 11}}, content_type=MERGE))[0] == 422
    assert (await caller.json("PATCH", f"{TABS}/a", {"spec": {"replicas": 9}}, content_type=MERGE))[0] == 200


async def test_what_was_judged_by_a_definition_that_has_gone_is_not_kept(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    large = tab() | {"metadata": {"name": "a", "annotations": {"note": "x" * 100_000}}}
    making = asyncio.create_task(caller.json("POST", TABS, large))
    await asyncio.sleep(0)
    await caller.json("DELETE", f"{CRDS}/{NAME}")
    status, _ = await making
    await caller.json("POST", CRDS, crd())
    _, listed = await caller.json("GET", TABS)
    assert (status, listed["items"]) in ((201, []), (409, []), (404, []), (405, []))
