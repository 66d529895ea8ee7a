"""Claims and volumes: who gets which, what is made, what guards them, what is released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.cluster.builtin import claim_plan as plan
from lightship.cluster.builtin import claims, names
from lightship.cluster.builtin.deps import Deps
from lightship.cluster.node import reclaim
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from lightship.lib import clock as clocks
from lightship.runtime.controller import Controller
from lightship.testing.clock import settle, until
from lightship.testing.memory import MemoryApi
from tests.unit.builtin import build

DATA = Key("default", "data")
PV = "pvc-claim-uid"


def one(name: str) -> Any:
    def make(deps: Deps) -> Controller:
        return next(controller for controller in claims.controllers(deps) if controller.name == name)

    return build.table(make)


BINDER, VOLUMES = one(claims.NAME), one(claims.VOLUMES_NAME)


def storage_class(**more: Any) -> Object:
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {plan.DEFAULT_CLASS: "true"}},
            "provisioner": plan.PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
            "allowVolumeExpansion": True} | more


def claim(**spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default", "uid": "claim-uid",
                         "finalizers": [plan.CLAIM_FINALIZER]},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}} | spec,
            "status": {"phase": "Pending"}}


def volume(name: str = "pv", size: str = "1Gi", **spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": name, "finalizers": [plan.VOLUME_FINALIZER]},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
                     "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/x"}} | spec, "status": {}}


async def test_a_claim_of_the_default_class_gets_a_directory_of_the_node() -> None:
    outcome = await BINDER.run(DATA, storage_class(), build.node(), claim())
    made = outcome.object(PERSISTENT_VOLUMES, PV)
    assert made["spec"]["csi"] == {"driver": plan.PROVISIONER, "volumeHandle": "default/data"}
    assert made["spec"]["claimRef"]["uid"] == "claim-uid"
    bound = outcome.object(PERSISTENT_VOLUME_CLAIMS, "data")
    assert bound["spec"]["storageClassName"] == "standard" and bound["spec"]["volumeName"] == PV
    assert bound["status"] == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}


async def test_a_directory_that_another_volume_still_has_is_not_given_again() -> None:
    kept = volume("old", csi={"driver": plan.PROVISIONER, "volumeHandle": "default/data"}, claimRef={
        "namespace": "default", "name": "data", "uid": "a former one"}, storageClassName="standard")
    del kept["spec"]["hostPath"]
    outcome = await BINDER.run(DATA, storage_class(), build.node(), claim(), kept)
    assert outcome.object(PERSISTENT_VOLUMES, PV)["spec"]["csi"]["volumeHandle"] == "default/pvc-claim-uid"


async def test_one_that_waits_for_its_first_consumer_is_made_where_that_goes() -> None:
    lazy = storage_class(volumeBindingMode="WaitForFirstConsumer")
    outcome = await BINDER.run(DATA, lazy, build.node(), claim(storageClassName="standard"))
    assert outcome.words == []
    assert outcome.events == ("Normal WaitForFirstConsumer waiting for first consumer to be created before binding",)
    chosen = claim(storageClassName="standard")
    chosen["metadata"]["annotations"] = {names.SELECTED_NODE: "two"}
    outcome = await BINDER.run(DATA, lazy, build.node(), build.node("two"), chosen)
    terms = outcome.object(PERSISTENT_VOLUMES, PV)["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == ["two"]


async def test_the_smallest_volume_that_fits_is_taken_and_a_kept_one_first() -> None:
    there = [volume("big", "5Gi"), volume("small", "2Gi"), volume("tiny", "1Mi")]
    outcome = await BINDER.run(DATA, claim(storageClassName=""), *there)
    assert outcome.object(PERSISTENT_VOLUME_CLAIMS, "data")["spec"]["volumeName"] == "small"
    kept = volume("kept", "9Gi", claimRef={"namespace": "default", "name": "data"})
    outcome = await BINDER.run(DATA, claim(storageClassName=""), *there, kept)
    assert outcome.object(PERSISTENT_VOLUME_CLAIMS, "data")["spec"]["volumeName"] == "kept"
    assert outcome.object(PERSISTENT_VOLUMES, "kept")["spec"]["claimRef"]["uid"] == "claim-uid"


@pytest.mark.parametrize("unfit", [
    volume(storageClassName="fast"), volume(volumeMode="Block"), volume(size="1Mi"),
    volume(accessModes=["ReadWriteMany"]),
    volume(claimRef={"namespace": "other", "name": "data"}),
])
async def test_what_does_not_fit_is_left(unfit: Object) -> None:
    outcome = await BINDER.run(DATA, claim(storageClassName=""), unfit)
    assert outcome.words == []
    assert "no storage class is set" in outcome.events[0]


async def test_a_claim_in_use_stays_until_its_last_pod_ends() -> None:
    leaving = claim(volumeName="pv")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    user = build.pod("user", node="laptop", phase="Running")
    user["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    assert (await BINDER.run(DATA, leaving, user)).words == []
    user["status"]["phase"] = "Succeeded"
    outcome = await BINDER.run(DATA, leaving, user)
    assert outcome.words == ["patch persistentvolumeclaims default/data"]
    assert outcome.all(PERSISTENT_VOLUME_CLAIMS) == []


async def test_a_bound_claim_grows() -> None:
    mine = volume(PV, csi={"driver": plan.PROVISIONER, "volumeHandle": "default/data"},
                  claimRef={"namespace": "default", "name": "data", "uid": "claim-uid"})
    grown = claim(volumeName=PV, storageClassName="standard", resources={"requests": {"storage": "3Gi"}})
    outcome = await BINDER.run(DATA, storage_class(), mine, grown)
    assert outcome.object(PERSISTENT_VOLUMES, PV)["spec"]["capacity"] == {"storage": "3Gi"}
    assert outcome.object(PERSISTENT_VOLUME_CLAIMS, "data")["status"]["capacity"] == {"storage": "3Gi"}


async def test_a_lost_volume_is_said() -> None:
    bound = claim(volumeName="gone")
    bound["status"] = {"phase": "Bound"}
    outcome = await BINDER.run(DATA, bound)
    assert outcome.object(PERSISTENT_VOLUME_CLAIMS, "data")["status"]["phase"] == "Lost"
    assert outcome.events[0].startswith("Warning ClaimLost")


@pytest.mark.parametrize(("reference", "phase"), [
    (None, "Available"), ({"namespace": "default", "name": "data"}, "Available"),
    ({"namespace": "default", "name": "data", "uid": "claim-uid"}, "Bound"),
    ({"namespace": "default", "name": "data", "uid": "another"}, "Released"),
])
async def test_the_phase_of_a_volume(reference: Object | None, phase: str) -> None:
    there = volume(claimRef=reference) if reference else volume()
    outcome = await VOLUMES.run(Key("", "pv"), there, claim())
    assert outcome.object(PERSISTENT_VOLUMES, "pv")["status"]["phase"] == phase


async def test_the_node_deletes_data_only_with_the_volume(tmp_path: Path) -> None:
    api = MemoryApi()
    for name, policy, phase in (("gone", "Delete", "Released"), ("kept", "Retain", "Released"),
                                ("used", "Delete", "Bound")):
        (tmp_path / "default" / name).mkdir(parents=True)
        (tmp_path / "default" / name / "file").write_text("data")
        made = plan.make_volume(claim() | {"metadata": {"name": name, "namespace": "default", "uid": name}},
                                storage_class(reclaimPolicy=policy), "laptop", ())
        made["status"] = {"phase": phase}
        api.insert("/api/v1/persistentvolumes", made)
    reclaimer = reclaim.Reclaimer(api.client(), "laptop", tmp_path, clocks.SYSTEM)
    await reclaimer.start()
    await until(lambda: len(api.all("/api/v1/persistentvolumes")) == 2)
    await settle()
    await reclaimer.stop()
    assert sorted(path.name for path in (tmp_path / "default").iterdir()) == ["kept", "used"]
    assert sorted(objects.name(found) for found in api.all("/api/v1/persistentvolumes")) == ["pvc-kept", "pvc-used"]


@pytest.mark.parametrize("handle", ["../etc", "a/../b", "/etc", "a/b/c", "a", "a/.."])
def test_a_handle_leads_nowhere_else(handle: str, tmp_path: Path) -> None:
    crooked = {"metadata": {"name": "x"}, "spec": {"csi": {"driver": reclaim.DRIVER, "volumeHandle": handle}}}
    with pytest.raises(errors.InvalidInput, match="names no directory"):
        reclaim.directory(crooked, tmp_path)
