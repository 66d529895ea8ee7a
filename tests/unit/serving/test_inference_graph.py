"""InferenceGraphs: what is accepted, and tables of their reconciler; a second pass writes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightship.domains.serving import kinds
from lightship.domains.serving.deps import ServingDeps
from lightship.domains.serving.inference_graph import admission
from lightship.domains.serving.inference_graph.reconciler import InferenceGraphReconciler
from lightship.domains.serving.site import Site
from lightship.kube import conditions
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, DEPLOYMENTS, EVENTS, PODS, SERVICES
from lightship.runtime.events import Recorder
from lightship.runtime.informer import Informer
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "kserve"
KEY = Key("default", "both")


def graph(nodes: dict[str, Any] | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    nodes = nodes or {"root": {"routerType": "Sequence", "steps": [
        {"serviceName": "first"}, {"serviceUrl": "http://elsewhere/x", "data": "$response"}]}}
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "InferenceGraph",
            "metadata": {"name": "both", "namespace": "default", "generation": 2, "annotations": annotations or {}},
            "spec": {"nodes": nodes, **spec}}


def service(name: str, *, address: bool = True, protocol: str = "v1") -> Object:
    status = {"address": {"url": f"http://{name}-predictor.default.svc.cluster.local"}} if address else {}
    return {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
            "metadata": {"name": name, "namespace": "default"}, "status": status,
            "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "protocolVersion": protocol}}}}


def steps(kind: str, *made: dict[str, Any]) -> dict[str, Any]:
    return {"routerType": kind, "steps": list(made)}


@pytest.mark.parametrize(("nodes", "path", "words"), [
    ({"other": steps("Sequence")}, "spec.nodes", 'the name "root"'),
    ({"root": steps("Sequence", {"serviceName": "a", "serviceUrl": "http://b"})}, "spec.nodes[root].steps[0]",
     "got serviceName, serviceUrl"),
    ({"root": steps("Sequence", {"name": "x"})}, "spec.nodes[root].steps[0]", "got none"),
    ({"root": steps("Sequence", {"name": "x", "serviceName": "a"}, {"name": "x", "serviceName": "b"})},
     "spec.nodes[root].steps[1].name", "another step"),
    ({"root": steps("Splitter", {"serviceName": "a", "weight": 20}, {"serviceName": "b", "weight": 70})},
     "spec.nodes[root].steps", "sum up to 100, not 90"),
    ({"root": steps("Splitter", {"serviceName": "a"}, {"serviceName": "b", "weight": 100})},
     "spec.nodes[root].steps[0].weight", "needs a weight"),
    ({"root": steps("Sequence", {"nodeName": "none"})}, "spec.nodes[root].steps[0].nodeName", 'no node "none"'),
    ({"root": steps("Sequence", {"nodeName": "a"}), "a": steps("Sequence", {"nodeName": "b"}),
      "b": steps("Ensemble", {"serviceName": "s"}, {"nodeName": "a"})}, "spec.nodes", "in a circle: a -> b -> a"),
    ({"root": steps("Sequence", {"nodeName": "root"})}, "spec.nodes", "in a circle: root -> root"),
    ({"root": steps("Parallel")}, "spec.nodes", "Invalid enum value"),
    ({"root": steps("Sequence", {"nodeName": "n0"}), **{f"n{n}": steps("Sequence", {"nodeName": f"n{n + 1}"})
      for n in range(40)}, "n40": steps("Sequence", {"serviceName": "s"})}, "spec.nodes", "nodes deep"),
])
def test_what_is_refused(nodes: dict[str, Any], path: str, words: str) -> None:
    found = admission.validate(graph(nodes), None)
    assert any(problem.path.startswith(path) and words in problem.message for problem in found), found


def test_two_ways_to_one_node_are_no_circle() -> None:
    nodes = {"root": steps("Ensemble", {"nodeName": "a"}, {"nodeName": "b"}),
             "a": steps("Sequence", {"nodeName": "b"}), "b": steps("Sequence", {"serviceName": "s"})}
    assert not admission.validate(graph(nodes), None)


@pytest.mark.parametrize("name", ["ensemble", "sequence", "splitter", "switch"])
def test_upstreams_examples_are_accepted(name: str) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus is not here")
    found = [obj for obj in yaml.safe_load_all((CORPUS / f"{name}.yaml").read_text())
             if obj and obj["kind"] == "InferenceGraph"]
    assert len(found) == 1
    assert not admission.validate(found[0], None)


class World:
    """A server in memory with the reconciler on it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.api = MemoryApi(self.clock)
        self.manager = Manager(lambda name: self.api.client(name), self.clock)
        self.informers: list[Informer] = []
        client = self.api.client("serving")
        self.reconciler = InferenceGraphReconciler(ServingDeps(
            client=client, informer=self._informer, recorder=Recorder(client, "serving", self.clock), clock=self.clock,
            site=Site(gateway_url="http://gateway")))

    def _informer(self, resource: Any, selection: Any) -> Informer:
        found = self.manager.informer(resource, selection)
        if found not in self.informers:
            self.informers.append(found)
        return found

    async def reconcile(self) -> list[tuple[str, str, str]]:
        await settle(50)
        self.api.writes.clear()
        await self.reconciler.reconcile(KEY)
        await settle(50)
        return [(write.verb, write.plural, write.subresource) for write in self.api.writes if write.plural != "events"]

    def find(self, resource: Any, name: str) -> Object:
        found = self.api.find(resource.path(), Key("default", name))
        assert found is not None
        return found

    def ready(self) -> dict[str, Any]:
        return conditions.find(self.find(kinds.INFERENCE_GRAPHS, "both"), "Ready") or {}

    def route(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.find(CONFIGMAPS, "both-graph-route")["data"]["route.json"])
        return found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    for each in made.informers:
        await each.start()
        await each.synced.wait()
    yield made
    for each in made.informers:
        await each.stop()


