"""KFP's REST v2beta1 over plain HTTP: what its clients send and read, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.routing import Route

from lightship.domains.pipelines import routes
from tests.acceptance.kfp_rest.place import MODEL, Platform
from tests.unit.web.harness import Answer

SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "adder"}, "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.17.0",
    "components": {"comp-add": {"executorLabel": "exec-add", "inputDefinitions": {
        "parameters": {"a": {"parameterType": "NUMBER_DOUBLE"}}}}},
    "deploymentSpec": {"executors": {"exec-add": {"container": {"image": "python:3.11", "command": ["true"]}}}},
    "root": {
        "inputDefinitions": {"parameters": {"a": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 1.0},
                                            "b": {"parameterType": "STRING"}}},
        "dag": {"tasks": {"add": {"componentRef": {"name": "comp-add"}, "taskInfo": {"name": "add"},
                                  "inputs": {"parameters": {"a": {"componentInputParameter": "a"}}}}}}},
}
YAML = json.dumps(SPEC).encode()
BASE = "/apis/v2beta1"


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def tarred(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def upload(pipelines: Platform, data: bytes, query: str = "", path: str = "upload") -> Answer:
    form = aiohttp.FormData()
    form.add_field("uploadfile", io.BytesIO(data), filename="pipeline.yaml")
    return await pipelines.site.call("POST", f"{BASE}/pipelines/{path}{query}", data=form)


async def start(pipelines: Platform, **fields: Any) -> Answer:
    body = {"display_name": "r", "pipeline_spec": SPEC, "runtime_config": {"parameters": {"b": "x"}}}
    return await pipelines.site.post(f"{BASE}/runs", body | fields)


@pytest.mark.parametrize("data", [
    YAML, zipped(pipeline__yaml=YAML, readme__txt=b"x"), zipped(anything__json=YAML),
    tarred((tarfile.TarInfo("./pipeline.yaml"), YAML)),
], ids=["plain", "zip", "zip with another name", "tar.gz"])
async def test_a_package_is_uploaded_and_read_back(pipelines: Platform, data: bytes) -> None:
    made = (await upload(pipelines, data, "?name=mine&description=d")).json

    assert (made["name"], made["display_name"], made["description"]) == ("mine", "mine", "d")
    assert (await pipelines.site.get(f"{BASE}/pipelines/{made['pipeline_id']}")).json == made
    assert (await pipelines.site.get(f"{BASE}/pipelines/names/mine")).json == made
    listed = (await pipelines.site.get(f"{BASE}/pipelines/{made['pipeline_id']}/versions")).json
    assert listed["total_size"] == 1
    assert listed["pipeline_versions"][0]["pipeline_spec"] == SPEC


def link(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info, b""


@pytest.mark.parametrize(("data", "status", "message"), [
    (b"not: [closed", 400, r"not valid YAML at line \d"),
    (b"", 400, "empty"),
    (b"\xff\xfe\x00", 400, "not UTF-8"),
    (json.dumps(SPEC | {"components": {}}).encode(), 400, r"components?.*comp-add"),
    (zipped(a__yaml=YAML, b__yaml=YAML), 400, "holds 2 pipeline files"),
    (zipped(readme__txt=b"x"), 400, "holds 0 pipeline files"),
    (zipped(), 400, "holds 0 pipeline files"),
    (YAML.replace(b"comp-add", b"comp-gone", 1), 400, "comp-"),
    (b"PK\x03\x04 broken", 400, "zip archive cannot be read"),
    (b"\x1f\x8b broken", 400, "tar.gz archive cannot be read"),
    (zipped(pipeline__yaml=b" " * 12_000_000), 413, "more than"),
    (gzip.compress(b"\0" * 60_000_000), 413, "unpacks to more than"),
    (zipped(**{f"f{n}": b"" for n in range(1100)}), 413, "more than 1000 members"),
    (tarred(link("pipeline.yaml", tarfile.SYMTYPE)), 400, "holds 0 pipeline files"),
    (tarred(link("pipeline.yaml", tarfile.CHRTYPE)), 400, "holds 0 pipeline files"),
    (b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"b%d: &b%d [*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s]\n" % ((n, n) + (b"a" if n == 0 else b"b%d" % (n - 1),) * 8)
        for n in range(9)), 413, "aliases expand"),
])
async def test_a_broken_package_is_refused_in_one_message(pipelines: Platform, data: bytes, status: int,
                                                          message: str) -> None:
    answer = await upload(pipelines, data, "?name=bad")

    assert answer.status == status, answer.text
    assert re.search(message, answer.json["error"]), answer.json
    assert "Traceback" not in answer.text
    assert (await pipelines.site.get(f"{BASE}/pipelines")).json["total_size"] == 0


async def test_uploads_over_the_limit_and_without_a_file_are_refused(pipelines: Platform) -> None:
    assert (await upload(pipelines, b"x" * (33 << 20))).status == 413
    assert (await pipelines.site.post(f"{BASE}/pipelines/upload", {})).status == 400


async def test_versions_are_added_renamed_and_removed(pipelines: Platform) -> None:
    made = (await upload(pipelines, YAML, "?name=p")).json
    base = f"{BASE}/pipelines/{made['pipeline_id']}"
    second = await upload(pipelines, YAML, f"?pipelineid={made['pipeline_id']}&name=v2&display_name=Two",
                          "upload_version")
    version = second.json["pipeline_version_id"]

    assert second.json["display_name"] == "Two"
    again = await upload(pipelines, YAML, f"?pipelineid={made['pipeline_id']}&name=v2", "upload_version")
    assert (again.status, again.json["code"]) == (409, 6)
    renamed = await pipelines.site.patch(f"{base}/versions/{version}", {"display_name": "Zwei"})
    assert renamed.json["display_name"] == "Zwei"
    newest = await pipelines.site.get(f"{base}/versions?sort_by=created_at%20desc&page_size=1")
    assert newest.json["pipeline_versions"][0]["pipeline_version_id"] == version
    conflict = await pipelines.site.delete(base)
    assert conflict.status == 400
    assert "cascade" in conflict.json["message"]
    assert (await pipelines.site.delete(f"{base}/versions/{version}")).json == {}
    assert (await pipelines.site.get(f"{base}/versions/{version}")).status == 404
    assert (await pipelines.site.delete(f"{base}?cascade=true")).status == 200
    assert (await pipelines.site.get(base)).json["code"] == 5


async def test_a_pipeline_is_made_with_its_version_and_never_from_a_url(pipelines: Platform) -> None:
    both = {"pipeline": {"display_name": "p"}, "pipeline_version": {"display_name": "v", "pipeline_spec": SPEC}}
    assert (await pipelines.site.post(f"{BASE}/pipelines/create", both)).status == 200
    both["pipeline"] = {"display_name": "q"}
    both["pipeline_version"] = {"package_url": {"pipeline_url": "http://169.254.169.254/latest"}}
    refused = await pipelines.site.post(f"{BASE}/pipelines/create", both)

    assert refused.status == 501
    assert "not from a package_url" in refused.json["message"]


async def test_a_run_is_started_announced_and_shown_with_its_tasks(pipelines: Platform) -> None:
    made = (await start(pipelines)).json
    await pipelines.engine.idle()
    run = (await pipelines.site.get(f"{BASE}/runs/{made['run_id']}")).json

    assert made["state"] == "PENDING"
    assert [key.name for key in pipelines.engine.heard] == [made["run_id"]]
    assert run["state"] == "SUCCEEDED"
    assert run["pipeline_spec"] == SPEC
    assert run["runtime_config"] == {"parameters": {"b": "x"}}
    assert [entry["state"] for entry in run["state_history"]] == ["PENDING", "SUCCEEDED"]
    details = {task["display_name"]: task for task in run["run_details"]["task_details"]}
    assert {name: task["state"] for name, task in details.items()} == dict.fromkeys(
        ("root", "ingest", "train"), "SUCCEEDED")
    assert details["train"]["parent_task_id"] == details["root"]["task_id"]
    assert {child["task_id"] for child in details["root"]["child_tasks"]} == {
        details["train"]["task_id"], details["ingest"]["task_id"]}
    tasks = {task["name"]: task for task in run["tasks"]}
    assert tasks["ingest"]["state"] == "CACHED"
    assert tasks["train"]["outputs"]["parameters"] == [{"parameter_key": "score", "value": 0.5}]
    listed = (await pipelines.site.get(f"{BASE}/runs/{made['run_id']}/tasks")).json["tasks"]
    assert {task["task_id"]: task for task in listed} == {task["task_id"]: task for task in run["tasks"]}


async def test_an_artifact_is_described_and_downloaded_but_never_shown(pipelines: Platform) -> None:
    made = (await start(pipelines)).json
    await pipelines.engine.idle()
    run = (await pipelines.site.get(f"{BASE}/runs/{made['run_id']}")).json
    train = next(task for task in run["run_details"]["task_details"] if task["display_name"] == "train")
    artifact = train["outputs"]["model"]["artifact_ids"][0]

    about = (await pipelines.site.get(f"{BASE}/artifacts/{artifact}")).json
    assert (about["run_id"], about["task_id"], about["size_bytes"]) == (made["run_id"], train["task_id"], len(MODEL))
    content = await pipelines.site.get(f"{BASE}/artifacts/{artifact}:download")
    assert content.body == MODEL
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in content.headers["content-security-policy"]
    for path in ("../../../records.db", "..%2f..%2frecords.db", "%252e%252e/x", "/etc/passwd", "a\\..\\b"):
        assert (await pipelines.site.get(f"{BASE}/artifacts/{artifact}:download?path={path}")).status in (400, 404, 409)
    assert (await pipelines.site.get(f"{BASE}/artifacts/none:download")).status == 404


async def test_a_run_of_a_version_refers_to_it_and_outlives_it(pipelines: Platform) -> None:
    pipeline = (await upload(pipelines, YAML, "?name=p")).json["pipeline_id"]
    reference = {"pipeline_id": pipeline}
    made = (await start(pipelines, pipeline_spec=None, pipeline_version_reference=reference)).json

    assert made["pipeline_version_reference"]["pipeline_id"] == pipeline
    assert "pipeline_spec" not in made
    assert (await pipelines.site.delete(f"{BASE}/pipelines/{pipeline}?cascade=true")).status == 200
    assert (await pipelines.site.get(f"{BASE}/runs/{made['run_id']}")).status == 200


@pytest.mark.parametrize(("fields", "message"), [
    ({"runtime_config": {"parameters": {}}}, 'parameter "b".*has no value'),
    ({"runtime_config": {"parameters": {"b": "x", "c": 1}}}, 'no parameter "c"'),
    ({"runtime_config": {"parameters": {"a": "ten", "b": "x"}}}, 'parameter "a"'),
    ({"runtime_config": {"parameters": [1]}}, '"parameters" must be an object'),
    ({"runtime_config": 1}, "must be an object"),
    ({"pipeline_spec": None}, "needs a pipeline_spec"),
    ({"pipeline_spec": {"root": 1}}, "root"),
    ({"pipeline_version_reference": {"pipeline_id": "x"}}, "not from both"),
    ({"display_name": 1}, '"display_name" must be a string'),
    ({"display_name": "x" * 300}, "more than 255 characters"),
])
async def test_a_run_that_cannot_start_is_refused(pipelines: Platform, fields: dict[str, Any], message: str) -> None:
    answer = await start(pipelines, **fields)

    assert answer.status == 400
    assert re.search(message, answer.json["message"]), answer.json
    assert (await pipelines.site.get(f"{BASE}/runs")).json["total_size"] == 0
    assert pipelines.engine.heard == []


async def test_runs_are_filtered_sorted_and_paged(pipelines: Platform) -> None:
    pipelines.engine.ends_runs = False
    for number in range(5):
        await start(pipelines, display_name=f"run {number}")
    site = pipelines.site
    first = (await site.get(f"{BASE}/runs?page_size=2&sort_by=created_at%20desc")).json
    second = (await site.get(
        f"{BASE}/runs?page_size=2&sort_by=created_at%20desc&page_token={first['next_page_token']}")).json

    names = [run["display_name"] for run in first["runs"] + second["runs"]]
    assert (names, first["total_size"]) == (["run 4", "run 3", "run 2", "run 1"], 5)
    filtered = json.dumps({"predicates": [{"operation": 9, "key": "name", "stringValue": "run 3"}]})
    answer = await site.call("GET", f"{BASE}/runs", params={"filter": filtered})
    assert [run["display_name"] for run in answer.json["runs"]] == ["run 3"]
    for query in ("page_token=x", "sort_by=nothing", "page_size=-1", "filter={", "sort_by=id%20sideways"):
        assert (await site.get(f"{BASE}/runs?{query}")).status == 400


async def test_a_list_takes_two_queries_however_long(pipelines: Platform) -> None:
    for _ in range(5):
        await start(pipelines)
    await pipelines.engine.idle()
    before = pipelines.deps.database.statements
    await pipelines.site.get(f"{BASE}/runs")

    assert pipelines.deps.database.statements - before == 2


async def test_runs_are_archived_terminated_retried_and_deleted(pipelines: Platform) -> None:
    pipelines.engine.ends_runs = False
    run = f"{BASE}/runs/{(await start(pipelines)).json['run_id']}"
    site = pipelines.site

    assert (await site.post(f"{run}:archive")).json == {}
    assert (await site.get(run)).json["storage_state"] == "ARCHIVED"
    await site.post(f"{run}:unarchive")
    assert (await site.get(run)).json["storage_state"] == "AVAILABLE"
    assert (await site.post(f"{run}:retry")).status == 400
    await site.post(f"{run}:terminate")
    assert (await site.get(run)).json["state"] == "CANCELING"
    assert (await site.delete(run)).json == {}
    for answer in (await site.get(run), await site.post(f"{run}:terminate"), await site.delete(run)):
        assert (answer.status, answer.json["code"]) == (404, 5)
    assert len(pipelines.engine.heard) == 5


async def test_experiments(pipelines: Platform) -> None:
    site = pipelines.site
    made = (await site.post(f"{BASE}/experiments", {"display_name": "e", "description": "d"})).json
    run = (await start(pipelines, experiment_id=made["experiment_id"])).json
    base = f"{BASE}/experiments/{made['experiment_id']}"

    assert (await site.post(f"{BASE}/experiments", {"display_name": "e"})).status == 409
    assert (await site.post(f"{BASE}/experiments", {})).status == 400
    assert (await site.get(base)).json["last_run_created_at"] == run["created_at"]
    listed = (await site.get(f"{BASE}/runs?experiment_id={made['experiment_id']}")).json
    assert [each["run_id"] for each in listed["runs"]] == [run["run_id"]]
    await site.post(f"{base}:archive")
    assert (await site.get(base)).json["storage_state"] == "ARCHIVED"
    assert (await site.get(f"{BASE}/runs/{run['run_id']}")).json["storage_state"] == "ARCHIVED"
    assert (await site.post(f"{BASE}/runs/{run['run_id']}:unarchive")).status == 400
    await site.post(f"{base}:unarchive")
    assert (await site.get(f"{BASE}/runs/{run['run_id']}")).json["storage_state"] == "ARCHIVED"  # as upstream
    assert (await site.post(f"{BASE}/runs/{run['run_id']}:unarchive")).status == 200
    assert (await site.delete(base)).status == 200
    assert (await site.get(base)).status == 404
    assert (await site.get(f"{BASE}/runs/{run['run_id']}")).json["experiment_id"] == made["experiment_id"]
    assert (await site.post(f"{BASE}/experiments", {"display_name": "e"})).status == 200
    assert (await site.get(f"{BASE}/experiments")).json["total_size"] == 1


async def test_an_archived_experiment_takes_runs_and_an_archived_run_a_retry_as_upstream(pipelines: Platform) -> None:
    site = pipelines.site
    made = (await site.post(f"{BASE}/experiments", {"display_name": "e"})).json["experiment_id"]
    await site.post(f"{BASE}/experiments/{made}:archive")

    run = (await start(pipelines, experiment_id=made)).json
    assert run["storage_state"] == "AVAILABLE"
    await pipelines.engine.idle()
    pipelines.engine.ends_runs = False
    await pipelines.deps.database.run(lambda c: c.exec_driver_sql("UPDATE runs SET state = 'FAILED'"))
    base = f"{BASE}/runs/{run['run_id']}"
    await site.post(f"{base}:archive")
    assert (await site.post(f"{base}:retry")).json == {}
    retried = (await site.get(base)).json
    assert (retried["state"], retried["storage_state"]) == ("PENDING", "ARCHIVED")


async def test_the_default_experiment_stays(pipelines: Platform) -> None:
    run = (await start(pipelines)).json
    answer = await pipelines.site.delete(f"{BASE}/experiments/{run['experiment_id']}")

    assert (answer.status, answer.json["code"]) == (400, 3)
    assert "The default experiment cannot be deleted" in answer.json["error"]


@pytest.mark.parametrize("kind", ["runs", "recurringruns"])
async def test_an_experiment_of_another_namespace_than_the_one_said_is_refused(pipelines: Platform, kind: str) -> None:
    made = (await pipelines.site.post(f"{BASE}/experiments", {"display_name": "e"})).json["experiment_id"]
    answer = await pipelines.site.post(f"{BASE}/{kind}", {
        "experiment_id": made, "namespace": "elsewhere", "trigger": {"periodic_schedule": {"interval_second": "60"}}})

    assert (answer.status, answer.json["code"]) == (400, 3)
    assert 'belongs to the namespace "default"' in answer.json["error"]


async def test_what_is_done_without_says_why(pipelines: Platform) -> None:
    answer = await pipelines.site.post(f"{BASE}/workflows", {})

    assert (answer.status, answer.json["code"]) == (501, 12)
    assert "no Argo workflows" in answer.json["error"]


@pytest.mark.parametrize("path", ["runs", "runs/x:reportMetrics", "pipelines/upload"])
async def test_the_first_api_says_which_is_served(pipelines: Platform, path: str) -> None:
    answer = await pipelines.site.post(f"/apis/v1beta1/{path}", {})

    assert (answer.status, answer.json["code"]) == (501, 12)
    assert "kfp 2 or later" in answer.json["error"]


async def test_health(pipelines: Platform) -> None:
    for version in ("v1beta1", "v2beta1"):
        assert (await pipelines.site.get(f"/apis/{version}/healthz")).json["multi_user"] is False


def every_route(pipelines: Platform) -> list[tuple[str, str]]:
    found = []
    for route in routes.routes(pipelines.deps):
        assert isinstance(route, Route)
        path = re.sub(r"{\w+}", "x", route.path)
        found += [(method, path) for method in route.methods or () if method != "HEAD"]
    return found


async def test_every_route_needs_a_token_and_a_review(pipelines: Platform) -> None:
    pipelines.site.allow = lambda asked: False
    for method, path in every_route(pipelines):
        assert (await pipelines.site.call(method, path, token=None)).status == 401, path
        spoofed = await pipelines.site.call(method, path, token=None, headers={"kubeflow-userid": "alice"})
        assert spoofed.status == 401, path
        allowed = 200 if path.endswith("healthz") else 0
        assert (await pipelines.site.call(method, path)).status in (403, 404, 400, 501, allowed), path


async def test_nothing_is_read_or_changed_without_access(pipelines: Platform, tmp_path: Path) -> None:
    pipeline = (await upload(pipelines, YAML, "?name=p")).json["pipeline_id"]
    run = (await start(pipelines)).json
    await pipelines.engine.idle()
    shown = (await pipelines.site.get(f"{BASE}/runs/{run['run_id']}")).json
    artifact = next(task["outputs"]["artifacts"][0]["artifacts"][0]["artifact_id"]
                    for task in shown["tasks"] if task["name"] == "train")
    heard = len(pipelines.engine.heard)
    pipelines.site.allow = lambda asked: False
    for method, path in every_route(pipelines):
        for concrete in ((f"/runs/{run['run_id']}", "/runs/x"), (f"pipelines/{pipeline}", "pipelines/x"),
                         (f"artifacts/{artifact}", "artifacts/x"),
                         (f"experiments/{run['experiment_id']}", "experiments/x")):
            if concrete[1] in path and "upload" not in path and not ("/nodes/" in path and "/runs/" not in concrete[1]):
                answer = await pipelines.site.call(method, path.replace(concrete[1], concrete[0]))
                assert answer.status == 403, (method, path, answer.text)
    assert (await pipelines.site.get(f"{BASE}/runs?namespace=other")).status == 403
    assert len(pipelines.engine.heard) == heard
