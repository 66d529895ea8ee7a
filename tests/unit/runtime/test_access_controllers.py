"""The controllers of access and quota on the real API server, each with no more than its own rights."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship import errors
from lightship.cluster.store.store import Store
from lightship.kube import objects, resources
from lightship.kube.objects import Key
from lightship.kube.resources import CLUSTER_ROLES, RESOURCE_QUOTAS, ROLE_BINDINGS, SECRETS, SERVICE_ACCOUNTS
from lightship.testing.clock import until
from tests.unit.runtime.test_real_server import Cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    store = await Store.open(tmp_path / "cluster.db")
    running = Cluster(store)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()
        await store.close()


async def test_a_quotas_status_follows_what_is_there(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(RESOURCE_QUOTAS, {"metadata": {"name": "q", "namespace": "team"}, "spec": {
        "hard": {"count/secrets": "5", "pods": "3", "requests.memory": "1024Mi"}}})
    await client.create(SECRETS, {"metadata": {"name": "s", "namespace": "team"}})
    await client.create(resources.PODS, {"metadata": {"name": "p", "namespace": "team"}, "spec": {"containers": [
        {"name": "c", "image": "x", "resources": {"requests": {"memory": "256Mi"}}}]}})

    def used(count: str, pods: str) -> dict[str, object]:
        return {"hard": {"count/secrets": "5", "pods": "3", "requests.memory": "1Gi"},
                "used": {"count/secrets": count, "pods": pods,
                         "requests.memory": "256Mi" if pods == "1" else "0"}}

    await cluster.until(RESOURCE_QUOTAS, lambda found: [q for q in found if objects.status(q) == used("1", "1")])
    await client.delete(SECRETS, Key("team", "s"))
    await client.delete(resources.PODS, Key("team", "p"), grace_seconds=0)
    await cluster.until(RESOURCE_QUOTAS, lambda found: [q for q in found if objects.status(q) == used("0", "0")])


async def test_an_aggregated_role_follows_its_parts(cluster: Cluster) -> None:
    client = cluster.client
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    mine = {"apiGroups": ["x.example"], "resources": ["things"], "verbs": ["get"]}
    await client.create(CLUSTER_ROLES, {"metadata": {"name": "mine", "labels": label}, "rules": [mine]})

    async def has(name: str) -> bool:
        return mine in (await client.get(CLUSTER_ROLES, name))["rules"]

    def shown(name: str, expected: bool) -> object:
        return lambda found: [r for r in found if objects.name(r) == name and (mine in r["rules"]) == expected]

    for name in ("view", "edit", "admin", "kubeflow-view"):
        await cluster.until(CLUSTER_ROLES, shown(name, True))  # type: ignore[arg-type]
    await client.delete(CLUSTER_ROLES, Key("", "mine"))
    await cluster.until(CLUSTER_ROLES, shown("admin", False))  # type: ignore[arg-type]
    assert not await has("view")


async def test_a_namespaces_editor_may_work_in_it(cluster: Cluster) -> None:
    await cluster.until(ROLE_BINDINGS, lambda found: [b for b in found if objects.key(b) == Key("team",
                                                                                                "default-editor")])
    await until(cluster.manager.idle)
    before = len(cluster.writes)
    await until(cluster.manager.idle)
    assert len(cluster.writes) == before, "at rest nothing is written"


async def test_a_secret_gets_a_token_and_goes_with_its_account(cluster: Cluster) -> None:
    client = cluster.client
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "team"}})
    secret = {"metadata": {"name": "t", "namespace": "team", "annotations": {
        "kubernetes.io/service-account.name": "robot"}}, "type": "kubernetes.io/service-account-token"}
    await client.create(SECRETS, secret)
    found = await cluster.until(SECRETS, lambda found: [s for s in found if (s.get("data") or {}).get("token")])
    data = next(s for s in found if objects.name(s) == "t")["data"]
    assert base64.b64decode(data["namespace"]) == b"team" and base64.b64decode(data["ca.crt"]) == b"CA"
    await client.delete(SERVICE_ACCOUNTS, Key("team", "robot"))
    await cluster.until(SECRETS, lambda found: all(objects.name(s) != "t" for s in found))
    await client.create(SECRETS, secret)
    await cluster.until(SECRETS, lambda found: all(objects.name(s) != "t" for s in found))
    with pytest.raises(errors.NotFound):
        await client.get(SECRETS, "t", "team")
