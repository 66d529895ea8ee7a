"""A step's key in the cache, its Pod, what its record says, and its share of the slots."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from lightship.domains.pipelines import cache, children, dag, execution, names, outcome, parse, projection
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.execution import Execution
from lightship.records.pipeline_rows import ArtifactRow, RunRow
from lightship.testing.clock import EPOCH
from tests.unit.pipelines import specs

DATA = {"artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}}}
ARTIFACT = ArtifactRow(artifact_id="a", name="data", type_title="system.Dataset", uri="minio://b/1/data",
                       metadata={"rows": 3}, digest="sha256:1")


def step(*, parameters: Any = "hello", artifact: ArtifactRow = ARTIFACT, task: specs.Spec | None = None,
         config: specs.Spec | None = None, run: str = "run-1", **container: Any) -> Execution:
    """An attempt of a step that takes a parameter and an artifact and gives a parameter and an artifact."""
    interface = {**specs.parameters(x="STRING"), **DATA}
    given_task = specs.task("comp-step", inputs={"x": specs.constant(parameters)})
    given_task["inputs"]["artifacts"] = {"data": {"taskOutputArtifact": {
        "producerTask": "made", "outputArtifactKey": "data"}}}
    given_task |= {"cachingOptions": {"enableCache": True}, **(task or {})}
    body = {"image": "busybox", "command": ["run"], "args": ["{{$}}", "{{$.inputs.artifacts['data'].path}}"],
            **container}
    spec = specs.pipeline(
        {"made": specs.task("comp-made"), "step": given_task},
        {"comp-made": specs.component("made", outputs=DATA),
         "comp-step": specs.component("step", inputs=interface, outputs={**specs.parameters(n="NUMBER_INTEGER"),
                                                                         **DATA})},
        exec_step={"container": body})
    stored = {"pipeline_spec": spec}
    if config:
        deployment = {"deploymentSpec": {"executors": {"exec-step": config}}}
        stored["platform_spec"] = {"platforms": {"kubernetes": deployment}}
    pipeline = parse.spec(stored)
    unfolded = dag.Dag(pipeline, run_id=run)
    unfolded.begin({})
    node = unfolded.nodes["root/step"]
    node.parameters, node.artifacts = {"x": parameters}, {"data": (artifact,)}
    record = RunRow(namespace="default", run_id=run, name="r", state="RUNNING", spec=stored, created_at=EPOCH,
                    scheduled_at=EPOCH)
    row = projection.row(node, None, run_id=run, namespace="default", now=EPOCH)
    return execution.of(record, pipeline, node, structs.replace(row, pod="step-1"))


def key(found: Execution) -> str:
    return cache.key(found, execution.job_of(found.run, found.pipeline))


def test_the_key_is_the_contents_and_not_the_place() -> None:
    base = key(step())
    assert base and base == key(step(run="run-2"))
    assert base == key(step(artifact=structs.replace(ARTIFACT, uri="minio://elsewhere/2", artifact_id="b")))
    different = [
        step(parameters="other"), step(artifact=structs.replace(ARTIFACT, digest="sha256:2")),
        step(artifact=structs.replace(ARTIFACT, metadata={"rows": 4})), step(image="alpine"), step(command=["walk"]),
        step(env=[{"name": "A", "value": "1"}]), step(config={"nodeSelector": {"labels": {"a": "b"}}})]
    keys = {key(found) for found in different}
    assert len(keys) == len(different) and base not in keys


def test_an_image_counts_by_what_it_means_where_steps_run() -> None:
    found = step()
    job = execution.job_of(found.run, found.pipeline)
    meanings = [cache.key(found, job, images) for images in (str, lambda image: "sha256:1", lambda image: "sha256:2")]
    assert len(set(meanings)) == 3
    assert meanings[1] == cache.key(step(), job, lambda image: "sha256:1")


def test_what_may_differ_unseen_has_no_key_unless_its_author_gives_one() -> None:
    assert not key(step(task={"cachingOptions": {}}))
    assert not key(step(artifact=structs.replace(ARTIFACT, uri="gs://b/1", digest="")))
    assert not key(step(config={"pvcMount": [{"constant": "c", "mountPath": "/data"}]}))
    assert not key(step(parameters="/kfp-workspace/data"))
    own = {"cachingOptions": {"enableCache": True, "cacheKey": "mine"}}
    assert key(step(task=own)) == key(step(task=own, parameters="other", image="alpine"))
    found = step(task=own)
    assert key(found) != key(replace(found, pipeline=replace(found.pipeline, name="another")))


def test_the_pod_is_as_agreed_with_the_node() -> None:
    found = step(env=[{"name": "A", "value": "{{$.inputs.parameters['x']}}"}],
                 resources={"resourceCpuLimit": "500m", "resourceMemoryRequest": "1Gi"})
    pod = children.make_pod(found, execution.job_of(found.run, found.pipeline))
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    assert pod["metadata"]["labels"][names.RUN_LABEL] == "run-1"
    assert pod["metadata"]["labels"][names.COMPONENT_LABEL] == "true"
    assert pod["metadata"]["finalizers"] == [names.FINALIZER]
    assert "ownerReferences" not in pod["metadata"]
    assert [container["name"] for container in (*spec["initContainers"], *spec["containers"])] == [
        "stage-in", "main", "stage-out"]
    assert spec["restartPolicy"] == "Never"
    assert {"name": "A", "value": "hello"} in main["env"]
    assert main["resources"] == {"limits": {"cpu": "500m"}, "requests": {"memory": "1Gi"}}
    assert main["args"][1] == "/minio/b/1/data"
    given = json.loads(main["args"][0])
    assert given["inputs"]["parameterValues"] == {"x": "hello"}
    assert given["outputs"]["outputFile"].startswith(execution.local_path(found.root) + "/")
    plan = json.loads(spec["containers"][1]["env"][0]["value"])
    assert plan["commit"] == f"{found.root}/commit.json" and plan["artifacts"][0]["uri"] == f"{found.root}/data"


def test_a_command_line_may_name_its_own_task() -> None:
    found = step(args=["{{$.pipeline_task_name}}", "{{$.pipeline_task_uuid}}"])
    main = children.make_pod(found, execution.job_of(found.run, found.pipeline))["spec"]["containers"][0]
    assert main["args"] == ["step", found.row.task_id]


def test_a_resource_that_is_no_quantity_is_the_steps_failure() -> None:
    found = step(resources={"resourceCpuLimit": "{{$.inputs.parameters['x']}}"})
    with pytest.raises(StepError, match='"hello", which is not a quantity'):
        children.make_pod(found, execution.job_of(found.run, found.pipeline))


def test_the_platform_config_goes_into_the_pod() -> None:
    found = step(config={
        "secretAsEnv": [{"secretNameParameter": {"runtimeValue": {"constant": "s"}}, "optional": True,
                         "keyToEnv": [{"secretKey": "k", "envVar": "V"}]}],
        "configMapAsVolume": [{"configMapName": "c", "mountPath": "/conf"}],
        "pvcMount": [{"pvcNameParameter": {"runtimeValue": {"constant": "claim"}}, "mountPath": "/d", "subPath": "p"}],
        "nodeSelector": {"labels": {"disk": "fast"}}, "activeDeadlineSeconds": "60", "imagePullPolicy": "Always",
        "tolerations": [{"key": "k", "operator": "Exists"}], "securityContext": {"runAsUser": "1000"},
        "podMetadata": {"labels": {"team": "a", names.RUN_LABEL: "stolen"}},
        "fieldPathAsEnv": [{"name": "NODE", "fieldPath": "spec.nodeName"}],
        "emptyDirMounts": [{"volumeName": "scratch", "mountPath": "/scratch", "sizeLimit": "1Gi"}]})
    pod = children.make_pod(found, execution.job_of(found.run, found.pipeline))
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    assert {"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}} in main["env"]
    assert {"name": "claim-claim", "mountPath": "/d", "subPath": "p"} in main["volumeMounts"]
    assert {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}} in spec["volumes"]
    assert spec["nodeSelector"] == {"disk": "fast"} and spec["activeDeadlineSeconds"] == 60
    assert main["securityContext"] == {"runAsUser": 1000}
    assert pod["metadata"]["labels"]["team"] == "a" and pod["metadata"]["labels"][names.RUN_LABEL] == "run-1"
    seen = {mount["mountPath"] for mount in spec["containers"][1]["volumeMounts"]}
    assert {"/d", "/scratch"} <= seen, "an output's custom_path may lie in them"
    assert "/conf" not in seen


def test_the_record_is_read_by_declared_types_and_the_executor_wins() -> None:
    found = step()
    record = {"version": 1, "parameterFiles": {"n": "4"}, "parameterValues": {"n": 5.0}, "artifacts": {"data": [
        {"uri": f"{found.root}/data", "metadata": {"acc": 1.0}, "digest": "sha256:9", "sizeBytes": 7}]}}
    outputs = outcome.outputs(json.dumps(record).encode(), found)
    assert outputs.parameters == {"n": 5}
    [made] = outputs.artifacts["data"]
    assert (made.digest, made.size_bytes, made.metadata) == ("sha256:9", 7, {"acc": 1})
    record["parameterValues"] = {"n": "many"}
    with pytest.raises(StepError, match="NUMBER_INTEGER"):
        outcome.outputs(json.dumps(record).encode(), found)
    with pytest.raises(StepError, match="version"):
        outcome.outputs(b'{"version": 2}', found)


def test_an_input_passed_on_stays_the_same_artifact() -> None:
    found = step()
    record = {"version": 1, "parameterValues": {"n": 1}, "artifacts": {"data": [{"uri": ARTIFACT.uri, "metadata": {}}]}}
    assert outcome.outputs(json.dumps(record).encode(), found).artifacts["data"] == (ARTIFACT,)
