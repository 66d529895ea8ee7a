"""Whatever somebody writes into a service or a runtime is refused with a place, or decided about; nothing raises."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lightship.domains.serving import SERVING, Site
from lightship.domains.serving.inference_service import admission
from lightship.domains.serving.inference_service.components import Observed
from lightship.domains.serving.inference_service.decide import decide
from lightship.domains.serving.serving_runtime import admission as runtime_admission
from lightship.domains.serving.serving_runtime import shipped
from lightship.kube.objects import Object
from lightship.testing.clock import FakeClock

SITE = Site(gateway_url="http://gateway")
FULL: Object = {
    "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
    "metadata": {"name": "iris", "namespace": "default", "uid": "u", "labels": {"a": "b"}, "annotations": {
        "serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "keda"}},
    "spec": {
        "predictor": {
            "minReplicas": 1, "maxReplicas": 3, "canaryTrafficPercent": 10, "containerConcurrency": 2, "timeout": 5,
            "logger": {"mode": "all", "url": "http://x", "metadataAnnotations": ["a"]}, "labels": {"a": "b"},
            "batcher": {"maxBatchSize": 3}, "annotations": {"c": "d"}, "tolerations": [{"key": "a"}],
            "autoScaling": {"metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}}}]},
            "deploymentStrategy": {"type": "Recreate"}, "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "side", "image": "x", "env": [{"name": "A", "value": "b"}]}],
            "model": {"modelFormat": {"name": "sklearn"}, "env": [{"name": "A", "value": "1"}], "args": ["--x"],
                      "ports": [{"containerPort": 8080, "name": "h2c"}],
                      "volumeMounts": [{"mountPath": "/a", "name": "v"}],
                      "storage": {"key": "k", "path": "p", "parameters": {"type": "s3"}},
                      "resources": {"limits": {"cpu": "1"}}}},
        "transformer": {"containers": [{"image": "x", "args": ["--workers=2"], "env": [
            {"name": "STORAGE_URI", "value": "s3://b/x"}]}]},
        "explainer": {"storageUris": [{"uri": "pvc://a/b", "mountPath": "/m"}], "art": {
            "type": "SquareAttack", "image": "y", "config": {"nb_classes": "10"}}},
        "canary": [{"trafficPercent": 5, "predictor": {"name": "v2", "containers": [{"name": "k", "image": "z"}]}}]},
    "status": {"components": {"predictor": {"latestRolledoutRevision": "iris-predictor-00001"}}}}
JUNK = st.one_of(st.none(), st.booleans(), st.integers(-5, 200), st.floats(allow_nan=False), st.text(max_size=6),
                 st.just([]), st.just({}), st.just(["x"]), st.just([{}]), st.just([None]), st.just({"a": []}),
                 st.just({"name": "kserve-container"}), st.just("{{.Labels"), st.just("../.."), st.just("\x00"))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))] if path else [
        found for key, each in inner for found in places(each, (key,))]


def spoilt(obj: Object, changes: list[tuple[int, Any]], top: str) -> Object:
    made = copy.deepcopy(obj)
    for number, junk in changes:
        found = [path for path in places(made) if path[0] == top]
        *parents, last = found[number % len(found)]
        at: Any = made
        for key in parents:
            at = at[key]
        at[last] = copy.deepcopy(junk)
        if not isinstance(made.get(top), dict):
            break
    return made


CHANGES = st.lists(st.tuples(st.integers(0, 10_000), JUNK), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(changes=CHANGES)
def test_a_spoilt_service_is_refused_or_decided(changes: list[tuple[int, Any]]) -> None:
    obj = admission.default(spoilt(FULL, changes, "spec"))
    if admission.validate(obj, None) or admission.validate(obj, FULL):
        return
    observed = Observed(service=obj, namespace_runtimes=(), cluster_runtimes=shipped.runtimes(), deployments={},
                        revisions=(), pods=())
    plan = decide(observed, SITE, FakeClock().now())
    assert plan.status["conditions"]


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES)
def test_a_spoilt_runtime_is_refused_or_serves(changes: list[tuple[int, Any]]) -> None:
    runtime = spoilt(shipped.runtimes()[0], changes, "spec")
    if runtime_admission.validate(runtime, None):
        return
    observed = Observed(service=admission.default(FULL), namespace_runtimes=(runtime,), cluster_runtimes=(),
                        deployments={}, revisions=(), pods=())
    assert decide(observed, SITE, FakeClock().now()).status["conditions"]


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES)
def test_a_spoilt_revision_harms_nothing(changes: list[tuple[int, Any]]) -> None:
    """The status has a schema, a revision's data has none."""
    revision = {"metadata": {"name": "iris-predictor-00001", "labels": {"component": "predictor"}}, "revision": 1,
                "data": {"template": {"metadata": {"labels": {"lightship.dev/revision": "x"}},
                                      "spec": {"containers": [{"name": "kserve-container", "ports": []}]}}}}
    observed = Observed(service=admission.default(FULL), namespace_runtimes=(), deployments={}, pods=(),
                        cluster_runtimes=shipped.runtimes(), revisions=(spoilt(revision, changes, "data"),))
    assert decide(observed, SITE, FakeClock().now()).status["conditions"]


def test_the_schemas_are_there() -> None:
    assert all(kind.schema for kind in SERVING.kinds)