async def test_a_graph_waits_for_its_services_and_then_gets_a_router(world: World) -> None:
    world.api.insert(kinds.INFERENCE_GRAPHS.path(), graph(annotations={"lightship.dev/propagate-headers": "X-.*"}))
    assert await world.reconcile() == [("create", "configmaps", ""), ("patch", "inferencegraphs", "status")]
    assert (world.ready()["status"], world.ready()["message"]) == ("False", 'the InferenceService "first" is not there')
    assert world.route()["message"] == 'the InferenceService "first" is not there'
    world.api.insert(kinds.INFERENCE_SERVICES.path(), service("first", address=False))
    await world.reconcile()
    assert "has no address yet" in world.ready()["message"]
    first = service("first")
    world.api.insert(kinds.INFERENCE_SERVICES.path(), first)
    assert list(world.reconciler.naming(first)) == [KEY]
    assert await world.reconcile() == [("create", "deployments", ""), ("create", "services", ""),
                                       ("patch", "configmaps", ""), ("patch", "inferencegraphs", "status")]
    assert world.ready()["reason"] == "RouterStarting"
    deployment = world.find(DEPLOYMENTS, "both")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    given = json.loads(container["args"][1])
    assert [step["serviceUrl"] for step in given["nodes"]["root"]["steps"]] == [
        "http://first-predictor.default.svc.cluster.local/v1/models/first:predict", "http://elsewhere/x"]
    assert {"name": "PROPAGATE_HEADERS", "value": "X-.*"} in container["env"]
    assert deployment["metadata"]["ownerReferences"][0]["kind"] == "InferenceGraph"
    assert world.find(SERVICES, "both")["spec"]["ports"][0]["targetPort"] == 8080
    world.api.insert(PODS.path(), {
        "apiVersion": "v1", "kind": "Pod", "spec": {}, "status": {
            "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
        "metadata": {"name": "p", "namespace": "default", "labels": {"serving.kserve.io/inferencegraph": "both"}}})
    await world.reconcile()
    assert world.ready()["status"] == "True"
    assert world.find(kinds.INFERENCE_GRAPHS, "both")["status"]["url"] == "http://gateway/serving/default/both"
    assert world.route()["backends"][0]["endpoints"] == ["10.0.0.7:8080"]
    assert "message" not in world.route()
    assert [event["reason"] for event in world.api.all(EVENTS.path())] == ["InferenceGraphNotReady",
                                                                         "InferenceGraphReady"]
    await world.clock.advance(100)
    assert await world.reconcile() == []


async def test_v2_and_stopped(world: World) -> None:
    world.api.insert(kinds.INFERENCE_SERVICES.path(), service("first", protocol="v2"))
    world.api.insert(kinds.INFERENCE_GRAPHS.path(), graph(annotations={"serving.kserve.io/stop": "true"}))
    await world.reconcile()
    deployment = world.find(DEPLOYMENTS, "both")
    assert deployment["spec"]["replicas"] == 0
    assert "/v2/models/first/infer" in deployment["spec"]["template"]["spec"]["containers"][0]["args"][1]
    assert world.ready()["reason"] == "Stopped"
    assert conditions.is_true(world.find(kinds.INFERENCE_GRAPHS, "both"), "Stopped")


@pytest.mark.parametrize(("nodes", "words"), [
    ({"root": {"routerType": "Switch", "steps": [{"serviceUrl": "http://x", "condition": "@reverse"}]}},
     "cannot be read"),
    ({"root": {"routerType": "Sequence", "steps": []}}, "has no steps"),
])
async def test_what_was_accepted_and_cannot_work_says_so(world: World, nodes: dict[str, Any], words: str) -> None:
    world.api.insert(kinds.INFERENCE_GRAPHS.path(), graph(nodes))
    assert await world.reconcile() == [("create", "configmaps", ""), ("patch", "inferencegraphs", "status")]
    assert words in world.ready()["message"]


async def test_a_service_of_the_same_name_keeps_its_address(world: World) -> None:
    world.api.insert(kinds.INFERENCE_SERVICES.path(), service("first"))
    world.api.insert(kinds.INFERENCE_SERVICES.path(), service("both"))
    world.api.insert(kinds.INFERENCE_GRAPHS.path(), graph())
    assert await world.reconcile() == [("patch", "inferencegraphs", "status")]
    assert "rename one of them" in world.ready()["message"]


async def test_a_deployment_that_another_owns_is_left_alone(world: World) -> None:
    world.api.insert(kinds.INFERENCE_SERVICES.path(), service("first"))
    world.api.insert(DEPLOYMENTS.path(), {
        "apiVersion": "apps/v1", "kind": "Deployment", "spec": {}, "metadata": {
            "name": "both", "namespace": "default", "ownerReferences": [
                {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": True}]}})
    world.api.insert(kinds.INFERENCE_GRAPHS.path(), graph())
    await world.reconcile()
    assert "belongs to X" in world.ready()["message"]
