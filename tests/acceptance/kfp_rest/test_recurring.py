"""Recurring runs over REST: what is taken, what is shown, what is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lightship.domains.pipelines import names
from lightship.kube.objects import Key
from lightship.records import notices
from tests.acceptance.kfp_rest.place import MODEL, Platform
from tests.acceptance.kfp_rest.test_routes import BASE, SPEC, YAML, start, upload
from tests.unit.web.harness import Answer

RECURRING = f"{BASE}/recurringruns"


async def create(pipelines: Platform, **fields: Any) -> Answer:
    body = {"display_name": "nightly", "pipeline_spec": SPEC, "runtime_config": {"parameters": {"b": "[[Index]]"}},
            "max_concurrency": "1", "mode": "ENABLE", "trigger": {"cron_schedule": {"cron": "0 0 3 * * *"}}}
    return await pipelines.site.post(RECURRING, {key: value for key, value in (body | fields).items()
                                                 if value is not None})


async def test_it_is_kept_and_shown_and_whoever_makes_its_runs_is_told(pipelines: Platform) -> None:
    heard: list[Key] = []
    pipelines.deps.notices.subscribe(notices.RECURRING, heard.append)
    made = (await create(pipelines, no_catchup=True, description="d")).json

    base = f"{RECURRING}/{made['recurring_run_id']}"
    assert (await pipelines.site.get(base)).json == made
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (made["mode"], made["status"], made["max_concurrency"], made["no_catchup"]) == (
        "ENABLE", "ENABLED", "1", True)
    assert made["next_run_at"].endswith("T03:00:00Z")
    assert made["pipeline_spec"] == SPEC
    await pipelines.site.post(f"{base}:disable")
    shown = (await pipelines.site.get(base)).json
    assert (shown["status"], shown.get("next_run_at")) == ("DISABLED", None)
    await pipelines.site.post(f"{base}:enable")
    assert (await pipelines.site.get(base)).json["next_run_at"] == made["next_run_at"]
    assert (await pipelines.site.delete(base)).status == 200
    assert (await pipelines.site.get(base)).status == 404
    assert [key.name for key in heard] == [made["recurring_run_id"]] * 4


async def test_lists_are_paged_sorted_and_filtered(pipelines: Platform) -> None:
    for name in ("a", "b", "c"):
        await create(pipelines, display_name=name)
    first = (await pipelines.site.get(f"{RECURRING}?page_size=2&sort_by=name%20desc")).json
    rest = (await pipelines.site.get(
        f"{RECURRING}?page_size=2&sort_by=name%20desc&page_token={first['next_page_token']}")).json

    assert [each["display_name"] for each in first["recurringRuns"] + rest["recurringRuns"]] == ["c", "b", "a"]
    only = '{"predicates":[{"key":"name","operation":"EQUALS","string_value":"b"}]}'
    found = (await pipelines.site.get(RECURRING, params={"filter": only})).json
    assert [each["display_name"] for each in found["recurringRuns"]] == ["b"]


async def test_a_pipeline_alone_means_its_newest_version_each_time(pipelines: Platform) -> None:
    pipeline = (await upload(pipelines, YAML, "?name=p")).json["pipeline_id"]
    made = (await create(pipelines, pipeline_spec=None, pipeline_version_reference={"pipeline_id": pipeline})).json

    assert made["pipeline_version_reference"] == {"pipeline_id": pipeline}


@pytest.mark.parametrize(("fields", "message"), [
    ({"trigger": None}, "either a cron_schedule or a periodic_schedule"),
    ({"trigger": {"cron_schedule": {"cron": "0 0 3 * * 9"}}}, "days of the week go from 0 to 6"),
    ({"trigger": {"periodic_schedule": {"interval_second": "0"}}}, "from 1 to"),
    ({"max_concurrency": "11"}, "1 to 10"), ({"max_concurrency": "0"}, "1 to 10"), ({"max_concurrency": []}, "1 to 10"),
    ({"mode": "SOMETIMES"}, "ENABLE or DISABLE"), ({"no_catchup": "yes"}, "true or false"),
    ({"runtime_config": {"parameters": {"zzz": 1}}}, 'no parameter "zzz"'),
    ({"pipeline_spec": None}, "needs a pipeline_spec"),
])
async def test_what_is_wrong_is_refused(pipelines: Platform, fields: dict[str, Any], message: str) -> None:
    answer = await create(pipelines, **fields)

    assert (answer.status, answer.json["code"]) == (400, 3)
    assert message in answer.json["message"]


async def test_an_archived_experiment_has_no_schedules_that_run(pipelines: Platform) -> None:
    experiment = (await pipelines.site.post(f"{BASE}/experiments", {"display_name": "e"})).json["experiment_id"]
    made = (await create(pipelines, experiment_id=experiment)).json
    base = f"{RECURRING}/{made['recurring_run_id']}"
    await pipelines.site.post(f"{BASE}/experiments/{experiment}:archive")

    assert (await pipelines.site.get(base)).json["status"] == "DISABLED"
    assert (await pipelines.site.post(f"{base}:enable")).status == 400
    assert (await create(pipelines, experiment_id=experiment)).status == 400
    assert (await create(pipelines, experiment_id=experiment, mode="DISABLE")).status == 200


async def test_an_artifact_is_read_by_its_steps_node(pipelines: Platform) -> None:
    run = (await start(pipelines)).json["run_id"]
    await pipelines.engine.idle()
    for node in (names.task_id(run, "root/train"), "train"):
        base = f"{BASE}/runs/{run}/nodes/{node}/artifacts"
        assert base64.b64decode((await pipelines.site.get(f"{base}/model:read")).json["data"]) == MODEL
        assert (await pipelines.site.get(f"{base}/other:read")).status == 404
    assert (await pipelines.site.get(f"{BASE}/runs/{run}/nodes/nobody/artifacts/model:read")).status == 404
