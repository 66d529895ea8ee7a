"""Nodes that fall silent, their taints, and who has to leave."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lightship.cluster.builtin import names, nodes
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import LEASES, NODES, PODS
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi
from tests.unit.builtin import build

TABLE = build.table(nodes.controller)
LAPTOP = Key("", "laptop")
NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def keys(node: Object) -> list[tuple[str, str]]:
    return [(taint["key"], taint["effect"]) for taint in objects.spec(node).get("taints") or ()]


async def test_a_cordoned_node_is_tainted_and_a_person_s_taint_stays() -> None:
    node = build.node()
    node["spec"] = {"unschedulable": True, "taints": [{"key": "mine", "effect": "NoSchedule"}]}
    outcome = await TABLE.run(LAPTOP, node)
    assert keys(outcome.object(NODES, "laptop")) == [("mine", "NoSchedule"), (names.TAINT_UNSCHEDULABLE, "NoSchedule")]
    back = outcome.object(NODES, "laptop")
    back["spec"]["unschedulable"] = False
    assert keys({"spec": {"taints": nodes.taints(back, NOW)}}) == [("mine", "NoSchedule")]


async def test_pressure_and_unreadiness_are_taints() -> None:
    node = build.node(ready=False)
    node["status"]["conditions"] += [{"type": kind, "status": "True"} for kind in ("DiskPressure", "MemoryPressure")]
    outcome = await TABLE.run(LAPTOP, node)
    assert keys(outcome.object(NODES, "laptop")) == [
        (names.TAINT_NOT_READY, "NoSchedule"), (names.TAINT_NOT_READY, "NoExecute"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"), ("node.kubernetes.io/disk-pressure", "NoSchedule")]


@pytest.mark.parametrize(("tolerations", "left"), [
    ([], 0.0), ([{"key": "k", "operator": "Exists"}], None), ([{"operator": "Exists"}], None),
    ([{"key": "k", "operator": "Exists", "tolerationSeconds": 90}], 30.0),
    ([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}], 0.0),
])
def test_how_long_a_pod_may_stay(tolerations: list[dict[str, Any]], left: float | None) -> None:
    node = build.node()
    node["spec"]["taints"] = [{"key": "k", "value": "v", "effect": "NoExecute", "timeAdded": "2026-01-01T00:09:00Z"}]
    pod = build.pod("a", node="laptop")
    pod["spec"]["tolerations"] = tolerations
    assert nodes.stay_seconds(pod, node, NOW) == (left if left is None or left > 0 else pytest.approx(-60))


async def test_pods_that_do_not_tolerate_a_taint_leave() -> None:
    node = build.node()
    node["spec"]["taints"] = [{"key": "k", "effect": "NoExecute"}]
    outcome = await TABLE.run(LAPTOP, node, build.pod("a", node="laptop"), build.pod("other"))
    assert outcome.words == ["patch pods/status default/a", "delete pods default/a"]
    assert outcome.events == ("Normal TaintManagerEviction Marking for deletion Pod default/a",)


async def test_a_silent_node_is_unknown_until_it_speaks_and_its_pods_leave_after_a_while() -> None:
    clock = FakeClock()
    api = MemoryApi(clock)
    api.insert("/api/v1/nodes", build.node())
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
             "metadata": {"name": "laptop", "namespace": nodes.LEASE_NAMESPACE}, "spec": {"renewTime": "one"}}
    api.insert(LEASES.path(), lease)
    api.insert("/api/v1/pods", build.pod("a", node="laptop", ready=True))
    manager = Manager(api.client, clock)
    manager.add(nodes.controller(build.deps(manager, clock)))
    async with build.running(manager):
        client = api.client()
        await clock.advance(40)
        await client.patch(LEASES, Key(nodes.LEASE_NAMESPACE, "laptop"), {"spec": {"renewTime": "two"}})
        await settle()
        await clock.advance(40)
        assert conditions.is_true(await client.get(NODES, "laptop"), "Ready")
        await clock.advance(11)
        await settle()
        node = await client.get(NODES, "laptop")
        assert (conditions.find(node, "Ready") or {})["status"] == "Unknown"
        assert keys(node) == [(names.TAINT_UNREACHABLE, "NoSchedule"), (names.TAINT_UNREACHABLE, "NoExecute")]
        assert not conditions.is_true(await client.get(PODS, "a", "default"), "Ready")
        await clock.advance(nodes.DEFAULT_TOLERATION_SECONDS + 1)
        await settle()
        assert api.find("/api/v1/pods", Key("default", "a")) is None
        await client.patch(LEASES, Key(nodes.LEASE_NAMESPACE, "laptop"), {"spec": {"renewTime": "three"}})
        told = [{"type": "Ready", "status": "True"}]
        await client.patch(NODES, LAPTOP, {"status": {"conditions": told}}, subresource="status")
        await settle()
        assert keys(await client.get(NODES, "laptop")) == []
