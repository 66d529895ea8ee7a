"""The scheduler: who goes where, who makes room, and what is said to those who wait."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from lightship.cluster.builtin import names, scheduler
from lightship.cluster.builtin.scheduling.decide import decide
from lightship.cluster.builtin.scheduling.facts import Landscape, NodeFacts, PodFacts
from lightship.cluster.builtin.scheduling.plan import Plan
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PODS
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi
from tests.unit.builtin import build

TABLE = build.table(scheduler.controller)
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_VICTIMS = "No preemption victims found for incoming pod"


def plan(waiting: Iterable[Object], nodes: Iterable[Object], placed: Iterable[Object] = (), **more: Any) -> Plan:
    facts = {objects.name(node): NodeFacts(node=node) for node in nodes}
    for pod in placed:
        facts[pod["spec"]["nodeName"]].take(PodFacts(pod))
    return decide([PodFacts(pod) for pod in waiting], Landscape(nodes=facts, **more), NOW)


def refusal(made: Plan) -> str:
    assert len(made.refusals) == 1 and not made.bindings
    return made.refusals[0].message


def placed(made: Plan) -> dict[str, str]:
    return {binding.pod.key.name: binding.node for binding in made.bindings}


def node(name: str = "laptop", *, labels: dict[str, str] | None = None, taints: list[dict[str, str]] | None = None,
         **rest: Any) -> Object:
    made = build.node(name, **rest)
    made["metadata"]["labels"] = {"kubernetes.io/hostname": name} | (labels or {})
    if taints:
        made["spec"]["taints"] = taints
    return made


def pod(name: str, **spec: Any) -> Object:
    more = {key: spec.pop(key) for key in ("requests", "labels", "node", "phase") if key in spec}
    made = build.pod(name, **more)
    made["spec"] |= spec
    return made


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
    assert condition["message"] == ("0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are "
                                    f"available: 1 {NOT_HELPFUL}.")
    assert outcome.events == (f"Warning FailedScheduling {condition['message']}",)


async def test_the_room_goes_to_the_oldest_and_comes_back_when_a_pod_ends() -> None:
    def half(name: str, **rest: Any) -> Object:
        return build.pod(name, requests={"cpu": "2"}, **rest)

    done = half("done", phase="Succeeded", node="laptop")
    working = half("working", phase="Running", node="laptop")
    outcome = await TABLE.run(scheduler.ALL, build.node(), done, working, half("first"), half("second"))
    assert sorted(outcome.words) == ["create pods/binding default/first", "patch pods/status default/second"]


@pytest.mark.parametrize(("there", "wanting", "why", "final"), [
    (node(ready=False), pod("a"), "node(s) had untolerated taint {node.kubernetes.io/not-ready: }", True),
    (node() | {"spec": {"unschedulable": True}}, pod("a"), "node(s) were unschedulable", True),
    (node(memory="1Gi"), pod("a", requests={"memory": "1536Mi"}), "Insufficient memory", True),
    (node(), pod("a", requests={"nvidia.com/gpu": "1"}), "Insufficient nvidia.com/gpu", True),
    (node(**{"ephemeral-storage": "1Gi"}), pod("a", requests={"ephemeral-storage": "2Gi"}),
     "Insufficient ephemeral-storage", True),
    (node(pods="0"), pod("a"), "Too many pods", True),
    (node(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]), pod("a"),
     "node(s) had untolerated taint {gpu: yes}", True),
    (node(), pod("a", nodeSelector={"disk": "ssd"}), "node(s) didn't match Pod's node affinity/selector", True),
    (node(), pod("a", affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}]}}),
     "node(s) didn't match pod affinity rules", True),
    (node(), pod("a", topologySpreadConstraints=[
        {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]),
     "node(s) didn't match pod topology spread constraints (missing required label)", True),
])
def test_why_a_pod_waits(there: Object, wanting: Object, why: str, final: bool) -> None:
    ending = NOT_HELPFUL if final else NO_VICTIMS
    assert refusal(plan([wanting], [there])) == (
        f"0/1 nodes are available: 1 {why}. preemption: 0/1 nodes are available: 1 {ending}.")


def test_without_nodes_there_is_nothing_to_say() -> None:
    assert refusal(plan([pod("a")], [])) == "no nodes available to schedule pods"


def test_reasons_of_many_nodes_are_counted() -> None:
    full = pod("full", requests={"cpu": "4"}, node="one")
    wanting = pod("a", requests={"cpu": "1", "memory": "100Gi"})
    nodes = [node("one"), node("two"), node("three", taints=[{"key": "k", "effect": "NoExecute"}])]
    assert refusal(plan([wanting], nodes, [full])) == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: }, 2 Insufficient memory. "
        f"preemption: 0/3 nodes are available: 3 {NOT_HELPFUL}.")


def test_a_full_node_has_no_victims_of_equal_priority() -> None:
    full = pod("full", requests={"cpu": "4"}, node="laptop")
    assert refusal(plan([pod("a", requests={"cpu": "1"})], [node()], [full])).endswith(f"1 {NO_VICTIMS}.")


def test_node_affinity_and_tolerations() -> None:
    ssd = node("ssd", labels={"disk": "ssd", "size": "12"}, taints=[
        {"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    wanting = pod("a", nodeSelector={"disk": "ssd"}, tolerations=[{"key": "gpu", "operator": "Exists"}], affinity={
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["hdd"]}]},
            {"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["10"]},
                                  {"key": "old", "operator": "DoesNotExist"}]}]}}})
    assert placed(plan([wanting], [node("plain"), ssd])) == {"a": "ssd"}
    wanting["spec"]["tolerations"] = [{"key": "gpu", "value": "no"}]
    assert "untolerated taint {gpu: yes}" in refusal(plan([wanting], [ssd]))


def test_preferred_places_come_first_and_else_the_emptiest() -> None:
    wish = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}
    nodes = [node("a"), node("b", labels={"disk": "ssd"}),
             node("c", taints=[{"key": "k", "effect": "PreferNoSchedule"}])]
    assert placed(plan([pod("wishing", affinity=wish)], nodes)) == {"wishing": "b"}
    busy = pod("busy", requests={"cpu": "3"}, node="a")
    assert placed(plan([pod("plain", requests={"cpu": "1"})], nodes, [busy])) == {"plain": "b"}


def test_two_nodes_share_the_load() -> None:
    made = plan([pod(name, requests={"cpu": "3"}) for name in ("a", "b", "c")], [node("one"), node("two")])
    assert {binding.node for binding in made.bindings} == {"one", "two"}
    assert "2 Insufficient cpu" in refusal(plan([made.refusals[0].pod.pod], [node("one"), node("two")], [
        binding.pod.pod | {"spec": binding.pod.spec | {"nodeName": binding.node}} for binding in made.bindings]))


def test_pods_keep_away_from_each_other_and_near_each_other() -> None:
    def term(app: str) -> dict[str, Any]:
        return {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]}

    lonely = [pod(name, labels={"app": "db"}, affinity={"podAntiAffinity": term("db")}) for name in ("a", "b", "c")]
    made = plan(lonely, [node("one"), node("two")])
    assert sorted(placed(made).values()) == ["one", "two"]
    assert "2 node(s) didn't match pod anti-affinity rules" in made.refusals[0].message
    db = pod("db", labels={"app": "db"}, node="two", affinity={"podAntiAffinity": term("noisy")})
    beside = pod("web", affinity={"podAffinity": term("db")})
    assert placed(plan([beside], [node("one"), node("two")], [db])) == {"web": "two"}
    noisy = pod("noisy", labels={"app": "noisy"})
    assert "didn't satisfy existing pods anti-affinity rules" in refusal(plan([noisy], [node("two")], [db]))
    group = [pod(name, labels={"app": "g"}, affinity={"podAffinity": term("g")}) for name in ("g1", "g2")]
    assert len(set(placed(plan(group, [node("one"), node("two")])).values())) == 1


def test_pods_spread_over_zones() -> None:
    rule = [{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
             "labelSelector": {"matchLabels": {"app": "web"}}}]
    nodes = [node("a1", labels={"zone": "a"}), node("b1", labels={"zone": "b"}, pods="1")]
    made = plan([pod(f"p{number}", labels={"app": "web"}, topologySpreadConstraints=rule) for number in range(4)],
                nodes)
    assert sorted(placed(made).values()) == ["a1", "a1", "b1"]
    assert "didn't match pod topology spread constraints" in made.refusals[0].message


def test_host_ports_clash() -> None:
    def holding(name: str, **rest: Any) -> Object:
        made = pod(name, **rest)
        made["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80}]
        return made

    assert "didn't have free ports" in refusal(plan([holding("b")], [node()], [holding("a", node="laptop")]))


def test_requests_count_init_steps_sidecars_and_limits() -> None:
    wanting = pod("a", requests={"cpu": "1"})
    wanting["spec"]["containers"].append({"name": "limited", "resources": {"limits": {"cpu": "500m"}}})
    wanting["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
        {"name": "step", "resources": {"requests": {"cpu": "3"}}},
    ]
    assert plan([wanting], [node(cpu="4")]).bindings
    assert plan([wanting], [node(cpu="3900m")]).refusals, "the init step beside the sidecar wants 4"


def test_priority_is_served_first() -> None:
    made = plan([pod("low", requests={"cpu": "3"}), pod("high", requests={"cpu": "3"}, priority=10)], [node()])
    assert placed(made) == {"high": "laptop"}


def test_the_fewest_and_least_make_room() -> None:
    def running(name: str, cpu: str, priority: int, on: str = "laptop") -> Object:
        return pod(name, requests={"cpu": cpu}, priority=priority, node=on, labels={"app": name})

    urgent = pod("urgent", requests={"cpu": "2"}, priority=100)
    there = [running("a", "1", 5), running("b", "2", 1), running("c", "1", 5)]
    made = plan([urgent], [node()], there)
    assert [victim.key.name for victim in made.refusals[0].victims] == ["b"]
    budget = {"metadata": {"namespace": "default", "name": "pdb"},
              "spec": {"selector": {"matchLabels": {"app": "b"}}}, "status": {"disruptionsAllowed": 0}}
    spared = plan([urgent], [node()], there, budgets=(budget,))
    assert sorted(victim.key.name for victim in spared.refusals[0].victims) == ["a", "c"]
    elsewhere = plan([urgent], [node(), node("other")], [running("big", "4", 1, "other"), *there])
    assert elsewhere.refusals[0].node in ("laptop", "other") and len(elsewhere.refusals[0].victims) == 1
    urgent["spec"]["preemptionPolicy"] = "Never"
    assert refusal(plan([urgent], [node()], there)).endswith("preemption: not eligible due to preemptionPolicy=Never.")


async def test_victims_are_told_why_and_the_room_is_promised() -> None:
    low = pod("low", requests={"cpu": "4"}, node="laptop", phase="Running")
    outcome = await TABLE.run(scheduler.ALL, node(), low, pod("urgent", requests={"cpu": "4"}, priority=9))
    assert outcome.words == ["patch pods/status default/urgent", "patch pods/status default/low",
                             "delete pods default/low"]
    assert outcome.body("patch pods/status default/low")["status"]["conditions"][-1]["reason"] == (
        "PreemptionByScheduler")
    assert outcome.object(PODS, "urgent")["status"]["nominatedNodeName"] == "laptop"
    assert any(event.startswith("Normal Preempted Preempted by pod ") for event in outcome.events)


def test_the_promised_room_is_nobody_elses_while_the_victims_leave() -> None:
    leaving = pod("low", requests={"cpu": "4"}, node="laptop")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    urgent = pod("urgent", requests={"cpu": "4"}, priority=9)
    urgent["status"] = {"nominatedNodeName": "laptop"}
    made = plan([urgent, pod("sneaky")], [node()], [leaving])
    assert [each.victims for each in made.refusals] == [()]
    assert placed(made) == {"sneaky": "laptop"}, "it asks for nothing"
    made = plan([urgent, pod("sneaky", requests={"cpu": "1"})], [node(cpu="8")], [leaving])
    assert placed(made) == {"urgent": "laptop"} and len(made.refusals) == 1


async def test_gated_pods_say_so_and_others_schedulers_pods_are_left_alone() -> None:
    foreign, leaving = pod("foreign", schedulerName="mine"), pod("leaving")
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}
    outcome = await TABLE.run(scheduler.ALL, node(), pod("gated", schedulingGates=[{"name": "x"}]), foreign, leaving)
    assert outcome.words == ["patch pods/status default/gated"]
    condition = conditions.find(outcome.object(PODS, "gated"), "PodScheduled")
    assert condition is not None and condition["reason"] == "SchedulingGated"


def claim(**spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "standard"} | spec,
            "status": {"phase": "Bound" if spec.get("volumeName") else "Pending"}}


CLAIMING = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]


def test_a_pod_waits_for_its_claims() -> None:
    wanting, key = pod("a", volumes=CLAIMING), Key("default", "data")
    assert refusal(plan([wanting], [node()])).startswith(
        '0/1 nodes are available: persistentvolumeclaim "data" not found. preemption: ')
    assert "pod has unbound immediate PersistentVolumeClaims" in refusal(
        plan([wanting], [node()], claims={key: claim()}))
    volume = {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["two"]}]}]}}}}
    made = plan([wanting], [node("one"), node("two")], claims={key: claim(volumeName="pv")}, volumes={"pv": volume})
    assert placed(made) == {"a": "two"}
    assert "didn't match PersistentVolume's node affinity" in refusal(
        plan([wanting], [node("one")], claims={key: claim(volumeName="pv")}, volumes={"pv": volume}))


def test_a_claim_for_one_pod_is_used_by_one() -> None:
    single = {Key("default", "data"): claim(volumeName="pv", accessModes=["ReadWriteOncePod"])}
    user = pod("user", volumes=CLAIMING, node="laptop")
    assert "ReadWriteOncePod access mode" in refusal(
        plan([pod("a", volumes=CLAIMING)], [node()], [user], claims=single))


async def test_a_claim_that_waits_for_its_consumer_hears_of_the_node() -> None:
    lazy = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "standard"},
            "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}
    outcome = await TABLE.run(scheduler.ALL, node(), claim(), lazy, pod("a", volumes=CLAIMING))
    assert outcome.words == ["patch persistentvolumeclaims default/data"]
    assert names.annotation(outcome.object(PERSISTENT_VOLUME_CLAIMS, "data"), names.SELECTED_NODE) == "laptop"


async def test_devices_are_given_out_by_number() -> None:
    wanting = [pod(name, requests={"nvidia.com/gpu": "1"}) for name in ("a", "b")]
    having = pod("having", requests={"nvidia.com/gpu": "1"}, node="laptop", phase="Running")
    having["metadata"]["annotations"] = {names.DEVICES: '{"nvidia.com/gpu": [1]}'}
    outcome = await TABLE.run(scheduler.ALL, node(**{"nvidia.com/gpu": "3"}), having, *wanting)
    given = [json.loads(outcome.body(f"create pods/binding default/{name}")["metadata"]["annotations"][names.DEVICES])
             for name in ("a", "b")]
    assert given == [{"nvidia.com/gpu": [0]}, {"nvidia.com/gpu": [2]}]


async def test_only_what_could_help_makes_another_pass() -> None:
    """A cluster at work wakes the scheduler for new Pods and for room, not for every status."""
    clock = FakeClock()
    api = MemoryApi(clock)
    api.insert("/api/v1/nodes", node(cpu="1"))
    manager = Manager(api.client, clock)
    manager.add(scheduler.controller(build.deps(manager, clock)))
    async with build.running(manager):
        client = api.client()
        await client.create(PODS, pod("holder", requests={"cpu": "1"}))
        await client.create(PODS, pod("waiting", requests={"cpu": "1"}))
        await settle()
        passes = manager.counters()["scheduler"].passes
        holder = Key("default", "holder")
        for number in range(5):
            await client.patch(PODS, holder, {"status": {"phase": "Running", "n": number}}, subresource="status")
            await client.patch(NODES, Key("", "laptop"), {"status": {"beat": number}}, subresource="status")
            await settle()
        assert manager.counters()["scheduler"].passes == passes
        await client.patch(PODS, holder, {"status": {"phase": "Succeeded"}}, subresource="status")
        await settle()
        assert (await client.get(PODS, "waiting", "default"))["spec"].get("nodeName") == "laptop"
        await client.delete(PODS, Key("default", "waiting"))
        await client.create(PODS, pod("last", requests={"cpu": "1"}))
        await settle()
        assert (await client.get(PODS, "last", "default"))["spec"].get("nodeName") == "laptop"
