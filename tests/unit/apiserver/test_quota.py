"""Quota, limits and priority at admission, through a real server."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from lightship import errors
from lightship.kube import quantities, quota, resources
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, LIMIT_RANGES, PODS, PRIORITY_CLASSES, RESOURCE_QUOTAS
from lightship.testing.embedded import EmbeddedApi


def pod(name: str, resources: Object | None = None, **spec: Any) -> Object:
    container = {"name": "c", "image": "busybox"} | ({"resources": resources} if resources else {})
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [container]} | spec}


def hard(name: str, amounts: Object, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"hard": amounts} | spec}


async def test_a_full_quota_says_so_in_upstreams_words(api: EmbeddedApi) -> None:
    client = api.in_process()
    await client.create(RESOURCE_QUOTAS, hard("q", {"pods": "2", "requests.memory": "1Gi"}))
    small = {"requests": {"memory": "256Mi"}}
    for name in ("a", "b"):
        await client.create(PODS, pod(name, small))
    with pytest.raises(errors.Forbidden) as e:
        await client.create(PODS, pod("c", small))
    assert str(e.value) == ('pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: '
                            "pods=2")
    await client.delete(PODS, Key("default", "a"), grace_seconds=0)
    with pytest.raises(errors.Forbidden) as e:
        await client.create(PODS, pod("c", {"requests": {"memory": "1Gi"}}))
    assert str(e.value).endswith("requested: requests.memory=1Gi, used: requests.memory=256Mi, limited: "
                                 "requests.memory=1Gi")
    with pytest.raises(errors.Forbidden, match=r"failed quota: q: must specify requests\.memory for: c"):
        await client.create(PODS, pod("c"))
    await client.create(PODS, pod("c", small))


async def test_the_last_place_is_given_once_however_many_ask(api: EmbeddedApi) -> None:
    client = api.in_process()
    await client.create(RESOURCE_QUOTAS, hard("q", {"count/configmaps": "10"}))

    async def one(number: int) -> bool:
        try:
            await client.create(CONFIGMAPS, {"metadata": {"name": f"c{number}", "namespace": "default"}})
        except errors.Forbidden:
            return False
        return True

    there = len((await client.list(CONFIGMAPS)).items)
    made = await asyncio.gather(*(one(number) for number in range(60)))
    assert sum(made) == 10 - there
    await client.delete(CONFIGMAPS, Key("default", f"c{made.index(True)}"))
    assert sum(await asyncio.gather(*(one(100 + number) for number in range(5)))) == 1


async def test_a_failed_or_dry_write_keeps_no_share(api: EmbeddedApi) -> None:
    client = api.in_process()
    await client.create(RESOURCE_QUOTAS, hard("q", {"count/configmaps": "1"}))
    for _ in range(3):
        with pytest.raises(errors.InvalidInput):
            await client.create(CONFIGMAPS, {"metadata": {"name": "Bad Name", "namespace": "default"}})
    await client.create(CONFIGMAPS, {"metadata": {"name": "x", "namespace": "default"}})
    with pytest.raises(errors.Forbidden):
        await client.create(CONFIGMAPS, {"metadata": {"name": "y", "namespace": "default"}})


async def test_scopes_choose_among_pods(api: EmbeddedApi) -> None:
    client = api.in_process()
    await client.create(RESOURCE_QUOTAS, hard("effort", {"pods": "0"}, scopes=["BestEffort"]))
    await client.create(PRIORITY_CLASSES, {"metadata": {"name": "high"}, "value": 1000})
    await client.create(RESOURCE_QUOTAS, hard("high", {"pods": "0"}, scopeSelector={"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}))
    some = {"requests": {"cpu": "1"}}
    await client.create(PODS, pod("a", some))
    with pytest.raises(errors.Forbidden, match="quota: effort"):
        await client.create(PODS, pod("b"))
    with pytest.raises(errors.Forbidden, match="quota: high"):
        await client.create(PODS, pod("b", some, priorityClassName="high"))


async def test_limits_fill_in_and_bound(api: EmbeddedApi) -> None:
    client = api.in_process()
    await client.create(LIMIT_RANGES, {"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "2"}}]}})
    made = await client.create(PODS, pod("a"))
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
    assert "LimitRanger plugin set" in made["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    with pytest.raises(errors.Forbidden, match="maximum cpu usage per Container is 2, but limit is 3"):
        await client.create(PODS, pod("b", {"limits": {"cpu": "3"}}))


async def test_priority_comes_from_the_class(api: EmbeddedApi) -> None:
    client = api.in_process()
    assert (await client.create(PODS, pod("plain")))["spec"]["priority"] == 0
    await client.create(PRIORITY_CLASSES, {"metadata": {"name": "mine"}, "value": 7, "globalDefault": True,
                                           "preemptionPolicy": "Never"})
    made = (await client.create(PODS, pod("a")))["spec"]
    assert (made["priorityClassName"], made["priority"], made["preemptionPolicy"]) == ("mine", 7, "Never")
    system = await client.create(PODS, pod("b", priorityClassName="system-node-critical"))
    assert system["spec"]["priority"] == 2_000_001_000
    with pytest.raises(errors.Forbidden, match="no PriorityClass with name nope was found"):
        await client.create(PODS, pod("c", priorityClassName="nope"))
    with pytest.raises(errors.Forbidden, match="must not be provided in pod spec"):
        await client.create(PODS, pod("c", priority=5))
    with pytest.raises(errors.InvalidInput, match="reserved for system use only"):
        await client.create(PRIORITY_CLASSES, {"metadata": {"name": "system-x"}, "value": 1})


@pytest.mark.parametrize(("text", "binary", "shown"), [
    ("1000m", False, "1"), ("1500m", False, "1500m"), ("1024Mi", True, "1Gi"), ("1000", False, "1k"), ("0", True, "0"),
    ("1.5Gi", True, "1536Mi"), ("0.1", False, "100m"), ("1e3", False, "1k"), ("100", True, "100")])
def test_amounts_are_written_as_kubernetes_writes_them(text: str, binary: bool, shown: str) -> None:
    assert quantities.canonical(quantities.parse(text), binary=binary) == shown


def test_what_a_pod_uses() -> None:
    spec = {"initContainers": [{"name": "i", "resources": {"requests": {"cpu": "3"}}},
                               {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}],
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}
    used = quota.usage("pods", {"spec": spec})
    assert (used["requests.cpu"], used["limits.cpu"], used["pods"]) == (Decimal(3), Decimal(1), Decimal(1))
    assert used["requests.memory"] == 2**30
    assert quota.usage("pods", {"spec": spec, "status": {"phase": "Succeeded"}}) == {"count/pods": Decimal(1)}
    assert resources.RESOURCE_QUOTAS.group_resource in quota.COUNTED
