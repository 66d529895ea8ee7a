"""The cache over REST: what it holds, page by page, and how it is cleared."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import quote

from lightship.lib.clock import timestamp
from lightship.records.pipeline_rows import ArtifactRow, Batch, CacheEntry, TaskIO
from lightship.records.runs import Runs
from tests.acceptance.kfp_rest.place import Platform
from tests.acceptance.kfp_rest.test_routes import BASE, start

ENTRIES = f"{BASE}/cache_entries"


def _filter(key: str, operation: str, value: str) -> str:
    kind = "timestamp_value" if key == "created_at" else "string_value"
    return quote(json.dumps({"predicates": [{"key": key, "operation": operation, kind: value}]}))


async def _fill(pipelines: Platform, count: int) -> None:
    """Entries of one run's step, each an hour older than the one before, and one in a namespace apart."""
    run = (await start(pipelines)).json
    await pipelines.engine.idle()
    listed = (await pipelines.site.call("GET", f"{BASE}/runs/{run['run_id']}/tasks")).json
    train = next(task for task in listed["tasks"] if task["name"] == "train")
    now = pipelines.deps.clock.now()
    model = ArtifactRow(artifact_id="m", name="model", uri="minio://mlpipeline/m", digest="sha256:1", size_bytes=70)
    outputs = TaskIO(parameters={"score": 0.5}, artifacts={"model": (model,)})
    for namespace, number in [*(("default", number) for number in range(count)), ("team", 99)]:
        entry = CacheEntry(namespace=namespace, key=f"key-{number}", run_id=run["run_id"], outputs=outputs,
                           task_id=train["task_id"] if number else "gone", created_at=now - timedelta(hours=number))
        await Runs(pipelines.deps.database).commit(Batch(namespace="default", run_id=run["run_id"], cache=(entry,)))


async def test_entries_are_listed_page_by_page_and_filtered(pipelines: Platform) -> None:
    await _fill(pipelines, 5)
    first = (await pipelines.site.call("GET", f"{ENTRIES}?page_size=3&sort_by=created_at%20desc")).json
    assert [entry["key"] for entry in first["cache_entries"]] == ["key-0", "key-1", "key-2"]
    assert first["total_size"] == 5, "another namespace's are not ours"
    rest = (await pipelines.site.call(
        "GET", f"{ENTRIES}?page_size=3&sort_by=created_at%20desc&page_token={first['next_page_token']}")).json
    assert [entry["key"] for entry in rest["cache_entries"]] == ["key-3", "key-4"] and "next_page_token" not in rest
    shown = rest["cache_entries"][0]
    assert (shown["task_name"], shown["parameters"], shown["artifact_count"], shown["size_bytes"]) == (
        "train", {"score": 0.5}, 1, 70)
    assert first["cache_entries"][0]["task_name"] == "", "its run is gone, and the entry still serves"
    named = (await pipelines.site.call("GET", f"{ENTRIES}?filter={_filter('task', 'EQUALS', 'train')}")).json
    assert named["total_size"] == 4


async def test_entries_are_dropped_one_by_one_and_by_filter(pipelines: Platform) -> None:
    await _fill(pipelines, 5)
    site = pipelines.site
    assert (await site.call("DELETE", f"{ENTRIES}/key-1")).status == 200
    missing = await site.call("DELETE", f"{ENTRIES}/key-1")
    assert missing.status == 404 and "GET /apis/v2beta1/cache_entries" in missing.json["message"]
    edge = timestamp(pipelines.deps.clock.now() - timedelta(hours=2, minutes=30))
    older = await site.call("DELETE", f"{ENTRIES}?filter={_filter('created_at', 'LESS_THAN', edge)}")
    assert older.json == {"deleted": 2}
    left = (await site.call("GET", ENTRIES)).json
    assert {entry["key"] for entry in left["cache_entries"]} == {"key-0", "key-2"}
    assert (await site.call("DELETE", ENTRIES)).json == {"deleted": 2}
    assert (await site.call("GET", f"{ENTRIES}?namespace=team")).json["total_size"] == 1
    wrong = await site.call("DELETE", f"{ENTRIES}?filter={_filter('colour', 'EQUALS', 'red')}")
    assert wrong.status == 400 and 'cannot filter on "colour"' in wrong.json["message"]
