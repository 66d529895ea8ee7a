"""Tables of canaries, promotions and rollbacks: who runs, who gets the traffic, and what the status calls it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from lightship import errors
from lightship.domains.serving import kinds
from lightship.kube.resources import CONTROLLER_REVISIONS, DEPLOYMENTS, PODS, SERVICES
from lightship.testing.memory import Write
from tests.unit.serving.world import World, service

ONE, TWO, THREE = "iris-predictor-00001", "iris-predictor-00002", "iris-predictor-00003"
STABLE, CANARY = "iris-predictor", "iris-predictor-canary"


def model(version: int, **more: Any) -> dict[str, Any]:
    return {"sklearn": {"storageUri": f"minio://models/iris{version}"}, **more}


def names(world: World) -> list[str]:
    return sorted(each["metadata"]["name"] for each in world.api.all(DEPLOYMENTS.path()))


def weights(world: World) -> dict[str, tuple[int, list[str]]]:
    return {each["revision"]: (each["weight"], [endpoint.partition(":")[0] for endpoint in each["endpoints"]])
            for each in world.route()["backends"]}


def component(world: World, name: str = "predictor") -> dict[str, Any]:
    found: dict[str, Any] = world.status()["components"][name]
    return found


def traffic(world: World) -> list[tuple[str, int, str]]:
    return [(each["revisionName"], each["percent"], each.get("tag", "")) for each in component(world)["traffic"]]


async def rolled_out(world: World, mode: str = "Standard") -> None:
    """The first revision, ready on one Pod."""
    world.apply(service(model(1), annotations={"serving.kserve.io/deploymentMode": mode}))
    await world.reconcile()
    world.pod("one", ip="10.0.0.1")
    await world.reconcile()
    assert component(world)["latestRolledoutRevision"] == ONE


def apply(world: World, predictor: dict[str, Any], mode: str = "Standard", **spec: Any) -> None:
    world.apply(service(predictor, spec, annotations={"serving.kserve.io/deploymentMode": mode}))


@pytest.mark.parametrize("mode", ["Standard", "Knative"])
async def test_a_canary_gets_its_part_once_it_is_ready_and_is_promoted(world: World, mode: str) -> None:
    await rolled_out(world, mode)
    apply(world, model(2, canaryTrafficPercent=10), mode)
    await world.reconcile()
    assert names(world) == [STABLE, CANARY]
    assert weights(world) == {TWO: (0, []), ONE: (100, ["10.0.0.1"])}
    assert world.condition("Ready")["status"] == "Unknown"
    world.pod("two", ip="10.0.0.2", deployment=CANARY)
    await world.reconcile()
    assert weights(world) == {TWO: (10, ["10.0.0.2"]), ONE: (90, ["10.0.0.1"])}
    assert traffic(world) == [(TWO, 10, ""), (ONE, 90, "prev")]
    assert component(world)["latestReadyRevision"] == TWO
    assert component(world)["latestRolledoutRevision"] == ONE
    assert world.condition("Ready")["status"] == "True"
    assert world.status()["deploymentMode"] == mode

    # More of it changes no Pod.
    apply(world, model(2, canaryTrafficPercent=50), mode)
    await world.reconcile()
    assert weights(world) == {TWO: (50, ["10.0.0.2"]), ONE: (50, ["10.0.0.1"])}
    assert [write for write in world.writes() if write[1] == "deployments"] == []

    # All of it: the canary's Pods serve until the Deployment has as many of its own.
    apply(world, model(2), mode)
    await world.reconcile()
    assert names(world) == [STABLE, CANARY]
    assert world.revision(STABLE) == world.revision(CANARY)
    assert weights(world) == {TWO: (100, ["10.0.0.2"])}
    assert component(world)["latestRolledoutRevision"] == TWO
    assert component(world)["previousRolledoutRevision"] == ONE
    await world.remove(PODS, "one")
    world.pod("three", ip="10.0.0.3")
    await world.reconcile()
    assert names(world) == [STABLE]
    await world.remove(PODS, "two")
    await world.reconcile()
    assert weights(world) == {TWO: (100, ["10.0.0.3"])}
    await world.reconcile()
    assert world.api.writes == []


async def test_a_canary_that_is_taken_back_leaves_no_trace_on_the_stable_pods(world: World) -> None:
    await rolled_out(world)
    apply(world, model(2, canaryTrafficPercent=10))
    await world.reconcile()
    world.pod("two", ready=False, ip="10.0.0.2", deployment=CANARY)
    await world.reconcile()
    before = world.find(DEPLOYMENTS, STABLE)
    apply(world, model(1))
    await world.reconcile()
    assert names(world) == [STABLE]
    assert world.find(DEPLOYMENTS, STABLE) == before
    assert weights(world) == {ONE: (100, ["10.0.0.1"])}
    assert component(world)["latestRolledoutRevision"] == component(world)["latestCreatedRevision"] == ONE


async def test_one_that_is_rolled_out_goes_back_to_the_one_before(world: World) -> None:
    await rolled_out(world)
    apply(world, model(2))
    await world.reconcile()
    await world.remove(PODS, "one")
    world.pod("two", ip="10.0.0.2")
    await world.reconcile()
    assert component(world)["latestRolledoutRevision"] == TWO
    apply(world, model(2, canaryTrafficPercent=0))
    await world.reconcile()
    assert names(world) == [STABLE, CANARY]
    assert weights(world) == {TWO: (100, ["10.0.0.2"]), ONE: (0, [])}, "nobody else is ready yet"
    assert component(world)["latestRolledoutRevision"] == ONE
    world.pod("back", ip="10.0.0.1")
    await world.reconcile()
    assert weights(world)[ONE] == (100, ["10.0.0.1"])
    assert weights(world)[TWO][0] == 0
    await world.reconcile()
    assert world.api.writes == []


async def test_the_other_half_survives_the_loss_of_its_deployment(world: World) -> None:
    await rolled_out(world)
    apply(world, model(2, canaryTrafficPercent=10))
    await world.reconcile()
    one = world.revision(STABLE)
    await world.remove(DEPLOYMENTS, STABLE)
    await world.reconcile()
    assert world.revision(STABLE) == one


async def test_a_third_revision_takes_the_canarys_place(world: World) -> None:
    await rolled_out(world)
    apply(world, model(2, canaryTrafficPercent=10))
    await world.reconcile()
    world.pod("two", ip="10.0.0.2", deployment=CANARY)
    await world.reconcile()
    apply(world, model(3, canaryTrafficPercent=10))
    await world.reconcile()
    assert component(world)["latestCreatedRevision"] == THREE
    assert weights(world) == {THREE: (0, []), ONE: (100, ["10.0.0.1"])}
    world.pod("three", ip="10.0.0.3", deployment=CANARY)
    await world.reconcile()
    assert weights(world) == {THREE: (10, ["10.0.0.3"]), ONE: (90, ["10.0.0.1"])}


def canary(percent: int, version: int = 2, **more: Any) -> dict[str, Any]:
    return {"trafficPercent": percent, "predictor": {"name": f"v{version}", **model(version), **more}}


async def test_listed_canaries_have_their_own_deployments_and_take_from_the_stable_one(world: World) -> None:
    await rolled_out(world)
    apply(world, model(1, minReplicas=1), canary=[canary(20), canary(0, 3)])
    await world.reconcile()
    assert names(world) == [STABLE, "iris-v2-predictor", "iris-v3-predictor"]
    assert {each["metadata"]["name"] for each in world.api.all(SERVICES.path())} == {
        STABLE, "iris-v2-predictor", "iris-v3-predictor"}
    assert world.find(DEPLOYMENTS, "iris-v3-predictor")["spec"]["replicas"] == 0, "nothing of nothing"
    assert weights(world) == {ONE: (100, ["10.0.0.1"]), "iris-v2-predictor": (0, []), "iris-v3-predictor": (0, [])}
    assert world.condition("CanaryPredictorReady")["reason"] == "CanariesNotReady"
    assert world.condition("Ready")["status"] == "True"
    world.pod("two", ip="10.0.0.2", deployment="iris-v2-predictor")
    await world.reconcile()
    assert weights(world)[ONE][0] == 80
    assert weights(world)["iris-v2-predictor"] == (20, ["10.0.0.2"])
    assert [backend.get("tag") for backend in world.route()["backends"]] == [None, "v2", "v3"]
    assert [(each["name"], each["ready"]) for each in world.status()["canaryStatuses"]] == [("v2", True), ("v3", False)]

    # Promotion by name adopts the running Deployment: nothing starts again.
    before = world.find(DEPLOYMENTS, "iris-v2-predictor")["spec"]["template"]
    apply(world, model(2, minReplicas=1, name="v2"))
    await world.reconcile()
    assert world.find(DEPLOYMENTS, "iris-v2-predictor")["spec"]["template"] == before
    assert names(world) == ["iris-v2-predictor"]
    assert weights(world) == {TWO: (100, ["10.0.0.2"])}
    assert "canaryStatuses" not in world.status()
    assert "CanaryPredictorReady" not in {each["type"] for each in world.status()["conditions"]}


async def test_a_predictor_of_another_name_takes_over_only_once_it_is_ready(world: World) -> None:
    await rolled_out(world)
    apply(world, model(2, name="v2"))
    await world.reconcile()
    assert names(world) == [STABLE, "iris-v2-predictor"]
    assert weights(world) == {TWO: (0, []), ONE: (100, ["10.0.0.1"])}
    world.pod("two", ip="10.0.0.2", deployment="iris-v2-predictor")
    await world.reconcile()
    assert names(world) == ["iris-v2-predictor"]
    assert weights(world) == {TWO: (100, ["10.0.0.2"])}


async def test_what_a_new_template_leaves_out_goes(world: World) -> None:
    limits = {"resources": {"limits": {"example.com/gpu": "1"}}}
    world.apply(service({"nodeSelector": {"disk": "ssd"}, "sklearn": {"storageUri": "minio://m/1", **limits}}))
    await world.reconcile()
    assert world.find(DEPLOYMENTS, STABLE)["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "ssd"}
    world.apply(service({"sklearn": {"storageUri": "minio://m/1"}}))
    await world.reconcile()
    pod = world.find(DEPLOYMENTS, STABLE)["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod
    assert "example.com/gpu" not in pod["containers"][0]["resources"]["limits"]


async def test_old_revisions_are_dropped_but_never_those_in_use(world: World) -> None:
    await rolled_out(world)
    for version in range(2, 18):
        apply(world, model(version, canaryTrafficPercent=10))
        await world.reconcile()
    kept = [each["metadata"]["name"] for each in world.api.all(CONTROLLER_REVISIONS.path())]
    assert ONE in kept
    assert "iris-predictor-00017" in kept
    assert len(kept) <= 13
    await world.reconcile()
    assert world.api.writes == []


async def test_a_transformer_and_an_explainer_are_components_of_their_own(world: World) -> None:
    apply(world, model(1), transformer={"containers": [{"name": "mine", "image": "python:3.12", "env": [
        {"name": "STORAGE_URI", "value": "minio://models/words"}]}]},
        explainer={"containers": [{"image": "python:3.12", "args": ["--predictor_host=elsewhere"]}]})
    await world.reconcile()
    assert names(world) == ["iris-explainer", "iris-predictor", "iris-transformer"]
    pod = world.find(DEPLOYMENTS, "iris-transformer")["spec"]["template"]["spec"]
    assert pod["containers"][0]["name"] == "kserve-container"
    assert pod["containers"][0]["args"] == ["--model_name", "iris", "--predictor_host", "iris-predictor.default",
                                            "--http_port", "8080"]
    assert pod["initContainers"][0]["args"] == ["minio://models/words", "/mnt/models"]
    explainer = world.find(DEPLOYMENTS, "iris-explainer")["spec"]["template"]["spec"]["containers"][0]
    assert explainer["args"] == ["--predictor_host=elsewhere", "--model_name", "iris", "--http_port", "8080"]
    world.pod("p", ip="10.0.0.1")
    await world.reconcile()
    assert world.condition("PredictorReady")["status"] == "True"
    assert world.condition("TransformerReady")["status"] == "Unknown"
    assert world.condition("Ready")["status"] == "Unknown"
    world.pod("t", ip="10.0.0.2", deployment="iris-transformer")
    world.pod("e", ip="10.0.0.3", deployment="iris-explainer")
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"
    route = world.route()
    assert route["component"] == "transformer"
    assert route["backends"][0]["endpoints"] == ["10.0.0.2:8080"]
    rules = {(rule["component"], rule.get("suffix", ""), *rule.get("hosts", ())): rule["backends"][0]["endpoints"]
             for rule in route["rules"]}
    assert rules == {
        ("explainer", ":explain"): ["10.0.0.3:8080"],
        ("predictor", "", "iris-predictor-default.example.com"): ["10.0.0.1:8080"],
        ("transformer", "", "iris-transformer-default.example.com"): ["10.0.0.2:8080"],
        ("explainer", "", "iris-explainer-default.example.com"): ["10.0.0.3:8080"]}
    assert world.status()["address"]["url"] == "http://iris-transformer.default.svc.cluster.local"
    assert component(world)["url"] == "http://iris-predictor.default.svc.cluster.local"
    # Taken away again, it is gone.
    apply(world, model(1))
    await world.reconcile()
    assert names(world) == ["iris-predictor"]
    assert "TransformerReady" not in {each["type"] for each in world.status()["conditions"]}


async def test_several_storage_locations(world: World) -> None:
    world.apply(service({"model": {"modelFormat": {"name": "sklearn"}}, "storageUris": [
        {"uri": "minio://m/base"}, {"uri": "minio://m/lora", "mountPath": "/mnt/lora"},
        {"uri": "pvc://disk/words", "mountPath": "/mnt/words"}]}))
    await world.reconcile()
    pod = world.find(DEPLOYMENTS, STABLE)["spec"]["template"]["spec"]
    assert [each["args"] for each in pod["initContainers"]] == [
        ["minio://m/base", "/mnt/models"], ["minio://m/lora", "/mnt/lora"]]
    assert {(each["mountPath"], each.get("subPath")) for each in pod["containers"][0]["volumeMounts"]} == {
        ("/mnt/models", None), ("/mnt/lora", None), ("/mnt/words", "words")}
    assert len({each["name"] for each in pod["volumes"]}) == 3


async def test_several_nodes_are_refused_by_name(world: World) -> None:
    world.apply(service(model(1, workerSpec={"pipelineParallelSize": 2})))
    await world.reconcile()
    model_status = world.status()["modelStatus"]
    assert model_status["transitionStatus"] == "InvalidSpec"
    assert "spec.predictor.workerSpec" in model_status["lastFailureInfo"]["message"]


async def test_scaled_to_zero_it_is_ready_and_waits_for_the_first_request(world: World) -> None:
    world.apply(service(model(1, minReplicas=0, containerConcurrency=4, timeout=9)))
    await world.reconcile()
    assert world.find(DEPLOYMENTS, STABLE)["spec"]["replicas"] == 1
    world.pod("one", ip="10.0.0.1")
    await world.reconcile()
    there = world.find(DEPLOYMENTS, STABLE)
    world.insert(DEPLOYMENTS, there | {"spec": there["spec"] | {"replicas": 0}})
    await world.remove(PODS, "one")
    await world.reconcile()
    assert world.find(DEPLOYMENTS, STABLE)["spec"]["replicas"] == 0, "whoever scales it decides"
    assert world.condition("Ready")["status"] == "True"
    assert world.status()["modelStatus"]["states"]["targetModelState"] == "Standby"
    assert world.route()["backends"] == [{"revision": ONE, "weight": 100, "endpoints": [], "activate": True,
                                          "concurrencyLimit": 4}]


@pytest.mark.parametrize("failing", range(6))
async def test_a_promotion_that_fails_at_any_write_is_finished_by_the_next_pass(world: World, failing: int) -> None:
    await rolled_out(world)
    apply(world, model(2, canaryTrafficPercent=10))
    await world.catch_up()
    count = 0

    def fault(write: Write) -> errors.LightshipError | None:
        nonlocal count
        count += 1
        return errors.Unavailable("induced") if count == failing + 1 else None

    world.api.fault = fault
    with contextlib.suppress(errors.Unavailable):
        await world.reconcile()
    world.api.fault = None
    await world.reconcile()
    world.pod("two", ip="10.0.0.2", deployment=CANARY)
    await world.reconcile()
    assert weights(world) == {TWO: (10, ["10.0.0.2"]), ONE: (90, ["10.0.0.1"])}
    await world.reconcile()
    assert world.api.writes == []


async def test_payload_logging_and_the_batcher_are_passed_on(world: World) -> None:
    world.apply(service(model(1, logger={"mode": "request", "url": "http://sink", "metadataAnnotations": ["team"]},
                              batcher={"maxBatchSize": 8, "maxLatency": 50}), annotations={"team": "blue"}))
    await world.reconcile()
    assert world.route()["logger"] == {"mode": "request", "url": "http://sink", "annotations": {"team": "blue"}}
    args = world.find(DEPLOYMENTS, STABLE)["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[-4:] == ["--max_batch_rows", "8", "--max_batch_latency_ms", "50"]


@pytest.mark.parametrize(("held", "image"), [("true", "mine:1"), ("false", "mine:2")])
async def test_a_changed_runtime_rolls_out_unless_the_user_holds_it(world: World, held: str, image: str) -> None:
    def runtime(image: str) -> dict[str, Any]:
        return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime",
                "metadata": {"name": "mine", "namespace": "default"},
                "spec": {"supportedModelFormats": [{"name": "sklearn", "autoSelect": True}],
                         "containers": [{"name": "kserve-container", "image": image}]}}

    wanted = {"serving.kserve.io/disable-auto-update": held, "serving.kserve.io/enable-tag-routing": "true"}
    world.insert(kinds.SERVING_RUNTIMES, runtime("mine:1"))
    world.apply(service(model(1), annotations=wanted))
    await world.reconcile()
    world.pod("one", ip="10.0.0.1")
    await world.reconcile()
    world.insert(kinds.SERVING_RUNTIMES, runtime("mine:2"))
    await world.reconcile()
    main = world.find(DEPLOYMENTS, STABLE)["spec"]["template"]["spec"]["containers"][0]
    assert main["image"] == image
    assert world.route()["backends"][0]["tag"] == "latest"
