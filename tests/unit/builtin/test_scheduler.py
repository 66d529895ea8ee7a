"""The scheduler: who goes where, and what is said to those who wait."""

from __future__ import annotations

import pytest

from lightship.cluster.builtin import scheduler
from lightship.kube import conditions
from lightship.kube.objects import Object
from lightship.kube.resources import PODS
from tests.unit.builtin import build

TABLE = build.table(scheduler.controller)


def refusal(plan: scheduler.Plan) -> str:
    assert len(plan.refusals) == 1 and not plan.bindings
    return plan.refusals[0].message


async def test_a_pod_is_bound_to_the_ready_node() -> None:
    outcome = await TABLE.run(scheduler.ALL, build.node(), build.pod("a"))
    assert outcome.words == ["create pods/binding default/a"]
    assert outcome.object(PODS, "a")["spec"]["nodeName"] == "laptop"
    assert outcome.events == ("Normal Scheduled Successfully assigned default/a to laptop",)


async def test_one_that_does_not_fit_is_told_why_once() -> None:
    outcome = await TABLE.run(scheduler.ALL, build.node(), build.pod("big", requests={"cpu": "8"}))
    assert outcome.words == ["patch pods/status default/big"]
    condition = conditions.find(outcome.object(PODS, "big"), "PodScheduled")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert condition["message"] == "0/1 nodes are available: 1 Insufficient cpu (wants 8 of the node's 4)"
    assert outcome.events == (f"Warning FailedScheduling {condition['message']}",)


async def test_the_room_goes_to_the_oldest_and_comes_back_when_a_pod_ends() -> None:
    def half(name: str, **rest: object) -> Object:
        return build.pod(name, requests={"cpu": "2"}, **rest)  # type: ignore[arg-type]

    done = half("done", phase="Succeeded", node="laptop")
    working = half("working", phase="Running", node="laptop")
    outcome = await TABLE.run(scheduler.ALL, build.node(), done, working, half("first"), half("second"))
    assert sorted(outcome.words) == ["create pods/binding default/first", "patch pods/status default/second"]


@pytest.mark.parametrize(("node", "pod", "message"), [
    (None, build.pod("a"), "0/0 nodes are available: no node has registered yet"),
    (build.node(ready=False), build.pod("a"), "0/1 nodes are available: 1 node is not ready"),
    (build.node() | {"spec": {"unschedulable": True}}, build.pod("a"),
     "0/1 nodes are available: 1 node is cordoned"),
    (build.node(memory="1Gi"), build.pod("a", requests={"memory": "1536Mi"}),
     "0/1 nodes are available: 1 Insufficient memory (wants 1.5Gi of the node's 1Gi)"),
    (build.node(), build.pod("a", requests={"nvidia.com/gpu": "1"}),
     "0/1 nodes are available: 1 Insufficient nvidia.com/gpu (wants 1 of the node's 0)"),
    (build.node(pods="0"), build.pod("a"), "0/1 nodes are available: 1 Too many pods (the node takes 0)"),
    (build.node() | {"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}}, build.pod("a"),
     "0/1 nodes are available: 1 node has the untolerated taint {gpu: yes}"),
])
def test_why_a_pod_waits(node: Object | None, pod: Object, message: str) -> None:
    assert refusal(scheduler.decide([pod], [node] if node else [], [])) == message


def test_a_node_selector_and_a_toleration() -> None:
    wanting = build.pod("a")
    wanting["spec"] |= {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    tainted = build.node() | {"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}}
    assert "node selector (disk=ssd)" in refusal(scheduler.decide([wanting], [tainted], []))
    labelled = tainted | {"metadata": {"name": "laptop", "labels": {"disk": "ssd"}}}
    assert len(scheduler.decide([wanting], [labelled], []).bindings) == 1


def test_requests_count_init_steps_sidecars_and_limits() -> None:
    pod = build.pod("a", requests={"cpu": "1"})
    pod["spec"]["containers"].append({"name": "limited", "resources": {"limits": {"cpu": "500m"}}})
    pod["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
        {"name": "step", "resources": {"requests": {"cpu": "3"}}},
    ]
    assert scheduler.decide([pod], [build.node(cpu="4")], []).bindings
    assert scheduler.decide([pod], [build.node(cpu="3900m")], []).refusals, "the init step beside the sidecar wants 4"


def test_pods_that_are_gated_or_another_schedulers_are_left_alone() -> None:
    gated, foreign, leaving = build.pod("gated"), build.pod("foreign"), build.pod("leaving")
    gated["spec"]["schedulingGates"] = [{"name": "wait"}]
    foreign["spec"]["schedulerName"] = "mine"
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not any(scheduler.waits(pod) for pod in (gated, foreign, leaving))
    assert scheduler.waits(build.pod("plain"))


def test_two_nodes_share_the_load() -> None:
    waiting = [build.pod(name, requests={"cpu": "3"}) for name in ("a", "b", "c")]
    plan = scheduler.decide(waiting, [build.node("one"), build.node("two")], [])
    assert {binding.node for binding in plan.bindings} == {"one", "two"}
    assert len(plan.refusals) == 1
    assert "2 Insufficient cpu" in plan.refusals[0].message
