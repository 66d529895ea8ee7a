"""Evictions keep to disruption budgets, also when many come at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.kube import conditions
from lightship.kube.objects import Key
from lightship.kube.resources import POD_DISRUPTION_BUDGETS, PODS
from lightship.testing.embedded import EmbeddedApi, embedded_api

BUDGET = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "pdb", "namespace": "default"},
          "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}


async def prepare(api: EmbeddedApi, pods: int, **status: Any) -> None:
    client = api.in_process()
    for number in range(pods):
        name = f"p{number}"
        await client.create(PODS, {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default",
                                                            "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}})
        told = {"phase": "Running", "conditions": [conditions.make("Ready", True)]}
        await client.patch(PODS, Key("default", name), {"status": told}, subresource="status")
    await client.create(POD_DISRUPTION_BUDGETS, BUDGET)
    await client.patch(POD_DISRUPTION_BUDGETS, Key("default", "pdb"), {"status": status}, subresource="status")


async def evict(api: EmbeddedApi, name: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
    await api.in_process().create(PODS, body, name=name, subresource="eviction")


async def test_a_budget_is_spent_once_however_many_ask(tmp_path: Path) -> None:
    async with embedded_api(tmp_path) as api:
        await prepare(api, 5, observedGeneration=1, disruptionsAllowed=2, currentHealthy=5, desiredHealthy=3)
        answers = await asyncio.gather(*(evict(api, f"p{number}") for number in range(5)), return_exceptions=True)
        assert sum(1 for answer in answers if answer is None) == 2
        budget = await api.in_process().get(POD_DISRUPTION_BUDGETS, "pdb", "default")
        assert budget["status"]["disruptionsAllowed"] == 0 and len(budget["status"]["disruptedPods"]) == 2
        left = (await api.in_process().list(PODS)).items
        marked = [pod for pod in left if conditions.is_true(pod, "DisruptionTarget")]
        assert len(marked) == 2 and all(pod["metadata"].get("deletionTimestamp") for pod in marked)


async def test_the_refusal_is_upstreams(tmp_path: Path) -> None:
    async with embedded_api(tmp_path) as api:
        await prepare(api, 1, observedGeneration=1, disruptionsAllowed=0, currentHealthy=1, desiredHealthy=1)
        with pytest.raises(errors.LightshipError) as refused:
            await evict(api, "p0")
        assert refused.value.message == "Cannot evict pod as it would violate the pod's disruption budget."


async def test_a_budget_that_nobody_has_counted_yet_makes_them_wait(tmp_path: Path) -> None:
    async with embedded_api(tmp_path) as api:
        await prepare(api, 1)
        with pytest.raises(errors.LightshipError, match="disruption budget"):
            await evict(api, "p0")
        client = api.in_process()
        await client.patch(PODS, Key("default", "p0"), {"status": {"phase": "Succeeded"}}, subresource="status")
        await evict(api, "p0")  # nobody counts on it
