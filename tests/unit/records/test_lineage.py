"""Lineage: closures both ways, over runs, within limits and in a number of statements that does not grow with width."""

from __future__ import annotations

import pytest

from lightship.records import artifacts, lineage, listing, run_history, task_history
from lightship.records.artifacts import Ends
from lightship.records.database import Database
from lightship.records.lineage import DOWNSTREAM, UPSTREAM
from lightship.records.pipeline_rows import CACHED
from tests.unit.records.history import History, artifact

RAW, CLEAN, LABELS, MODEL, REPORT = map(artifact, ("raw", "clean", "labels", "model", "report"))
BOTH = (UPSTREAM, DOWNSTREAM)


@pytest.fixture
async def history(db: Database) -> History:
    made = History(db)
    await made.start("run-1", "run-2")
    await made.step("ingest", makes=(RAW,))
    await made.step("clean", takes=(RAW,), makes=(CLEAN, LABELS))
    await made.step("train", takes=(CLEAN, LABELS), makes=(MODEL,))
    await made.step("report", takes=(MODEL,), makes=(REPORT,))
    return made


async def closure(history: History, start: str, directions: tuple[str, ...] = BOTH, levels: int = 100,
                  namespace: str = "default") -> tuple[set[str], set[str], bool]:
    found = await history.database.read(lambda c: lineage.closure(c, namespace, start, directions, levels))
    return ({one.row.name for one in found.artifacts}, {task.name for task in found.tasks}, found.truncated)


async def test_both_ways_from_the_middle(history: History) -> None:
    assert await closure(history, "a-clean") == (
        {"raw", "clean", "model", "report"}, {"ingest", "clean", "train", "report"}, False)
    assert await closure(history, "a-clean", (UPSTREAM,)) == ({"raw", "clean"}, {"ingest", "clean"}, False)
    assert await closure(history, "a-model", (UPSTREAM,)) == (
        {"raw", "clean", "labels", "model"}, {"ingest", "clean", "train"}, False)


async def test_links_have_both_ends_in_the_closure(history: History) -> None:
    found = await history.database.read(lambda c: lineage.closure(c, "default", "a-clean", (UPSTREAM,)))
    assert [(link.task_name, link.type, link.artifact_id) for link in found.links] == [
        ("clean", "INPUT", "a-raw"), ("clean", "OUTPUT", "a-clean"), ("ingest", "OUTPUT", "a-raw")]


async def test_a_cached_task_joins_two_runs(history: History) -> None:
    await history.step("clean", takes=(RAW,), makes=(CLEAN, LABELS), run_id="run-2", state=CACHED)
    plot = artifact("plot", "run-2")
    await history.step("plot", takes=(CLEAN,), makes=(plot,), run_id="run-2")

    found = await history.database.read(lambda c: lineage.closure(c, "default", "a-raw", (DOWNSTREAM,)))
    assert {(task.run_id, task.name) for task in found.tasks} >= {("run-1", "train"), ("run-2", "plot")}
    assert "a-plot" in {one.row.artifact_id for one in found.artifacts}
    made = await history.database.read(lambda c: artifacts.producers(c, ["a-clean"]))
    assert made == {"a-clean": ("run-1", "run-1-clean")}


async def test_levels_end_a_closure_and_say_so(history: History) -> None:
    assert await closure(history, "a-report", (UPSTREAM,), levels=1) == ({"model", "report"}, {"report"}, True)
    assert await closure(history, "a-report", (UPSTREAM,), levels=4) == (
        {"raw", "clean", "labels", "model", "report"}, {"ingest", "clean", "train", "report"}, False)


async def test_what_is_too_wide_is_cut_at_a_whole_level(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        await history.step(f"use-{number}", takes=(RAW,), makes=(artifact(f"out-{number}"),))
    monkeypatch.setattr(lineage, "LINEAGE_LIMIT_TASKS", 5)

    assert await closure(history, "a-raw", (DOWNSTREAM,)) == ({"raw"}, set(), True)


async def test_a_closure_stays_in_its_namespace(history: History) -> None:
    await history.start("run-9", namespace="other")
    await history.step("spy", takes=(RAW,), makes=(artifact("loot"),), run_id="run-9", namespace="other")

    assert "spy" not in (await closure(history, "a-raw"))[1]
    assert await closure(history, "a-raw", namespace="other") == ({"loot"}, {"spy"}, False)


async def test_statements_do_not_grow_with_width(history: History) -> None:
    async def cost() -> int:
        before = history.database.statements
        await closure(history, "a-raw", (DOWNSTREAM,))
        return history.database.statements - before

    narrow = await cost()
    for number in range(40):
        await history.step(f"use-{number}", takes=(RAW,), makes=(artifact(f"out-{number}"),))
    assert await cost() == narrow


async def test_links_are_listed_by_their_ends(history: History) -> None:
    query = listing.Query(sort="id", limit=3)

    async def keys(ends: Ends) -> list[str]:
        found, page = await history.database.read(lambda c: artifacts.link_page(c, ends, query))
        assert page.total >= len(found)
        return [f"{link.task_name} {link.type} {link.key}" for link in found]

    assert await keys(Ends(artifact_ids=("a-model",))) == ["report INPUT model", "train OUTPUT model"]
    assert await keys(Ends(task_ids=("run-1-train",))) == ["train INPUT clean", "train INPUT labels",
                                                          "train OUTPUT model"]
    assert len(await keys(Ends(run_ids=("run-1",)))) == 3
    assert await keys(Ends(run_ids=("run-2",))) == []


async def test_tasks_are_listed_in_pages_and_by_parent(history: History) -> None:
    query = listing.Query(sort="name", limit=3)
    found, page = await history.database.read(lambda c: task_history.page(c, "run-1", "", query))
    assert ([task.name for task in found], page.total) == (["clean", "ingest", "report"], 4)
    assert found[0].outputs.artifacts["labels"] == (LABELS,)
    none, _ = await history.database.read(lambda c: task_history.page(c, "run-1", "run-1-train", query))
    assert none == []


async def test_opening_a_run_is_two_statements(history: History) -> None:
    before = history.database.statements
    _, tasks = await history.database.read(lambda c: run_history.details(c, "run-1"))
    assert (len(tasks), history.database.statements - before) == (4, 2)
