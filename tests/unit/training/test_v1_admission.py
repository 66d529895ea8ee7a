"""Which v1 jobs a real API server takes, what it makes of them, and what it refuses, with its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.domains.training import JOBS
from lightship.domains.training.v1.kinds import FRAMEWORKS
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from lightship.testing.embedded import EmbeddedOptions, embedded_api

RESOURCES: dict[str, Resource] = {one.resource.kind: one.resource for one in FRAMEWORKS}
SPECS = {one.resource.kind: one.specs for one in FRAMEWORKS}
CONTAINERS = {one.resource.kind: one.container for one in FRAMEWORKS}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with embedded_api(tmp_path, EmbeddedOptions(kinds=JOBS.kinds)) as api:
        yield api.in_process()


def job(kind: str, replicas: dict[str, Any], *, name: str = "run", **spec: Any) -> Object:
    def whole(given: Any) -> Any:
        more = given if isinstance(given, dict) else {"replicas": given}
        return {"template": {"spec": {"containers": [{"name": CONTAINERS[kind], "image": "busybox"}]}}} | more

    return {"apiVersion": "kubeflow.org/v1", "kind": kind, "metadata": {"name": name, "namespace": "default"},
            "spec": {SPECS[kind]: {type: whole(given) for type, given in replicas.items()}} | spec}


POLICIES = {"TFJob": "Never", "PyTorchJob": "OnFailure", "XGBoostJob": "Never", "PaddleJob": "OnFailure",
            "JAXJob": "Never"}


@pytest.mark.parametrize("kind", list(POLICIES))
async def test_defaults_are_upstreams(client: Client, kind: str) -> None:
    types = {"master": {}, "WORKER": {"replicas": 2}} if kind == "XGBoostJob" else {"WORKER": {"replicas": 2}}
    made = await client.create(RESOURCES[kind], job(kind, types))
    assert made["spec"]["runPolicy"] == {"cleanPodPolicy": "None", "suspend": False}
    worker = made["spec"][SPECS[kind]]["Worker"]
    assert worker["replicas"] == 2 and worker["restartPolicy"] == POLICIES[kind]
    assert worker["template"]["spec"]["containers"] == [{"name": CONTAINERS[kind], "image": "busybox"}]
    if kind == "PyTorchJob":
        assert made["spec"]["nprocPerNode"] == "auto"
    if kind == "TFJob":
        assert made["spec"]["successPolicy"] == ""
    if kind == "XGBoostJob":
        assert made["spec"][SPECS[kind]]["Master"]["replicas"] == 1


async def test_applying_a_manifest_again_changes_nothing(client: Client) -> None:
    """Lists are as they were given: a patch of one would be seen as a change for ever."""
    wanted = job("JAXJob", {"Worker": {"replicas": 2}})
    first = await client.patch(RESOURCES["JAXJob"], Key("default", "run"), wanted, type="apply")
    again = await client.patch(RESOURCES["JAXJob"], Key("default", "run"), wanted, type="apply")
    merged = await client.patch(RESOURCES["JAXJob"], Key("default", "run"), {"spec": wanted["spec"]})
    assert first["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
    assert first["metadata"]["generation"] == merged["metadata"]["generation"] == 1


async def test_a_type_in_small_letters_may_be_applied_again(client: Client) -> None:
    resource = RESOURCES["PyTorchJob"]
    await client.create(resource, job("PyTorchJob", {"worker": {"replicas": 2}}))
    key = Key("default", "run")
    again = await client.patch(resource, key, {"spec": job("PyTorchJob", {"worker": {"replicas": 2}})["spec"]})
    assert again["metadata"]["generation"] == 1
    more = await client.patch(resource, key, {"spec": {"pytorchReplicaSpecs": {"worker": {"replicas": 3}}}})
    assert {type: one["replicas"] for type, one in more["spec"]["pytorchReplicaSpecs"].items()} == {"Worker": 3}


def without(kind: str, **container: Any) -> Object:
    return job(kind, {"Worker": {"template": {"spec": {"containers": [container] if container else []}}}})


WRONG = [
    # The kind's own words, and where it says them.
    (job("PyTorchJob", {"Worker": 1}, name="9run"), "metadata.name", "should match: a DNS-1035 label"),
    (job("PyTorchJob", {"Worker": 1}, name="x" * 60), "metadata.name", "must be no more than 54 characters"),
    (job("PyTorchJob", {}), "spec.pytorchReplicaSpecs", "must be required"),
    (job("PyTorchJob", {"Server": 1}), "spec.pytorchReplicaSpecs[Server]",
     'Unsupported value: "Server": supported values: "Master", "Worker"'),
    (job("TFJob", {"Boss": 1}), "spec.tfReplicaSpecs[Boss]", "Unsupported value"),
    (without("PyTorchJob"), "spec.pytorchReplicaSpecs[Worker].template.spec.containers", "must be specified"),
    (without("PyTorchJob", name="pytorch"), "spec.pytorchReplicaSpecs[Worker].template.spec.containers[0].image",
     "must be required"),
    (without("PyTorchJob", name="other", image="busybox"), "spec.pytorchReplicaSpecs[Worker].template.spec.containers",
     "must have at least one container with name pytorch"),
    (job("PyTorchJob", {"Master": 2}), "spec.pytorchReplicaSpecs[Master].replicas", "must be 1"),
    (job("PyTorchJob", {"Master": 1, "Worker": 0}), "spec.pytorchReplicaSpecs[Worker].replicas", "must be at least 1"),
    (job("PyTorchJob", {"Master": 1}, elasticPolicy={}), "spec.pytorchReplicaSpecs[Worker]",
     "must be configured if elastic policy is used"),
    (job("PyTorchJob", {"Worker": 1}, nprocPerNode="2", elasticPolicy={"nProcPerNode": 2}),
     "spec.elasticPolicy.nProcPerNode", "must not be used with spec.nprocPerNode"),
    (job("PyTorchJob", {"Worker": 1}, elasticPolicy={"minReplicas": 3, "maxReplicas": 2}),
     "spec.elasticPolicy.minReplicas", "must be less than or equal to maxReplicas"),
    (job("PyTorchJob", {"Worker": {"restartPolicy": "Sometimes"}}), "spec.pytorchReplicaSpecs[Worker].restartPolicy",
     "Unsupported value"),
    (job("XGBoostJob", {"Worker": 1}), "spec.xgbReplicaSpecs[Master]", "must be present"),
    (job("XGBoostJob", {"Master": 2}), "spec.xgbReplicaSpecs[Master].replicas", "must be 1"),
    (job("TFJob", {"Chief": 1, "Master": 1}), "spec.tfReplicaSpecs", "must not have more than 1 Chief or Master role"),
    (job("JAXJob", {"Worker": -1}), "spec.jaxReplicaSpecs[Worker].replicas", "greater than or equal to 0"),
    (job("JAXJob", {"Worker": 10_000}), "spec.jaxReplicaSpecs", "must have at most 1000 replicas"),
    (job("JAXJob", {"Worker": 1}, runPolicy={"managedBy": "me"}), "spec.runPolicy.managedBy",
     'supported values: "kueue.x-k8s.io/multikueue", "kubeflow.org/training-operator"'),
    (job("JAXJob", {"Worker": 1}, runPolicy={"cleanPodPolicy": "Some"}), "spec.runPolicy.cleanPodPolicy",
     "Unsupported value"),
    *((job("JAXJob", {"Worker": 1}, runPolicy={name: -1}), f"spec.runPolicy.{name}", "greater than or equal to 0")
      for name in ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")),
    (job("JAXJob", {"Worker": {"replicas": "many"}}), "spec.jaxReplicaSpecs", "integer"),
    (job("JAXJob", {"Worker": {"template": {"spec": {"containers": "jax"}}}}), "containers", "list"),
]


@pytest.mark.parametrize(("wrong", "place", "words"), WRONG)
async def test_what_is_refused_says_where_and_why(client: Client, wrong: Object, place: str, words: str) -> None:
    with pytest.raises(errors.InvalidInput) as refused:
        await client.create(RESOURCES[wrong["kind"]], wrong)
    assert place in str(refused.value) and words in str(refused.value), refused.value


@pytest.mark.parametrize(("before", "after", "words"), [
    ({"schedulingPolicy": {"queue": "a"}}, {"schedulingPolicy": {"queue": "b"}},
     "spec.runPolicy.schedulingPolicy.queue is immutable"),
    ({}, {"managedBy": "kueue.x-k8s.io/multikueue"}, "field is immutable"),
])
async def test_what_may_not_change(client: Client, before: Any, after: Any, words: str) -> None:
    await client.create(RESOURCES["PyTorchJob"], job("PyTorchJob", {"Worker": 1}, runPolicy=before))
    with pytest.raises(errors.InvalidInput, match=words):
        await client.patch(RESOURCES["PyTorchJob"], Key("default", "run"), {"spec": {"runPolicy": after}})


async def test_workers_are_scaled_by_the_subresource_and_its_limits_hold(client: Client) -> None:
    resource = RESOURCES["PyTorchJob"]
    await client.create(resource, job("PyTorchJob", {"Master": 1, "Worker": 2}))
    await client.patch(resource, Key("default", "run"), {"status": {"replicaStatuses": {"Worker": {
        "active": 2, "selector": "a=b"}}}}, subresource="status")
    path = resource.path("default", "run", "scale")
    scale = await client.raw("GET", path)
    assert scale["spec"] == {"replicas": 2} and scale["status"] == {"replicas": 2, "selector": "a=b"}
    await client.raw("PUT", path, body=scale | {"spec": {"replicas": 3}})
    job_now = await client.get(resource, "run", "default")
    assert job_now["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 3
    with pytest.raises(errors.InvalidInput, match="at most 1000"):
        await client.raw("PUT", path, body={"spec": {"replicas": 5000}, "kind": "Scale", "apiVersion": "autoscaling/v1",
                                            "metadata": {"name": "run", "namespace": "default"}})


async def test_definitions_tell_of_scaling_as_upstreams_do(client: Client) -> None:
    made = await client.get(CUSTOM_RESOURCE_DEFINITIONS, "pytorchjobs.kubeflow.org")
    version = made["spec"]["versions"][0]
    assert version["subresources"] == {"status": {}, "scale": {
        "specReplicasPath": ".spec.pytorchReplicaSpecs.Worker.replicas",
        "statusReplicasPath": ".status.replicaStatuses.Worker.active",
        "labelSelectorPath": ".status.replicaStatuses.Worker.selector"}}
    assert [one["name"] for one in version["additionalPrinterColumns"]] == ["State", "Age"]
    assert "scale" not in (await client.get(CUSTOM_RESOURCE_DEFINITIONS, "tfjobs.kubeflow.org"))["spec"]["versions"][0][
        "subresources"]
