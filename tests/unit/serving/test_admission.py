"""What is accepted, and what is refused with its place: the same here and on any cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightship.domains.serving import SERVING
from lightship.domains.serving.inference_service import admission
from lightship.kube.objects import Object

MODEL = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/x"}}


def service(predictor: Any, *, name: str = "iris", annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
            "spec": {"predictor": predictor} | spec}


@pytest.mark.parametrize(("key", "protocol"), [("sklearn", "v1"), ("triton", "v2"), ("huggingface", "v2")])
def test_a_legacy_key_becomes_a_model(key: str, protocol: str) -> None:
    given = service({"minReplicas": 2, key: {"storageUri": "s3://b/x", "env": [{"name": "A", "value": "1"}]}})
    made = admission.default(given)
    assert made["spec"]["predictor"] == {"minReplicas": 2, "model": {
        "modelFormat": {"name": key}, "protocolVersion": protocol, "storageUri": "s3://b/x",
        "env": [{"name": "A", "value": "1"}]}}
    assert key in given["spec"]["predictor"], "what was given is not changed in place"
    assert admission.default(made) == made
    assert not admission.validate(made, None)


def test_a_legacy_key_that_is_applied_again_takes_the_place_of_what_it_became() -> None:
    made = admission.default(service({"sklearn": {"storageUri": "s3://b/x", "args": ["--old"]}}))
    again = made["spec"]["predictor"] | {"xgboost": {"storageUri": "s3://b/y"}}
    assert admission.default(service(again))["spec"]["predictor"] == {"model": {
        "modelFormat": {"name": "xgboost"}, "protocolVersion": "v1", "storageUri": "s3://b/y"}}


@pytest.mark.parametrize("accepted", [
    service(MODEL),
    service(MODEL | {"minReplicas": 0, "maxReplicas": 3, "batcher": {"maxBatchSize": 4}, "logger": {"mode": "all"}}),
    service(MODEL | {"canaryTrafficPercent": 100}),
    service(MODEL | {"canaryTrafficPercent": 10}),
    service(MODEL, canary=[{"trafficPercent": 10, "predictor": {"name": "a", "sklearn": {"storageUri": "s3://b/y"}}}]),
    service(MODEL, transformer={"containers": [{"image": "x"}]}, explainer={"containers": [{"image": "x"}]}),
    service({"model": {"modelFormat": {"name": "x"}}, "storageUris": [
        {"uri": "s3://b/y"}, {"uri": "pvc://c/z", "mountPath": "/mnt/lora"}]}),
    service({"model": {"modelFormat": {"name": "x"}, "storage": {"key": "k", "path": "p"}}}),
    service({"containers": [{"image": "x"}]}),
    service(MODEL | {"containers": [{"name": "sidecar", "image": "x"}]}),
    service({"model": {"modelFormat": {"name": "onnx"}, "storageUri": "model-registry://m/1"}}),
])
def test_accepted(accepted: Object) -> None:
    assert not admission.validate(admission.default(accepted), None)


@pytest.mark.parametrize(("refused", "path", "words"), [
    (service({}), "spec.predictor", "got none"),
    (service({"containers": [{"name": "c"}]}), "spec.predictor.containers[0].image", "image"),
    (service(MODEL | {"containers": [{"name": "kserve-container", "image": "x"}]}), "spec.predictor",
     "exactly one of"),
    (service({"sklearn": {}, "xgboost": {}}), "spec.predictor", "got sklearn, xgboost"),
    (service({"model": {"storageUri": "s3://b/x"}}), "spec.predictor.model", "modelFormat"),
    (service({"model": {"modelFormat": {}}}), "spec.predictor.model.modelFormat", "name"),
    (service(MODEL | {"minReplicas": "two"}), "spec.predictor.minReplicas", "Expected"),
    (service(MODEL | {"minReplicas": -1}), "spec.predictor.minReplicas", "cannot be less than 0"),
    (service(MODEL | {"minReplicas": 3, "maxReplicas": 2}), "spec.predictor.maxReplicas", "cannot be greater"),
    (service(MODEL | {"scaleMetric": "love"}), "spec.predictor.scaleMetric", "love"),
    (service(MODEL | {"logger": {"mode": "some"}}), "spec.predictor.logger.mode", "some"),
    (service(MODEL | {"canaryTrafficPercent": 101}), "spec.predictor.canaryTrafficPercent", "between"),
    (service(MODEL, transformer={"containers": []}), "spec.transformer", "TransformerSpec"),
    (service(MODEL, explainer={}), "spec.explainer", "ExplainerSpec"),
    (service(MODEL | {"containerConcurrency": -1}), "spec.predictor.containerConcurrency", "parallelism"),
    (service(MODEL, annotations={"serving.kserve.io/autoscalerClass": "magic"}),
     "metadata.annotations[serving.kserve.io/autoscalerClass]", "not a supported autoscaler class"),
    (service(MODEL | {"scaleMetric": "rps"}, annotations={"serving.kserve.io/autoscalerClass": "hpa"}),
     "spec.predictor.scaleMetric", "[rps] is not a supported metric"),
    (service(MODEL | {"scaleMetric": "cpu"}, annotations={"serving.kserve.io/deploymentMode": "Serverless"}),
     "spec.predictor.scaleMetric", "[cpu] is not a supported metric"),
    (service(MODEL | {"deploymentStrategy": {}}, annotations={"serving.kserve.io/deploymentMode": "Knative"}),
     "spec.predictor.deploymentStrategy", "raw deployment mode"),
    (service(MODEL | {"storageUris": [{"uri": "s3://b/y"}]}), "spec.predictor.storageUris", "Setting both"),
    (service({"model": {"modelFormat": {"name": "x"}}, "storageUris": [
        {"uri": "s3://b/y", "mountPath": "/a"}, {"uri": "s3://b/z", "mountPath": "/c"}]}),
     "spec.predictor.storageUris", "common parent"),
    (service({"model": {"modelFormat": {"name": "x"}}, "storageUris": [{"uri": "s3://b/y", "mountPath": "a"}]}),
     "spec.predictor.storageUris[0].mountPath", "absolute"),
    (service({"containers": [{"image": "x", "env": [{"name": "PROTOCOL", "value": "v7"}]}]}),
     "spec.predictor.containers[0].env", "invalid protocol v7"),
    (service({"containers": [{"image": "x", "env": [{"name": "PYTHONPATH", "value": "/evil"}]}]}),
     "spec.predictor.containers[0].env", "not allowed for security reasons"),
    (service(MODEL, canary=[{"trafficPercent": 10, "predictor": MODEL}]), "spec.canary[0]", "name is required"),
    (service(MODEL, canary=[{"trafficPercent": 60, "predictor": MODEL | {"name": "a"}},
                            {"trafficPercent": 60, "predictor": MODEL | {"name": "b"}}]),
     "spec.canary", "sum of canary trafficPercent values (120)"),
    (service(MODEL, canary=[{"trafficPercent": 10, "predictor": MODEL | {"name": "a", "maxReplicas": 2}}]),
     "spec.canary[0].predictor.maxReplicas", "must not set maxReplicas"),
    (service(MODEL, canary=[{"trafficPercent": 10, "predictor": MODEL | {"name": "a", "minReplicas": 2}}]),
     "spec.canary[0].predictor.minReplicas", "must not exceed"),
    (service(MODEL, annotations={"serving.kserve.io/deploymentMode": "Knative"},
             canary=[{"trafficPercent": 10, "predictor": MODEL | {"name": "a"}}]),
     "spec.canary", "only supported in Standard"),
    (service(MODEL, name="Iris"), "metadata.name", "lower case"),
    (service(MODEL, name="i" * 60), "metadata.name", "53"),
    (service(MODEL, annotations={"serving.kserve.io/deploymentMode": "Magic"}),
     "metadata.annotations[serving.kserve.io/deploymentMode]", "Magic"),
    (service({"model": {"modelFormat": {"name": "x"}, "storageUri": "ftp://b/x"}}),
     "spec.predictor.model.storageUri", '"ftp"'),
    (service({"model": {"modelFormat": {"name": "x"}, "storageUri": "s3://b/../x"}}),
     "spec.predictor.model.storageUri", '".."'),
    (service({"model": {"modelFormat": {"name": "x"}, "storageUri": "models/x"}}),
     "spec.predictor.model.storageUri", "no scheme"),
    (service({"containers": [{"name": "x"}]}), "spec.predictor.containers[0].image", "image"),
    ({"metadata": {"name": "x"}}, "spec", "predictor"),
    ({"metadata": {"name": "x"}, "spec": [3]}, "spec", "Expected"),
    ({"metadata": {"name": "x"}, "spec": {"predictor": "x"}}, "spec.predictor", "Expected"),
])
def test_refused_with_the_place(refused: Object, path: str, words: str) -> None:
    found = admission.validate(admission.default(refused), None)
    assert path in [error.path for error in found]
    assert any(words in error.message for error in found if error.path == path)


def runtime(**spec: Any) -> Object:
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": {"name": "r"},
            "spec": {"containers": [{"name": "kserve-container", "image": "x"}]} | spec}


@pytest.mark.parametrize(("refused", "path"), [
    (runtime(containers=[]), "spec.containers"),
    (runtime(containers=[{}]), "spec.containers[0].name"),
    (runtime(supportedModelFormats=[{"name": "a", "priority": 0}]), "spec.supportedModelFormats[0].priority"),
    (runtime(supportedModelFormats=[{"name": "a", "autoSelect": True, "priority": 1},
                                    {"name": "a", "autoSelect": True, "priority": 2}]),
     "spec.supportedModelFormats[1].priority"),
    (runtime(supportedModelFormats=[{"version": "1"}]), "spec.supportedModelFormats[0]"),
    ({"metadata": {"name": "r"}, "spec": {}}, "spec"),
])
def test_runtimes_refused_with_the_place(refused: Object, path: str) -> None:
    kind = next(kind for kind in SERVING.kinds if kind.resource.kind == "ServingRuntime")
    assert [error.path for error in kind.validate(refused, None)] == [path]


NOT_SERVED_YET = {"InferenceGraph"}  # issue 6


def test_upstreams_own_objects_are_accepted(shared: Path) -> None:
    kinds = {kind.resource.kind: kind for kind in SERVING.kinds}
    seen = set()
    for file in sorted((shared / "corpus" / "kserve").glob("*.yaml")):
        for obj in filter(None, yaml.safe_load_all(file.read_text())):
            if obj["kind"] in NOT_SERVED_YET:
                continue
            kind = kinds[obj["kind"]]
            assert not kind.validate(kind.default(obj), None), f"{file.name}: {obj['metadata']['name']}"
            seen.add(obj["kind"])
    assert seen == {"InferenceService", "ClusterServingRuntime"}
