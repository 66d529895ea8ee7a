"""Tables of the InferenceService reconciler: objects in; writes, status and route out; a second pass writes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from lightship import errors
from lightship.domains.serving import SERVING, bootstrap, kinds
from lightship.kube.resources import DEPLOYMENTS, EVENTS, SERVICES
from lightship.testing.memory import Write
from tests.unit.serving.world import URL, World, service


async def test_a_new_service_gets_its_children_and_says_that_it_starts(world: World) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service())
    await world.reconcile()
    assert world.writes() == [
        ("create", "controllerrevisions", ""), ("create", "deployments", ""), ("create", "services", ""),
        ("create", "configmaps", ""), ("patch", "inferenceservices", "status")]
    deployment = world.find(DEPLOYMENTS, "iris-predictor")
    assert deployment["metadata"]["ownerReferences"][0]["kind"] == "InferenceService"
    pod = deployment["spec"]["template"]
    assert pod["metadata"]["labels"]["app"] == "isvc.iris-predictor"
    main = pod["spec"]["containers"][0]
    assert main["name"] == "kserve-container"
    assert main["args"][:3] == ["--model_name=iris", "--model_dir=/mnt/models", "--http_port=8080"]
    assert pod["spec"]["initContainers"][0]["args"] == ["minio://mlpipeline/models/iris", "/mnt/models"]
    assert world.find(SERVICES, "iris-predictor")["spec"]["ports"] == [
        {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    assert world.route()["backends"] == [{"revision": "iris-predictor-00001", "weight": 100, "endpoints": []}]
    assert world.route()["hosts"] == ["iris-default.example.com"]
    status = world.status()
    assert status["observedGeneration"] == 3
    assert status["url"] == URL
    assert status["address"]["url"] == "http://iris-predictor.default.svc.cluster.local"
    assert status["clusterServingRuntimeName"] == "kserve-sklearnserver"
    assert world.condition("Ready")["status"] == "Unknown"
    assert status["modelStatus"]["transitionStatus"] == "InProgress"


async def test_ready_pods_make_it_ready_and_a_second_pass_writes_nothing(world: World) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service())
    await world.reconcile()
    world.pod("iris-1", ip="127.1.0.7")
    await world.reconcile()
    assert world.writes() == [("patch", "configmaps", ""), ("patch", "inferenceservices", "status")]
    assert world.route()["backends"][0]["endpoints"] == ["127.1.0.7:8080"]
    assert {name: world.condition(name)["status"] for name in ("PredictorReady", "IngressReady", "Ready")} == {
        "PredictorReady": "True", "IngressReady": "True", "Ready": "True"}
    status = world.status()
    assert status["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "Loaded"}
    assert status["components"]["predictor"]["latestRolledoutRevision"] == "iris-predictor-00001"
    assert [event["reason"] for event in world.api.all(EVENTS.path())] == ["InferenceServiceReady"]
    await world.clock.advance(100)
    await world.reconcile()
    assert world.api.writes == []


async def test_transition_times_move_with_the_status_only(world: World) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service())
    await world.reconcile()
    before = world.condition("Ready")["lastTransitionTime"]
    await world.clock.advance(100)
    world.pod("iris-1")
    await world.reconcile()
    after = world.condition("Ready")["lastTransitionTime"]
    assert after > before
    await world.clock.advance(100)
    world.pod("iris-2", ip="127.1.0.8")
    await world.reconcile()
    assert world.condition("Ready")["lastTransitionTime"] == after
    assert world.route()["backends"][0]["endpoints"] == ["127.1.0.5:8080", "127.1.0.8:8080"]


async def test_a_rollout_sends_traffic_to_the_old_until_the_new_is_ready(world: World) -> None:
    stored = world.insert(kinds.INFERENCE_SERVICES, service())
    await world.reconcile()
    old = world.revision()
    world.pod("old", ip="127.1.0.1")
    await world.reconcile()
    world.insert(kinds.INFERENCE_SERVICES, service({"sklearn": {"storageUri": "minio://mlpipeline/models/iris2"}},
                                                   uid=stored["metadata"]["uid"], generation=4)
                 | {"status": world.status()})
    await world.reconcile()
    new = world.revision()
    assert new != old
    world.pod("new", ready=False, ip="127.1.0.2")
    await world.reconcile()
    assert world.route()["backends"] == [
        {"revision": "iris-predictor-00002", "weight": 0, "endpoints": []},
        {"revision": "iris-predictor-00001", "weight": 100, "endpoints": ["127.1.0.1:8080"]}]
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.status()["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "Loading"}
    world.pod("new", ip="127.1.0.2")
    await world.reconcile()
    assert world.route()["backends"] == [
        {"revision": "iris-predictor-00002", "weight": 100, "endpoints": ["127.1.0.2:8080"]}]
    component = world.status()["components"]["predictor"]
    assert (component["latestRolledoutRevision"], component["previousRolledoutRevision"]) == (
        "iris-predictor-00002", "iris-predictor-00001")


INIT_FAILED: dict[str, Any] = {"initContainerStatuses": [{"name": "storage-initializer", "state": {"terminated": {
    "exitCode": 1, "reason": "Error", "message": "fetching x\nnothing lies at minio://b/x. Check the bucket"}}}]}
CRASHING: dict[str, Any] = {"containerStatuses": [{
    "name": "kserve-container", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1, "message": 'could not load "model.joblib": EOFError'}}}]}
NO_IMAGE: dict[str, Any] = {"containerStatuses": [{
    "name": "kserve-container", "state": {"waiting": {"reason": "ErrImagePull", "message": "unknown image x"}}}]}
KILLED: dict[str, Any] = {"containerStatuses": [{"name": "kserve-container", "state": {"terminated": {
    "exitCode": 137, "signal": 9, "reason": "OOMKilled"}}}]}
UNSCHEDULED: dict[str, Any] = {"conditions": [
    {"type": "PodScheduled", "status": "False", "message": "0 of 1 nodes have 64Gi"}]}


@pytest.mark.parametrize(("pod_status", "reason", "words"), [
    (INIT_FAILED, "ModelLoadFailed", "exited with 1: nothing lies at minio://b/x"),
    (CRASHING, "ModelLoadFailed", 'could not load "model.joblib": EOFError'),
    (NO_IMAGE, "RuntimeUnhealthy", "ErrImagePull: unknown image x"),
    (KILLED, "ModelLoadFailed", "killed by signal 9 (OOMKilled)"),
    (UNSCHEDULED, "RuntimeUnhealthy", "0 of 1 nodes have 64Gi"),
    ({"phase": "Failed", "reason": "NodeRestarted", "message": "the node was restarted"}, "RuntimeUnhealthy",
     "the node was restarted"),
])
async def test_why_it_is_not_ready_in_one_line(world: World, pod_status: dict[str, Any], reason: str,
                                               words: str) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service())
    await world.reconcile()
    world.pod("iris-1", ready=False, status=pod_status)
    await world.reconcile()
    model = world.status()["modelStatus"]
    assert model["transitionStatus"] == "BlockedByFailedLoad"
    assert model["states"] == {"activeModelState": "", "targetModelState": "FailedToLoad"}
    assert model["lastFailureInfo"]["reason"] == reason
    assert words in model["lastFailureInfo"]["message"]
    assert "\n" not in model["lastFailureInfo"]["message"]
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert words in world.route()["message"]
    await world.clock.advance(100)
    await world.reconcile()
    assert world.api.writes == []


async def test_a_failed_new_revision_leaves_the_old_serving(world: World) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service())
    await world.reconcile()
    world.pod("old", revision="earlier", ip="127.1.0.1")
    world.pod("new", ready=False, status=CRASHING)
    await world.reconcile()
    assert world.status()["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    assert world.route()["backends"][1] == {"revision": "earlier", "weight": 100, "endpoints": ["127.1.0.1:8080"]}


@pytest.mark.parametrize(("predictor", "reason", "words"), [
    ({"xgboost": {"storageUri": "s3://b/x"}}, "NoSupportingRuntime", '"xgboost" with protocol v1'),
    ({"model": {"modelFormat": {"name": "sklearn"}, "runtime": "nope", "storageUri": "s3://b/x"}},
     "RuntimeNotRecognized", '"nope"'),
    ({"model": {"modelFormat": {"name": "sklearn", "version": "7"}, "storageUri": "s3://b/x"}},
     "NoSupportingRuntime", "version 7"),
])
async def test_no_runtime_is_said_at_once(world: World, predictor: dict[str, Any], reason: str, words: str) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service(predictor))
    await world.reconcile()
    model = world.status()["modelStatus"]
    assert (model["transitionStatus"], model["lastFailureInfo"]["reason"]) == ("InvalidSpec", reason)
    assert words in model["lastFailureInfo"]["message"]
    assert world.writes() == [("create", "configmaps", ""), ("patch", "inferenceservices", "status")]
    await world.reconcile()
    assert world.api.writes == []


async def test_v2_goes_to_the_runtime_of_higher_priority(world: World) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service({"model": {
        "modelFormat": {"name": "sklearn"}, "protocolVersion": "v2", "storageUri": "s3://b/x"}}))
    await world.reconcile()
    assert world.status()["clusterServingRuntimeName"] == "kserve-mlserver"


async def test_a_runtime_of_the_namespace_comes_first(world: World) -> None:
    world.insert(kinds.SERVING_RUNTIMES, {
        "apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime",
        "metadata": {"name": "mine", "namespace": "default"},
        "spec": {"supportedModelFormats": [{"name": "sklearn", "autoSelect": True}],
                 "containers": [{"name": "kserve-container", "image": "mine:1",
                                 "args": ["{{.Name}}", "{{ .Namespace }}"],
                                 "env": [{"name": "A", "value": "{{.Labels.team}}"}]}]}})
    world.insert(kinds.INFERENCE_SERVICES, service(
        {"sklearn": {"storageUri": "pvc://claim/sub/dir", "args": ["--more"], "env": [{"name": "B", "value": "2"}]}},
        labels={"team": "blue"}))
    await world.reconcile()
    assert world.status()["servingRuntimeName"] == "mine"
    pod = world.find(DEPLOYMENTS, "iris-predictor")["spec"]["template"]["spec"]
    main = pod["containers"][0]
    assert main["args"] == ["iris", "default", "--more"]
    assert {entry["name"]: entry.get("value") for entry in main["env"]} == {
        "A": "blue", "B": "2", "POD_IP": None, "INFERENCE_SERVICE_NAME": "iris"}
    assert main["volumeMounts"] == [{"name": "kserve-pvc-source", "mountPath": "/mnt/models", "readOnly": True,
                                     "subPath": "sub/dir"}]
    assert "initContainers" not in pod


async def test_a_custom_container(world: World) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service({"minReplicas": 2, "timeout": 7, "containers": [
        {"image": "python:3.12", "command": ["serve"], "ports": [{"containerPort": 9000}]}]}))
    await world.reconcile()
    deployment = world.find(DEPLOYMENTS, "iris-predictor")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["name"] == "kserve-container"
    world.pod("a", ip="127.1.0.3")
    await world.reconcile()
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.route()["backends"][0]["endpoints"] == ["127.1.0.3:9000"]
    assert world.route()["timeoutSeconds"] == 7


async def test_stop_by_annotation_takes_everything_away_and_starts_again_from_there(world: World) -> None:
    stored = world.insert(kinds.INFERENCE_SERVICES, service())
    await world.reconcile()
    world.pod("iris-1")
    await world.reconcile()
    there = {"uid": stored["metadata"]["uid"]}
    world.insert(kinds.INFERENCE_SERVICES, service(annotations={"serving.kserve.io/stop": "true"}, **there)
                 | {"status": world.status()})
    await world.reconcile()
    assert [write for write in world.writes() if write[0] == "delete"] == [
        ("delete", "deployments", ""), ("delete", "services", "")]
    assert world.condition("Stopped")["status"] == "True"
    assert world.condition("Ready")["reason"] == "Stopped"
    assert world.route()["backends"] == []
    assert "stopped" in world.route()["message"]
    assert "url" not in world.status()
    await world.reconcile()
    assert world.api.writes == []
    world.insert(kinds.INFERENCE_SERVICES, service(**there) | {"status": world.status()})
    await world.reconcile()
    assert world.condition("Stopped")["status"] == "False"
    component = world.status()["components"]["predictor"]
    assert component["latestRolledoutRevision"] == component["latestCreatedRevision"] == "iris-predictor-00001"


async def test_a_name_that_another_owns_is_said_in_the_status(world: World) -> None:
    world.insert(DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
        "name": "iris-predictor", "namespace": "default",
        "ownerReferences": [{"kind": "Other", "name": "o", "uid": "u9", "controller": True}]}})
    world.insert(kinds.INFERENCE_SERVICES, service())
    result = await world.reconcile()
    assert result.requeue_after_seconds == 30
    assert 'belongs to Other "o"' in world.status()["modelStatus"]["lastFailureInfo"]["message"]


@pytest.mark.parametrize("failing", range(5))
async def test_a_failed_write_is_made_good_by_the_next_pass(world: World, failing: int) -> None:
    world.insert(kinds.INFERENCE_SERVICES, service())
    await world.catch_up()
    count = 0

    def fault(write: Write) -> errors.LightshipError | None:
        nonlocal count
        count += 1
        return errors.Unavailable("induced") if count == failing + 1 else None

    world.api.fault = fault
    with pytest.raises(errors.Unavailable):
        await world.reconcile()
    world.api.fault = None
    await world.reconcile()
    assert world.condition("Ready")["status"] == "Unknown"
    assert world.route()["name"] == "iris"
    await world.reconcile()
    assert world.api.writes == []


async def test_one_that_is_gone_or_going_is_left_alone(world: World) -> None:
    await world.reconcile()
    assert world.api.writes == []
    world.insert(kinds.INFERENCE_SERVICES, service(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x"]))
    await world.reconcile()
    assert world.api.writes == []


async def test_bootstrap_leaves_what_is_there(world: World) -> None:
    world.api.writes.clear()
    await bootstrap(world.api.client())
    assert {runtime["metadata"]["name"] for runtime in world.api.all(kinds.CLUSTER_SERVING_RUNTIMES.path())} == {
        "kserve-sklearnserver", "kserve-mlserver"}


def test_the_domain_has_its_furniture() -> None:
    assert [kind.resource.kind for kind in SERVING.kinds] == [
        "InferenceService", "ServingRuntime", "ClusterServingRuntime", "InferenceGraph", "TrainedModel"]
