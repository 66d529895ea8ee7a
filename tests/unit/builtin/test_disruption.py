"""Disruption budgets: what they allow."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.builtin import disruption
from lightship.kube import conditions
from lightship.kube.objects import Key, Object
from lightship.kube.resources import POD_DISRUPTION_BUDGETS
from tests.unit.builtin import build

TABLE = build.table(disruption.controller)
PDB = Key("default", "pdb")


def budget(**spec: Any) -> Object:
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "pdb", "namespace": "default", "generation": 2},
            "spec": {"selector": {"matchLabels": {"app": "web"}}} | spec, "status": {}}


def members(ready: int, unready: int = 0) -> list[Object]:
    owner = build.owned_by("ReplicaSet", "web-abc", "web-abc-uid")
    return [build.pod(f"p{number}", node="laptop", phase="Running", labels={"app": "web"}, owner=owner,
                      ready=number < ready) for number in range(ready + unready)]


@pytest.mark.parametrize(("spec", "allowed", "desired"), [
    ({"minAvailable": 2}, 1, 2), ({"minAvailable": "50%"}, 1, 2), ({"maxUnavailable": 1}, 0, 3),
    ({"maxUnavailable": "50%"}, 1, 2), ({"minAvailable": 5}, 0, 5),
])
async def test_what_is_allowed_with_three_of_four_ready(spec: dict[str, Any], allowed: int, desired: int) -> None:
    outcome = await TABLE.run(PDB, budget(**spec), build.replica_set(replicas=4), *members(3, 1))
    status = outcome.object(POD_DISRUPTION_BUDGETS, "pdb")["status"]
    assert (status["disruptionsAllowed"], status["desiredHealthy"], status["currentHealthy"]) == (allowed, desired, 3)
    assert status["observedGeneration"] == 2
    condition = conditions.find({"status": status}, "DisruptionAllowed") or {}
    assert condition["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


async def test_an_evicted_pod_counts_as_gone_until_it_is() -> None:
    there = budget(minAvailable=1)
    there["status"] = {"disruptedPods": {"p0": "2026-01-01T00:00:00Z", "long-gone": "2026-01-01T00:00:00Z"}}
    outcome = await TABLE.run(PDB, there, *members(3))
    status = outcome.object(POD_DISRUPTION_BUDGETS, "pdb")["status"]
    assert status["disruptionsAllowed"] == 1 and set(status["disruptedPods"]) == {"p0"}
    assert outcome.result.requeue_after_seconds == disruption.CONFIRM_SECONDS


async def test_pods_that_nobody_controls_cannot_be_counted() -> None:
    loose = build.pod("loose", labels={"app": "web"}, ready=True, phase="Running")
    outcome = await TABLE.run(PDB, budget(maxUnavailable=1), loose)
    condition = conditions.find(outcome.object(POD_DISRUPTION_BUDGETS, "pdb"), "DisruptionAllowed") or {}
    assert condition["reason"] == "SyncFailed" and 'no controller for pod "loose"' in condition["message"]
