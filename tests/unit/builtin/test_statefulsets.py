"""StatefulSets: names, order, revisions, claims."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.builtin import controller_revisions, stateful_plan, stateful_pods, statefulsets
from lightship.cluster.builtin.stateful_plan import Versions
from lightship.kube import objects, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from tests.unit.builtin import build

TABLE = build.table(statefulsets.controller)
DB = Key("default", "db")
NOW = times.parse("2026-01-01T00:00:00Z")


def stateful_set(replicas: int = 3, image: str = "db:1", **spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "default", "uid": "db-uid"},
            "spec": {"replicas": replicas, "serviceName": "peers", "selector": {"matchLabels": {"app": "db"}},
                     "template": {"metadata": {"labels": {"app": "db"}},
                                  "spec": {"containers": [{"name": "main", "image": image}]}}} | spec}


def revision(owner: Object, number: int = 1) -> Object:
    return controller_revisions.make(owner, number - 1)


def pod(ordinal: int, owner: Object, *, ready: bool = True, **more: Any) -> Object:
    made = stateful_pods.make_pod(owner, owner["spec"]["template"], ordinal, objects.name(revision(owner)))
    status = build.pod("x", phase="Running" if ready else "Pending", ready=ready)["status"]
    return made | {"status": status | more}


async def test_pods_come_one_after_the_other_each_with_its_name() -> None:
    outcome = await TABLE.run(DB, stateful_set())
    assert [objects.name(made) for made in outcome.all(PODS)] == ["db-0"]
    made = outcome.object(PODS, "db-0")
    assert (made["spec"]["hostname"], made["spec"]["subdomain"]) == ("db-0", "peers")
    labels = objects.labels(made)
    assert (labels[stateful_pods.POD_NAME], labels[stateful_pods.POD_INDEX]) == ("db-0", "0")
    [kept] = outcome.all(CONTROLLER_REVISIONS)
    assert labels[controller_revisions.POD_REVISION] == objects.name(kept)
    assert outcome.events == ("Normal SuccessfulCreate create Pod db-0 in StatefulSet db successful",)
    status = outcome.object(STATEFUL_SETS, "db")["status"]
    assert status["replicas"] == 1 and status["currentRevision"] == status["updateRevision"] == objects.name(kept)


@pytest.mark.parametrize(("there", "made"), [
    ([(0, False)], []), ([(0, True)], ["db-1"]), ([(0, True), (1, True)], ["db-2"]),
    ([(1, True), (2, True)], ["db-0"]), ([(0, True), (1, True), (2, True)], []),
])
async def test_the_next_waits_until_those_before_are_ready(there: list[tuple[int, bool]], made: list[str]) -> None:
    owner = stateful_set()
    outcome = await TABLE.run(DB, owner, *(pod(number, owner, ready=ready) for number, ready in there))
    assert [word.partition("default/")[2] for word in outcome.words if word.startswith("create pods")] == made


async def test_in_parallel_all_come_at_once_from_the_first_ordinal() -> None:
    outcome = await TABLE.run(DB, stateful_set(podManagementPolicy="Parallel", ordinals={"start": 5}))
    assert sorted(objects.name(made) for made in outcome.all(PODS)) == ["db-5", "db-6", "db-7"]


async def test_scaling_down_takes_the_highest_first_and_waits_for_its_end() -> None:
    owner = stateful_set(1)
    there = [pod(number, owner) for number in range(3)]
    outcome = await TABLE.run(DB, owner, *there)
    assert [word for word in outcome.words if word.startswith("delete")] == ["delete pods default/db-2"]
    plan = stateful_plan.decide(owner, [there[0], there[1], there[2] | {
        "metadata": there[2]["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:30Z"}}], Versions(
        current="a", update="a"), NOW)
    assert plan.delete == ()


@pytest.mark.parametrize(("spec", "replaced"), [
    ({}, ["db-2"]), ({"updateStrategy": {"type": "OnDelete"}}, []),
    ({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}}, []),
    ({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}, ["db-2"]),
])
async def test_a_new_template_replaces_from_the_top(spec: dict[str, Any], replaced: list[str]) -> None:
    old, new = stateful_set(), stateful_set(image="db:2", **spec)
    outcome = await TABLE.run(DB, new, revision(old), *(pod(number, old) for number in range(3)))
    assert sorted(word.partition("default/")[2] for word in outcome.words if word.startswith("delete")) == replaced
    assert len(outcome.all(CONTROLLER_REVISIONS)) == 2


def test_several_may_be_replaced_at_once() -> None:
    old = stateful_set()
    new = stateful_set(image="db:2", updateStrategy={"rollingUpdate": {"maxUnavailable": 2}})
    plan = stateful_plan.decide(new, [pod(number, old) for number in range(3)], Versions(current="a", update="b"), NOW)
    assert [objects.name(found) for found in plan.delete] == ["db-2", "db-1"]


async def test_below_the_partition_a_lost_pod_comes_back_as_it_was() -> None:
    old = stateful_set()
    new = stateful_set(image="db:2", updateStrategy={"rollingUpdate": {"partition": 2}})
    new["status"] = {"currentRevision": objects.name(revision(old))}
    outcome = await TABLE.run(DB, new, revision(old), pod(1, old), pod(2, old))
    assert outcome.object(PODS, "db-0")["spec"]["containers"][0]["image"] == "db:1"


async def test_the_update_is_over_when_all_have_arrived_and_undoing_takes_the_old_revision_again() -> None:
    old, new = stateful_set(1), stateful_set(1, image="db:2")
    new["status"] = {"currentRevision": objects.name(revision(old))}
    outcome = await TABLE.run(DB, new, revision(old), revision(new, 2), pod(0, new))
    status = outcome.object(STATEFUL_SETS, "db")["status"]
    assert status["currentRevision"] == status["updateRevision"] == objects.name(revision(new))
    back = await TABLE.run(DB, old, revision(old), revision(new, 2), pod(0, new))
    numbers = {objects.name(found): found["revision"] for found in back.all(CONTROLLER_REVISIONS)}
    assert numbers[objects.name(revision(old))] == 3


async def test_a_failed_pod_is_made_anew() -> None:
    owner = stateful_set(1)
    failed = pod(0, owner, ready=False, phase="Failed")
    waits = await TABLE.run(DB, owner, failed)
    assert waits.result.requeue_after_seconds == 5, "a node that refuses it would refuse it again"
    failed["metadata"]["creationTimestamp"] = "2025-12-31T23:00:00Z"
    outcome = await TABLE.rest(DB, owner, failed)
    assert outcome.words[:2] == ["create controllerrevisions default/" + objects.name(revision(owner)),
                                 "delete pods default/db-0"]
    assert objects.status(outcome.object(PODS, "db-0")).get("phase") != "Failed"


async def test_claims_come_before_their_pod_and_stay() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    owner = stateful_set(1, volumeClaimTemplates=[claim])
    outcome = await TABLE.run(DB, owner)
    made = [word for word in outcome.words if word.startswith("create") and "revision" not in word]
    assert made == ["create persistentvolumeclaims default/data-db-0", "create pods default/db-0"]
    assert outcome.object(PODS, "db-0")["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]
    kept = outcome.object(PERSISTENT_VOLUME_CLAIMS, "data-db-0")
    assert objects.labels(kept) == {"app": "db"} and not objects.meta(kept).get("ownerReferences")


async def test_claims_go_where_the_policy_says_so() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {}}
    owner = stateful_set(1, volumeClaimTemplates=[claim], persistentVolumeClaimRetentionPolicy={
        "whenDeleted": "Delete", "whenScaled": "Delete"})
    there = [pod(0, owner), pod(1, owner)]
    claims = [next(stateful_pods.make_claims(owner, number)) for number in range(2)]
    outcome = await TABLE.rest(DB, owner, *there, *claims)
    owners = {objects.name(found): [ref["kind"] for ref in objects.meta(found).get("ownerReferences") or ()]
              for found in outcome.all(PERSISTENT_VOLUME_CLAIMS)}
    assert owners == {"data-db-0": ["StatefulSet"], "data-db-1": ["Pod"]}


async def test_available_waits_for_min_ready_seconds() -> None:
    owner = stateful_set(2, minReadySeconds=10)
    outcome = await TABLE.run(DB, owner, pod(0, owner))
    status = outcome.object(STATEFUL_SETS, "db")["status"]
    assert (status["readyReplicas"], status["availableReplicas"]) == (1, 0)
    assert outcome.result.requeue_after_seconds == 10
