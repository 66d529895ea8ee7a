"""The autoscaler: how many replicas, how fast, and what it says when it cannot tell."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.builtin import hpa
from lightship.cluster.builtin import hpa_plan as plan
from lightship.kube import conditions
from lightship.kube.objects import Key, Object
from lightship.kube.resources import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi
from tests.unit.builtin import build

NEAR = (0.1, 0.1)
WEB = Key("default", "web")


def members(*used: int | None, requested: int = 1000, ready: bool = True) -> list[plan.Member]:
    return [plan.Member(used=each, requested=requested, ready=ready) for each in used]


@pytest.mark.parametrize(("found", "current", "wanted", "reading"), [
    (members(900, 900), 2, 4, 90),  # 90% where 50% is aimed at
    (members(520, 540), 2, 2, 53),  # near enough
    (members(100, 100, 100, 100), 4, 1, 10),
    (members(900, None), 2, 2, 90),  # one unknown counts as idle when scaling up: 45%, near enough
    (members(100, None), 2, 2, 10),  # and as at its request when scaling down: 55%, near enough
    ([*members(900), *members(900, ready=False)], 2, 2, 90),  # one that starts says nothing yet
])
def test_by_utilization(found: list[plan.Member], current: int, wanted: int, reading: int) -> None:
    proposal = plan.utilization(found, current, 50, NEAR)
    assert proposal is not None and (proposal.replicas, proposal.reading) == (wanted, reading)


def test_by_average_value_and_without_numbers() -> None:
    proposal = plan.average_value(members(300, 300), 2, 100, NEAR)
    assert proposal is not None and (proposal.replicas, proposal.average) == (6, 300)
    assert plan.average_value(members(None), 1, 100, NEAR) is None


def verdict(current: int, wanted: int, history: plan.History | None = None, now: float = 1000.0, **spec: Any
            ) -> plan.Verdict:
    return plan.settle({"minReplicas": 1, "maxReplicas": 20} | spec, current, wanted, now, history or plan.History())


def test_it_grows_no_faster_than_its_policies_and_no_further_than_its_limits() -> None:
    assert verdict(2, 15).replicas == 6, "by four Pods, which is more than double"
    assert verdict(2, 15).limited[1] == "ScaleUpLimit"
    assert verdict(8, 30).replicas == 16, "by double"
    assert verdict(8, 30, maxReplicas=10).limited[:2] == (True, "TooManyReplicas")
    history = plan.History(ups=[(995.0, 4)])
    assert verdict(6, 15, history).replicas == 6, "it has grown by four in this period already"
    assert verdict(6, 15, history, now=1011.0).replicas == 12
    assert verdict(2, 9, behavior={"scaleUp": {"selectPolicy": "Disabled"}}).replicas == 2
    assert verdict(4, 9, behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
                   ).replicas == 5


def test_it_shrinks_only_when_nothing_in_the_window_wanted_more() -> None:
    history = plan.History(wanted=[(800.0, 7)])
    held = verdict(10, 2, history)
    assert held.replicas == 7 and held.able[0] == "ScaleDownStabilized"
    assert verdict(10, 2, plan.History(wanted=[(600.0, 7)])).replicas == 2, "that was more than 300 s ago"
    assert verdict(10, 2, history, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}}).replicas == 2
    assert verdict(5, 0, behavior={"scaleDown": {"stabilizationWindowSeconds": 0}}, minReplicas=2).limited[1] == (
        "TooFewReplicas")
    slow = {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [
        {"type": "Percent", "value": 10, "periodSeconds": 60}]}}
    assert verdict(10, 2, behavior=slow).replicas == 9


def scaler(**spec: Any) -> Object:
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "default", "uid": "hpa-uid"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                     "minReplicas": 1, "maxReplicas": 10,
                     "metrics": [{"type": "Resource", "resource": {
                         "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]} | spec}


class Scaled(MemoryApi):
    """With discovery, the scale subresource and usage, as far as the autoscaler asks for them."""

    usage = "900m"
    replicas = 2

    async def send(self, request: Any) -> Any:
        import msgspec

        from lightship.client.transport import Response

        answer: Any = None
        if request.path == "/apis/apps/v1":
            answer = {"resources": [{"name": "deployments/scale", "kind": "Scale"},
                                    {"name": "deployments", "kind": "Deployment"}]}
        elif request.path == DEPLOYMENTS.path("default", "web", "scale"):
            if request.method == "PUT":
                self.replicas = msgspec.json.decode(request.body)["spec"]["replicas"]
            answer = {"spec": {"replicas": self.replicas}, "status": {"selector": "app=web"}}
        elif request.path.startswith("/apis/metrics.k8s.io/"):
            answer = {"items": [{"metadata": {"name": name}, "containers": [
                {"name": "main", "usage": {"cpu": self.usage, "memory": "64Mi"}}]} for name in ("a", "b")]}
        if answer is None:
            return await super().send(request)
        return Response(status=200, body=msgspec.json.encode(answer))


async def test_a_deployment_is_scaled_and_the_status_says_why() -> None:
    clock = FakeClock()
    api = Scaled(clock)
    api.insert(HORIZONTAL_POD_AUTOSCALERS.path(), scaler())
    for name in ("a", "b"):
        api.insert(PODS.path(), build.pod(name, phase="Running", labels={"app": "web"}, ready=True,
                                          requests={"cpu": "1"}, node="n"))
    manager = Manager(api.client, clock)
    manager.add(hpa.controller(build.deps(manager, clock)))
    async with build.running(manager):
        assert api.replicas == 4
        found = (await api.client().get(HORIZONTAL_POD_AUTOSCALERS, "web", "default"))["status"]
        assert found["desiredReplicas"] == 4 and found["lastScaleTime"]
        assert found["currentMetrics"][0]["resource"]["current"] == {"averageValue": "900m", "averageUtilization": 90}
        told = {each["type"]: each["reason"] for each in found["conditions"]}
        assert told == {"AbleToScale": "SucceededRescale", "ScalingActive": "ValidMetricFound",
                        "ScalingLimited": "DesiredWithinRange"}
        api.usage = "10m"
        await clock.advance(hpa.PERIOD_SECONDS)
        await settle()
        assert api.replicas == 4, "the window holds it"
        await clock.advance(plan.DOWN_WINDOW_SECONDS + 2 * hpa.PERIOD_SECONDS)
        await settle()
        assert api.replicas == 1


@pytest.mark.parametrize(("metric", "reason"), [
    ({"type": "Pods", "pods": {"metric": {"name": "qps"}}}, "FailedGetPodsMetric"),
    ({"type": "Resource", "resource": {"name": "gpu", "target": {"averageUtilization": 5}}}, "FailedGetResourceMetric"),
])
async def test_what_cannot_be_measured_is_said(metric: Object, reason: str) -> None:
    clock = FakeClock()
    api = Scaled(clock)
    api.insert(HORIZONTAL_POD_AUTOSCALERS.path(), scaler(metrics=[metric]))
    api.insert(PODS.path(), build.pod("a", phase="Running", labels={"app": "web"}, ready=True, node="n"))
    manager = Manager(api.client, clock)
    manager.add(hpa.controller(build.deps(manager, clock)))
    async with build.running(manager):
        found = await api.client().get(HORIZONTAL_POD_AUTOSCALERS, "web", "default")
        condition = conditions.find(found, "ScalingActive") or {}
        assert (condition["status"], condition["reason"]) == ("False", reason)
        assert api.replicas == 2
