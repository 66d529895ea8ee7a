"""REST of artifacts, their links to tasks, and lineage; and what one namespace may see of another's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.kfp_rest.place import MODEL, Platform
from tests.acceptance.kfp_rest.test_routes import BASE, SPEC


async def finished(pipelines: Platform, **fields: Any) -> dict[str, Any]:
    """A run that has ended; its train step made the artifact ``model``."""
    body = {"pipeline_spec": SPEC, "display_name": "r", "runtime_config": {"parameters": {"b": "x"}}} | fields
    made = (await pipelines.site.post(f"{BASE}/runs", body)).json
    await pipelines.engine.idle()
    run: dict[str, Any] = (await pipelines.site.get(f"{BASE}/runs/{made['run_id']}")).json
    return run


async def test_artifacts_are_listed_in_pages_and_by_filter(pipelines: Platform) -> None:
    for _ in range(3):
        await finished(pipelines)
    first = (await pipelines.site.get(f"{BASE}/artifacts?page_size=2&sort_by=created_at desc")).json
    rest = (await pipelines.site.get(
        f"{BASE}/artifacts?page_size=2&sort_by=created_at desc&page_token={first['next_page_token']}")).json

    assert first["total_size"] == 3
    assert len({one["artifact_id"] for one in first["artifacts"] + rest["artifacts"]}) == 3
    assert {one["type"] for one in first["artifacts"]} == {"Model"}
    none = '{"predicates":[{"operation":"EQUALS","key":"name","string_value":"none"}]}'
    assert (await pipelines.site.get(f"{BASE}/artifacts", params={"filter": none})).json == {"total_size": 0}
    assert (await pipelines.site.get(f"{BASE}/artifacts?namespace=other")).json == {"total_size": 0}


async def test_links_name_their_producer(pipelines: Platform) -> None:
    run = await finished(pipelines)
    links = (await pipelines.site.get(f"{BASE}/artifact_tasks?run_ids={run['run_id']}")).json["artifact_tasks"]

    (link,) = links
    assert (link["type"], link["key"], link["producer"]) == ("OUTPUT", "model", {"task_name": "train"})
    for query in (f"artifact_ids={link['artifact_id']}", f"task_ids={link['task_id']}&type=OUTPUT"):
        assert (await pipelines.site.get(f"{BASE}/artifact_tasks?{query}")).json["artifact_tasks"] == links
    inputs = await pipelines.site.get(f"{BASE}/artifact_tasks?task_ids={link['task_id']}&type=TASK_OUTPUT_INPUT")
    assert inputs.json == {"total_size": 0}


async def test_lineage_tells_tasks_artifacts_and_links(pipelines: Platform) -> None:
    run = await finished(pipelines)
    artifact = (await pipelines.site.get(f"{BASE}/artifacts")).json["artifacts"][0]
    found = (await pipelines.site.get(f"{BASE}/lineage/{artifact['artifact_id']}?direction=upstream")).json

    assert [task["display_name"] for task in found["tasks"]] == ["train"]
    assert found["tasks"][0]["run_id"] == run["run_id"]
    assert [one["digest"] for one in found["artifacts"]] == [artifact["digest"]]
    assert found["truncated"] is False


@pytest.mark.parametrize(("path", "status"), [
    ("artifact_tasks", 400), ("artifact_tasks?task_ids=none", 200), ("artifact_tasks?task_ids=x&type=ODD", 400),
    ("lineage/none", 404), ("artifacts/none", 404), ("runs/none/tasks", 404), ("runs/none/tasks/x", 404),
    ("artifacts?sort_by=metadata", 400), ("artifacts?page_token=x", 400),
])
async def test_what_is_wrong_is_refused(pipelines: Platform, path: str, status: int) -> None:
    assert (await pipelines.site.get(f"{BASE}/{path}")).status == status


async def test_reviews_are_made_where_the_things_are(pipelines: Platform) -> None:
    run = await finished(pipelines)
    artifact = (await pipelines.site.get(f"{BASE}/artifacts")).json["artifacts"][0]["artifact_id"]
    pipelines.site.allow = lambda asked: asked.namespace != "default"
    for path in (f"lineage/{artifact}", f"artifact_tasks?artifact_ids={artifact}", f"artifacts/{artifact}:download",
                 f"artifact_tasks?run_ids={run['run_id']}", f"runs/{run['run_id']}/tasks", "artifacts"):
        assert (await pipelines.site.get(f"{BASE}/{path}")).status == 403, path


async def test_a_root_of_another_namespace_is_refused(pipelines: Platform) -> None:
    config = {"parameters": {"b": "x"}, "pipeline_root": "minio://mlpipeline/private-artifacts/team-a/v2/artifacts"}
    body = {"pipeline_spec": SPEC, "display_name": "r", "runtime_config": config}
    answer = await pipelines.site.post(f"{BASE}/runs", body)
    assert answer.status == 403
    assert "belongs to another" in answer.json["message"]


async def test_deleting_runs_leaves_what_another_uses(pipelines: Platform) -> None:
    run = await finished(pipelines)
    artifact = (await pipelines.site.get(f"{BASE}/artifacts")).json["artifacts"][0]
    assert (await pipelines.site.get(f"{BASE}/artifacts/{artifact['artifact_id']}:download")).body == MODEL
    assert (await pipelines.site.call("DELETE", f"{BASE}/runs/{run['run_id']}")).status == 200
    assert (await pipelines.site.get(f"{BASE}/artifact_tasks?run_ids={run['run_id']}")).json == {"total_size": 0}
