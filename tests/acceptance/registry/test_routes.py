"""The Model Registry's REST over plain HTTP, under both of its prefixes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.routing import Route

from lightship.domains.registry import routes
from lightship.kube.objects import Key
from lightship.records import experiments, registry, run_history
from lightship.records.pipeline_rows import OUTPUT, ArtifactEvent, ArtifactRow, Batch, TaskRow
from lightship.records.rows import Experiment, Run
from lightship.records.runs import Runs
from tests.unit.web.harness import Site

BASE = "/api/model_registry/v1"
OLD = "/api/model_registry/v1alpha3"
NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
PROPERTIES = {
    "text": {"metadataType": "MetadataStringValue", "string_value": "a"},
    "count": {"metadataType": "MetadataIntValue", "int_value": "3"},
    "ratio": {"metadataType": "MetadataDoubleValue", "double_value": 0.5},
    "good": {"metadataType": "MetadataBoolValue", "bool_value": True},
}


async def model(site: Site, name: str = "m", **fields: Any) -> Any:
    return (await site.post(f"{BASE}/registered_models", {"name": name} | fields)).json


async def version(site: Site, parent: str, name: str = "1", **fields: Any) -> Any:
    body = {"name": name, "registeredModelId": parent} | fields
    return (await site.post(f"{BASE}/model_versions", body)).json


@pytest.mark.parametrize("prefix", routes.PREFIXES)
async def test_a_model_with_a_version_and_an_artifact(site: Site, prefix: str) -> None:
    made = await site.post(f"{prefix}/registered_models", {
        "name": "m", "description": "d", "owner": "o", "language": ["en"], "externalId": "x", "state": "LIVE",
        "customProperties": PROPERTIES})
    assert made.status == 201
    parent = made.json
    assert (parent["id"], parent["language"], parent["customProperties"]) == ("1", ["en"], PROPERTIES)
    assert parent["createTimeSinceEpoch"] == parent["lastUpdateTimeSinceEpoch"]
    made = await site.post(f"{prefix}/registered_models/1/versions", {"name": "v1", "author": "a",
                                                                     "registeredModelId": "1"})
    assert (made.status, made.json["registeredModelId"], made.json["state"]) == (201, "1", "LIVE")
    made = await site.post(f"{prefix}/model_versions/1/artifacts", {
        "artifactType": "model-artifact", "name": "a", "uri": "minio://b/k", "modelFormatName": "sklearn"})
    assert (made.status, made.json["artifactType"], made.json["state"]) == (201, "model-artifact", "UNKNOWN")

    for query in ("registered_model?name=m", "registered_model?externalId=x"):
        assert (await site.get(f"{prefix}/{query}")).json == parent
    assert (await site.get(f"{prefix}/model_version?name=v1&parentResourceId=1")).json["author"] == "a"
    assert (await site.get(f"{prefix}/model_artifact?name=a&parentResourceId=1")).json["uri"] == "minio://b/k"
    assert (await site.get(f"{prefix}/artifacts/1")).json == made.json
    assert (await site.get(f"{prefix}/model_versions/1/artifacts")).json["items"] == [made.json]
    assert (await site.get(f"{prefix}/registered_models/1/versions")).json["size"] == 1


async def test_what_changes_and_what_stays(site: Site) -> None:
    made = await model(site, owner="o", description="before")
    changed = (await site.patch(f"{BASE}/registered_models/1", {
        "description": "after", "state": "ARCHIVED", "id": "1", "customProperties": PROPERTIES})).json

    assert (changed["description"], changed["owner"], changed["state"]) == ("after", "o", "ARCHIVED")
    assert changed["createTimeSinceEpoch"] == made["createTimeSinceEpoch"]
    assert (await site.get(f"{OLD}/registered_models/1")).json == changed
    assert (await site.patch(f"{BASE}/registered_models/1", {"name": "other"})).status == 400


@pytest.mark.parametrize(("path", "body", "status", "message"), [
    ("registered_models", {"name": "m", "colour": "red"}, 400, 'unknown field "colour" of a registered model'),
    ("registered_models", {}, 400, 'needs "name"'),
    ("registered_models", {"name": ""}, 400, 'needs "name"'),
    ("registered_models", {"name": 1}, 400, '"name" must be a string'),
    ("registered_models", {"name": "x" * 300}, 400, "more than 255"),
    ("registered_models", {"name": "m", "state": "DEAD"}, 400, "must be one of LIVE, ARCHIVED"),
    ("registered_models", {"name": "m", "language": "en"}, 400, "a list of strings"),
    ("registered_models", {"name": "taken"}, 409, "already a registered model"),
    ("registered_models", {"name": "m", "customProperties": {"p": 1}}, 400, r'customProperties.p" has no valid'),
    ("registered_models", {"name": "m", "customProperties": {
        "p": {"metadataType": "MetadataIntValue", "int_value": 3}}}, 400, 'needs a "int_value" of its type'),
    ("registered_models", {"name": "m", "customProperties": {
        "p": {"metadataType": "MetadataIntValue", "int_value": "3", "x": 1}}}, 400, 'unknown field "x"'),
    ("model_versions", {"name": "v"}, 400, 'needs "registeredModelId"'),
    ("model_versions", {"name": "v", "registeredModelId": "77"}, 404, "no registered model 77"),
    ("model_versions", {"name": "v", "registeredModelId": "x; DROP"}, 400, "is not an id"),
    ("registered_models/1/versions", {"name": "v", "registeredModelId": "2"}, 400, "not the one in the path"),
    ("registered_models/77/versions", {"name": "v"}, 404, "no registered model 77"),
    ("artifacts", {"name": "a"}, 400, '"artifactType" is not valid'),
    ("artifacts", {"name": "a", "artifactType": "virus"}, 400, '"artifactType" is not valid'),
    ("model_artifacts", {"name": "a", "artifactType": "metric"}, 400, '"artifactType" is not valid'),
    ("artifacts", {"artifactType": "metric", "value": 1}, 400, 'needs "name"'),
    ("artifacts", {"artifactType": "metric", "name": "a", "value": "high"}, 400, "must be a number"),
    ("inference_services", {"name": "i", "registeredModelId": "1", "servingEnvironmentId": "9"}, 404, "serving env"),
])
async def test_what_is_wrong_is_refused_by_name(site: Site, path: str, body: Any, status: int, message: str) -> None:
    await model(site, "taken")
    answer = await site.post(f"{BASE}/{path}", body)

    assert answer.status == status, answer.text
    assert answer.json["code"] == str(status)
    assert re.search(message, answer.json["message"]), answer.json


@pytest.mark.parametrize(("path", "status"), [
    ("registered_models/9", 404), ("registered_models/x", 400), ("registered_models/1e3", 400),
    ("registered_models/99999999999", 400), ("registered_model?name=none", 404), ("registered_model", 400),
    ("model_version?name=v", 400), ("registered_models?pageSize=x", 400), ("registered_models?orderBy=name", 400),
    ("registered_models?nextPageToken=x", 400), ("registered_models?filterQuery=name", 400),
    ("registered_models?filterQuery=secret%3D1", 400), ("artifacts?artifactType=virus", 400),
    ("registered_models/9/versions", 404), ("experiments", 501),
])
async def test_questions_that_have_no_answer(site: Site, path: str, status: int) -> None:
    answer = await site.get(f"{BASE}/{path}")

    assert answer.status == status, answer.text


async def test_lists_are_paged_ordered_and_filtered(site: Site) -> None:
    for number in range(5):
        await model(site, f"m{number}")
    names: list[str] = []
    token = ""
    for _ in range(3):
        answer = (await site.get(f"{BASE}/registered_models?pageSize=2&sortOrder=DESC&nextPageToken={token}")).json
        names += [item["name"] for item in answer["items"]]
        token = answer["nextPageToken"]
    assert (names, token) == (["m4", "m3", "m2", "m1", "m0"], "")
    assert (answer["size"], answer["pageSize"]) == (1, 2)

    found = await site.call("GET", f"{BASE}/registered_models", params={
        "filterQuery": "name LIKE 'm%' AND id IN (2, 3)", "orderBy": "CREATE_TIME"})
    assert [item["name"] for item in found.json["items"]] == ["m1", "m2"]


async def test_names_are_unique_where_upstream_has_them_unique(site: Site) -> None:
    await model(site, "a")
    await model(site, "b")
    await version(site, "1", "same")

    assert (await version(site, "2", "same"))["id"] == "2"
    assert (await site.post(f"{BASE}/model_versions", {"name": "same", "registeredModelId": "1"})).status == 409


async def test_an_artifact_is_changed_under_its_version(site: Site) -> None:
    await model(site)
    await version(site, "1")
    made = (await site.post(f"{BASE}/model_versions/1/artifacts", {
        "artifactType": "metric", "name": "accuracy", "value": 0.5, "step": 1, "timestamp": "1"})).json
    changed = await site.post(f"{BASE}/model_versions/1/artifacts", made | {"value": 0.75})

    assert (changed.status, changed.json["value"], changed.json["step"]) == (200, 0.75, 1)
    assert (await site.get(f"{BASE}/artifacts?artifactType=metric")).json["size"] == 1
    assert (await site.get(f"{BASE}/model_artifacts")).json["size"] == 0
    assert (await site.get(f"{BASE}/model_artifacts/{made['id']}")).status == 404
    assert (await site.patch(f"{BASE}/model_artifacts/{made['id']}", {"state": "LIVE"})).status == 404


async def test_serving_environments_and_services(site: Site) -> None:
    await model(site)
    await version(site, "1", "v1")
    newest = await version(site, "1", "v2")
    await site.post(f"{BASE}/serving_environments", {"name": "prod"})
    made = (await site.post(f"{BASE}/serving_environments/1/inference_services", {
        "name": "i", "registeredModelId": "1", "servingEnvironmentId": "1", "runtime": "r"})).json

    assert made["desiredState"] == "DEPLOYED"
    assert (await site.get(f"{BASE}/inference_services/1/model")).json["name"] == "m"
    assert (await site.get(f"{BASE}/inference_services/1/version")).json == newest
    await site.patch(f"{BASE}/inference_services/1", {"modelVersionId": "1", "desiredState": "UNDEPLOYED"})
    assert (await site.get(f"{BASE}/inference_services/1/version")).json["name"] == "v1"
    serve = (await site.post(f"{BASE}/inference_services/1/serves", {"modelVersionId": "1"})).json
    assert (serve["modelVersionId"], serve["lastKnownState"]) == ("1", "UNKNOWN")
    assert (await site.get(f"{BASE}/inference_services/1/serves")).json["size"] == 1
    assert (await site.get(f"{BASE}/inference_service?name=i&parentResourceId=1")).json["runtime"] == "r"


async def trained(deps: routes.Deps) -> None:
    """A run whose step made the artifact at minio://b/model."""
    made = ArtifactRow(artifact_id="art", name="model", uri="minio://b/model", digest="sha256:abc")
    task = TaskRow(task_id="task", run_id="run", namespace="default", path="root/train", parent_path="root",
                   name="train", display_name="train", type="RUNTIME", state="SUCCEEDED", created_at=NOW)
    await deps.database.run(lambda c: (
        experiments.create(c, Experiment(id="e", namespace="default", name="e", created_at=NOW)),
        run_history.create(c, Run(id="run", namespace="default", experiment_id="e", display_name="r",
                                  spec={"pipeline_spec": {}}, state="PENDING", created_at=NOW))))
    await Runs(deps.database).commit(Batch(
        namespace="default", run_id="run", tasks=(task,), artifacts=(made,),
        events=(ArtifactEvent(task_id="task", artifact_id="art", type=OUTPUT, key="model"),)))


async def test_a_version_leads_back_to_the_step_that_made_it(site: Site, deps: routes.Deps) -> None:
    await trained(deps)
    await model(site)
    await version(site, "1")
    heard: list[Key] = []
    deps.notices.subscribe("registry", heard.append)
    await site.post(f"{BASE}/model_versions/1/artifacts", {
        "artifactType": "model-artifact", "name": "a", "uri": "minio://b/model", "modelSourceKind": "kfp",
        "modelSourceId": "a lie"})

    assert (await site.get(f"{BASE}/model_versions/1/lineage")).json["items"] == [{
        "artifactId": "1", "uri": "minio://b/model", "digest": "sha256:abc", "runId": "run", "taskId": "task",
        "recordId": "art"}]
    assert len(heard) == 1
    latest = await deps.database.read(lambda c: registry.latest(c, "default", 10))
    assert [(row["model"], row["name"], row["run_id"]) for row in latest] == [("m", "1", "run")]


async def test_a_model_from_elsewhere_keeps_what_its_client_says(site: Site) -> None:
    await model(site)
    await version(site, "1")
    await site.post(f"{BASE}/model_versions/1/artifacts", {
        "artifactType": "model-artifact", "name": "a", "uri": "s3://far/away", "modelSourceKind": "kfp",
        "modelSourceId": "their-run"})

    item, = (await site.get(f"{BASE}/model_versions/1/lineage")).json["items"]
    assert (item["runId"], item["taskId"], item["digest"]) == ("their-run", None, None)


async def test_every_route_needs_a_token_and_a_review(site: Site, deps: routes.Deps) -> None:
    site.allow = lambda asked: False
    checked = 0
    for each in routes.routes(deps):
        assert isinstance(each, Route)
        path = re.sub(r"{\w+}", "1", each.path)
        for method in (each.methods or set()) - {"HEAD"}:
            assert (await site.call(method, path, token=None)).status == 401, path
            spoofed = await site.call(method, path, token=None, headers={"kubeflow-userid": "alice"})
            assert spoofed.status == 401, path
            assert (await site.call(method, path)).status == (501 if "experiment" in path else 403), path
            checked += 1
    assert checked > 80
