"""Deployments and ReplicaSets: the rollout step by step, and what the status says of it."""

from __future__ import annotations

from typing import Any

import pytest

from lightship import errors
from lightship.cluster.builtin import deployments, names, replicasets, rollout
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import DEPLOYMENTS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi
from tests.unit.builtin import build

WEB = Key("default", "web")
DEPLOYMENT_TABLE = build.table(deployments.controller)
SET_TABLE = build.table(replicasets.controller)
OWNER = build.owned_by("Deployment", "web", "deploy-uid")


def of(deployment: Object, name: str, spec_replicas: int, available: int, *, revision: int = 1) -> Object:
    """A ReplicaSet of that Deployment's template."""
    made = rollout.make_replica_set(deployment, [], spec_replicas)
    made["metadata"] |= {"name": name, "uid": f"{name}-uid", "creationTimestamp": f"2026-01-0{revision}T00:00:00Z",
                         "annotations": {names.REVISION: str(revision)}}
    made["status"] = {"replicas": spec_replicas, "readyReplicas": available, "availableReplicas": available,
                      "observedGeneration": 1}
    return made


def steps(deployment: Object, *sets: Object) -> dict[str, int]:
    return {step.name: step.replicas for step in rollout.step(deployment, sets, rollout.current(deployment, sets))}


async def test_a_new_deployment_makes_one_replica_set() -> None:
    outcome = await DEPLOYMENT_TABLE.run(WEB, build.deployment())
    made = outcome.all(REPLICA_SETS)
    assert len(made) == 1
    name, hashed = objects.name(made[0]), objects.labels(made[0])[names.TEMPLATE_HASH]
    assert name == f"web-{hashed}"
    assert made[0]["spec"]["replicas"] == 3
    assert made[0]["spec"]["selector"] == {"matchLabels": {"app": "web", names.TEMPLATE_HASH: hashed}}
    assert made[0]["spec"]["template"]["metadata"]["labels"] == {"app": "web", names.TEMPLATE_HASH: hashed}
    assert objects.controller_of(made[0])["uid"] == "deploy-uid"  # type: ignore[index]
    after = outcome.object(DEPLOYMENTS, "web")
    assert names.annotation(after, names.REVISION) == "1"
    assert after["status"]["observedGeneration"] == 1
    available, progressing = conditions.find(after, "Available"), conditions.find(after, "Progressing")
    assert available is not None and available["status"] == "False"
    assert progressing is not None and progressing["reason"] == "ReplicaSetUpdated"
    assert outcome.events == (f"Normal ScalingReplicaSet Scaled up replica set {name} from 0 to 3",)
    assert outcome.result.requeue_after_seconds == 601


async def test_it_is_complete_when_all_new_pods_are_available() -> None:
    deployment = build.deployment()
    outcome = await DEPLOYMENT_TABLE.run(WEB, deployment, of(deployment, "web-1", 3, 3))
    status = outcome.object(DEPLOYMENTS, "web")["status"]
    assert {name: count for name, count in status.items() if name.endswith("eplicas")} == {
        "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("Available", "True", "MinimumReplicasAvailable"), ("Progressing", "True", "NewReplicaSetAvailable")]


async def test_a_new_template_starts_within_the_surge() -> None:
    old = of(build.deployment(4, "web:1"), "web-old", 4, 4)
    outcome = await DEPLOYMENT_TABLE.run(WEB, build.deployment(4, "web:2"), old)
    sets = {objects.name(made): made["spec"]["replicas"] for made in outcome.all(REPLICA_SETS)}
    assert sets["web-old"] == 3, "one may be missing"
    assert sum(sets.values()) == 4 or sum(sets.values()) == 5


@pytest.mark.parametrize(("old", "new", "expected"), [
    # (replicas, available) of the old and the new set; 4 wanted, surge 1, unavailable 1
    ((4, 4), (0, 0), {"new": 1}),
    ((4, 4), (1, 0), {"old": 3}),
    ((3, 3), (1, 0), {"new": 2}),
    ((3, 3), (2, 0), {}),
    ((3, 3), (2, 2), {"old": 1}),
    ((1, 1), (2, 2), {"new": 4}),
    ((1, 1), (4, 2), {}),
    ((1, 1), (4, 3), {"old": 0}),
    ((0, 0), (4, 4), {}),
    ((4, 2), (1, 0), {"old": 3}),
    ((0, 0), (6, 6), {"new": 4}),
])
def test_rolling_steps(old: tuple[int, int], new: tuple[int, int], expected: dict[str, int]) -> None:
    before, after = build.deployment(4, "web:1"), build.deployment(4, "web:2")
    sets = (of(before, "old", *old), of(after, "new", *new, revision=2))
    assert steps(after, *sets) == expected


def test_a_rollout_never_goes_below_its_minimum_nor_above_its_surge() -> None:
    """Played to the end with Pods that become ready one at a time."""
    before, after = build.deployment(10, "web:1"), build.deployment(10, "web:2")
    bounds = rollout.bounds(after)
    counts, available = {"old": 10, "new": 0}, {"old": 10, "new": 0}
    for _ in range(100):
        sets = (of(before, "old", counts["old"], available["old"]),
                of(after, "new", counts["new"], available["new"], revision=2))
        moves = steps(after, *sets)
        for name, count in moves.items():
            counts[name] = count
            available[name] = min(available[name], count)
        assert sum(counts.values()) <= 10 + bounds.surge
        assert sum(available.values()) >= 10 - bounds.unavailable
        if available["new"] < counts["new"]:
            available["new"] += 1
        elif not moves:
            break
    assert counts == {"old": 0, "new": 10}


def test_recreate_waits_until_the_old_are_gone() -> None:
    strategy = {"strategy": {"type": "Recreate"}}
    before, after = build.deployment(2, "web:1", **strategy), build.deployment(2, "web:2", **strategy)
    assert rollout.first_count(after, [of(before, "old", 2, 2)]) == 0
    assert steps(after, of(before, "old", 2, 2), of(after, "new", 0, 0)) == {"old": 0}
    emptying = of(before, "old", 0, 0) | {"status": {"replicas": 1}}
    assert steps(after, emptying, of(after, "new", 0, 0)) == {}
    assert steps(after, of(before, "old", 0, 0), of(after, "new", 0, 0)) == {"new": 2}


@pytest.mark.parametrize(("replicas", "rolling", "expected"), [
    (3, {}, (1, 0)),
    (10, {}, (3, 2)),
    (1, {}, (1, 0)),
    (4, {"maxSurge": 0, "maxUnavailable": 0}, (0, 1)),
    (4, {"maxSurge": "50%", "maxUnavailable": 9}, (2, 4)),
])
def test_bounds(replicas: int, rolling: dict[str, Any], expected: tuple[int, int]) -> None:
    found = rollout.bounds(build.deployment(replicas, strategy={"rollingUpdate": rolling}))
    assert (found.surge, found.unavailable) == expected


async def test_rolling_back_takes_the_old_replica_set_again() -> None:
    first, second = build.deployment(1, "web:1"), build.deployment(1, "web:2")
    outcome = await DEPLOYMENT_TABLE.run(
        WEB, first, of(first, "web-1", 0, 0, revision=1), of(second, "web-2", 1, 1, revision=2))
    assert names.annotation(outcome.object(REPLICA_SETS, "web-1"), names.REVISION) == "3"
    assert names.annotation(outcome.object(DEPLOYMENTS, "web"), names.REVISION) == "3"
    assert outcome.object(REPLICA_SETS, "web-1")["spec"]["replicas"] == 1
    assert len(outcome.all(REPLICA_SETS)) == 2


async def test_a_rollout_that_stands_still_fails_after_its_deadline() -> None:
    deployment = build.deployment(1, progressDeadlineSeconds=60)
    deployment["metadata"]["generation"] = 1
    deployment["status"] = {"observedGeneration": 1, "updatedReplicas": 1, "conditions": [
        {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "",
         "lastUpdateTime": "2025-12-31T23:58:00Z", "lastTransitionTime": "2025-12-31T23:58:00Z"}]}
    outcome = await DEPLOYMENT_TABLE.run(WEB, deployment, of(deployment, "web-1", 1, 0))
    progressing = conditions.find(outcome.object(DEPLOYMENTS, "web"), "Progressing")
    assert progressing is not None
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")


async def test_a_pod_that_is_replaced_later_is_no_new_rollout() -> None:
    deployment = build.deployment(1)
    done = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "done",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "lastUpdateTime": "2026-01-01T00:00:00Z"}
    deployment["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "conditions": [done]}
    outcome = await DEPLOYMENT_TABLE.run(WEB, deployment, of(deployment, "web-1", 1, 0))
    progressing = conditions.find(outcome.object(DEPLOYMENTS, "web"), "Progressing")
    assert progressing == done
    assert outcome.result.requeue_after_seconds is None


async def test_history_is_kept_to_its_limit() -> None:
    current = build.deployment(1, "web:9", revisionHistoryLimit=1)
    old = [of(build.deployment(1, f"web:{number}"), f"web-{number}", 0, 0, revision=number) for number in (1, 2, 3)]
    outcome = await DEPLOYMENT_TABLE.run(WEB, current, *old, of(current, "web-9", 1, 1, revision=9))
    assert sorted(objects.name(made) for made in outcome.all(REPLICA_SETS)) == ["web-3", "web-9"]


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    before, after = build.deployment(5, "web:1"), build.deployment(5, "web:2", paused=True)
    assert steps(after, of(before, "old", 3, 3)) == {"old": 5}


async def test_a_replica_set_makes_what_is_missing() -> None:
    outcome = await SET_TABLE.run(Key("default", "web-abc"), build.replica_set())
    made = outcome.all(PODS)
    assert len(made) == 3
    assert all(objects.name(pod).startswith("web-abc-") for pod in made)
    assert all(objects.labels(pod) == {"app": "web"} for pod in made)
    assert all(objects.controller_of(pod)["uid"] == "web-abc-uid" for pod in made)  # type: ignore[index]
    assert outcome.object(REPLICA_SETS, "web-abc")["status"] == {
        "replicas": 3, "fullyLabeledReplicas": 3, "observedGeneration": 1}


def pods_of(name: str, *made: Object) -> list[Object]:
    for pod in made:
        pod["metadata"] |= {"labels": {"app": "web"}, "ownerReferences": [
            build.owned_by("ReplicaSet", name, f"{name}-uid")]}
    return list(made)


async def test_a_replica_set_takes_the_least_useful_first() -> None:
    ready = build.pod("ready", phase="Running", node="laptop", ready=True)
    starting = build.pod("starting", phase="Running", node="laptop")
    waiting = build.pod("waiting")
    outcome = await SET_TABLE.run(Key("default", "web-abc"), build.replica_set(replicas=1),
                                  *pods_of("web-abc", ready, starting, waiting))
    assert sorted(outcome.words) == ["delete pods default/starting", "delete pods default/waiting",
                                     "patch replicasets/status default/web-abc"]


async def test_a_failed_pod_is_replaced_and_the_latest_kept_to_be_read() -> None:
    failed = [build.pod(f"failed-{number}", phase="Failed", reason="NodeRestarted") for number in (1, 2)]
    for number, pod in enumerate(failed):
        pod["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:0{number}Z"
    outcome = await SET_TABLE.run(Key("default", "web-abc"), build.replica_set(replicas=1),
                                  *pods_of("web-abc", *failed))
    left = [objects.name(pod) for pod in outcome.all(PODS)]
    assert "failed-2" in left and "failed-1" not in left and len(left) == 2


async def test_available_waits_for_min_ready_seconds() -> None:
    made = build.replica_set(replicas=1)
    made["spec"]["minReadySeconds"] = 10
    ready = build.pod("a", phase="Running", node="laptop", ready=True)
    outcome = await SET_TABLE.run(Key("default", "web-abc"), made, *pods_of("web-abc", ready))
    status = outcome.object(REPLICA_SETS, "web-abc")["status"]
    assert status["readyReplicas"] == 1 and "availableReplicas" not in status
    assert outcome.result.requeue_after_seconds == 10


async def test_a_pod_of_other_labels_or_owner_is_not_counted() -> None:
    stranger = build.pod("stranger", labels={"app": "web"}, owner=build.owned_by("ReplicaSet", "other", "other-uid"))
    outcome = await SET_TABLE.run(Key("default", "web-abc"), build.replica_set(replicas=1), stranger)
    assert len(outcome.all(PODS)) == 2


def marked(made: Object, desired: int, most: int) -> Object:
    """With the annotations that tell what the set was scaled for."""
    made["metadata"]["annotations"] |= {names.DESIRED_REPLICAS: str(desired), names.MAX_REPLICAS: str(most)}
    return made


@pytest.mark.parametrize(("wanted", "old", "new", "expected"), [
    # 10 wanted before, surge 3: the change of scale is spread over both sets as they are
    (20, 8, 5, {"old": 15, "new": 10}),
    (6, 8, 5, {"old": 5, "new": 3}),
    (5, 8, 5, {"old": 0}),  # the new one is all that is needed
    (0, 8, 5, {"old": 0, "new": 0}),
    (10, 8, 5, {"old": 3}),
])
def test_a_change_of_scale_in_the_middle_of_a_rollout_is_spread(
        wanted: int, old: int, new: int, expected: dict[str, int]) -> None:
    before, after = build.deployment(10, "web:1"), build.deployment(wanted, "web:2")
    sets = (marked(of(before, "old", old, old), 10, 13), marked(of(after, "new", new, new, revision=2), 10, 13))
    assert steps(after, *sets) == expected


async def test_a_pause_is_told_of_and_changes_nothing_but_the_scale() -> None:
    before = build.deployment(2, "web:1")
    paused = build.deployment(3, "web:2", paused=True)
    outcome = await DEPLOYMENT_TABLE.run(WEB, paused, of(before, "web-1", 2, 2))
    assert [made["spec"]["replicas"] for made in outcome.all(REPLICA_SETS)] == [3]
    progressing = conditions.find(outcome.object(DEPLOYMENTS, "web"), "Progressing")
    assert progressing is not None and (progressing["status"], progressing["reason"]) == ("Unknown", "DeploymentPaused")
    resumed = build.deployment(3, "web:2") | {"status": outcome.object(DEPLOYMENTS, "web")["status"]}
    outcome = await DEPLOYMENT_TABLE.run(WEB, resumed, of(before, "web-1", 3, 3))
    progressing = conditions.find(outcome.object(DEPLOYMENTS, "web"), "Progressing")
    assert progressing is not None and progressing["reason"] == "DeploymentResumed"


async def test_recreate_waits_for_pods_that_are_ending() -> None:
    strategy = {"strategy": {"type": "Recreate"}}
    before, after = build.deployment(1, "web:1", **strategy), build.deployment(1, "web:2", **strategy)
    ending = build.pod("ending", phase="Running", owner=build.owned_by("ReplicaSet", "old", "old-uid"))
    ending["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}
    old = of(before, "old", 0, 0)
    old["metadata"]["uid"] = "old-uid"
    outcome = await DEPLOYMENT_TABLE.run(WEB, after, old, ending)
    assert all(made["spec"]["replicas"] == 0 for made in outcome.all(REPLICA_SETS))
    outcome = await DEPLOYMENT_TABLE.rest(WEB, after, old)
    assert sorted(made["spec"]["replicas"] for made in outcome.all(REPLICA_SETS)) == [0, 1]


async def test_a_set_that_nobody_controls_is_adopted_and_one_that_no_longer_fits_let_go() -> None:
    deployment = build.deployment(1)
    free = of(deployment, "web-1", 1, 1)
    free["metadata"] |= {"ownerReferences": [], "labels": {"app": "web"}}
    stranger = of(deployment, "other", 1, 1)
    stranger["metadata"]["labels"] = {"app": "other"}
    outcome = await DEPLOYMENT_TABLE.run(WEB, deployment, free, stranger)
    assert objects.controller_of(outcome.object(REPLICA_SETS, "web-1"))["uid"] == "deploy-uid"  # type: ignore[index]
    assert objects.controller_of(outcome.object(REPLICA_SETS, "other")) is None


async def test_the_name_of_somebody_elses_set_is_not_taken() -> None:
    deployment = build.deployment(1)
    first = await DEPLOYMENT_TABLE.run(WEB, deployment)
    [made] = first.all(REPLICA_SETS)
    taken = build.replica_set(objects.name(made), 1, owner=build.owned_by("Deployment", "else", "else-uid"))
    collided = build.deployment(1) | {"status": {"collisionCount": 1}}
    outcome = await DEPLOYMENT_TABLE.run(WEB, collided, taken)
    assert len(outcome.all(REPLICA_SETS)) == 2
    assert outcome.object(DEPLOYMENTS, "web")["status"]["collisionCount"] == 1


async def test_annotations_and_the_cause_of_a_change_go_to_the_set() -> None:
    deployment = build.deployment(1)
    deployment["metadata"]["annotations"] = {"kubernetes.io/change-cause": "a better image", names.LAST_APPLIED: "{}"}
    outcome = await DEPLOYMENT_TABLE.run(WEB, deployment, of(deployment, "web-1", 1, 1))
    notes = objects.annotations(outcome.object(REPLICA_SETS, "web-1"))
    assert notes["kubernetes.io/change-cause"] == "a better image" and names.LAST_APPLIED not in notes


async def test_a_replica_set_says_why_pods_cannot_be_made_and_tries_few() -> None:
    clock = FakeClock()
    api = MemoryApi(clock)
    manager = Manager(api.client, clock)
    controller = replicasets.controller(build.deps(manager, clock))
    manager.add(controller)
    api.insert(REPLICA_SETS.path(), build.replica_set(replicas=20))
    api.fault = lambda write: errors.Forbidden("exceeded quota") if write.plural == "pods" else None
    async with build.running(manager):
        await settle()
        tried = [write for write in api.writes if write.plural == "pods"]
        assert len(tried) <= 2, "where one is refused the rest is not tried"
        [made] = api.all(REPLICA_SETS.path())
        failure = conditions.find(made, "ReplicaFailure")
        assert failure is not None and (failure["reason"], failure["message"]) == ("FailedCreate", "exceeded quota")
        api.fault = None
        await clock.advance(1)
        [made] = api.all(REPLICA_SETS.path())
        assert conditions.find(made, "ReplicaFailure") is None and made["status"]["replicas"] == 20


async def test_a_cheap_pod_goes_before_a_dear_one() -> None:
    there = pods_of("web-abc", *(build.pod(name, phase="Running", node="laptop", ready=True) for name in "abc"))
    there[0]["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    there[1]["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "5"}
    outcome = await SET_TABLE.run(Key("default", "web-abc"), build.replica_set(replicas=2), *there)
    assert [word for word in outcome.words if word.startswith("delete")] == ["delete pods default/a"]


async def test_a_replication_controller_is_kept_too() -> None:
    made = build.replica_set("old", 2) | {"apiVersion": "v1", "kind": "ReplicationController"}
    made["spec"]["selector"] = {"app": "web"}
    table = build.table(replicasets.old_kind)
    outcome = await table.run(Key("default", "old"), made, build.pod("stray", labels={"app": "web"}))
    assert len(outcome.all(PODS)) == 2, "one was adopted and one made"
    assert objects.status(outcome.object(REPLICATION_CONTROLLERS, "old"))["replicas"] == 2


async def test_what_a_node_refuses_is_not_made_anew_in_a_spin() -> None:
    key = Key("default", "web-abc")
    refused = build.pod("refused", phase="Failed", node="laptop", reason="NodeAffinity")
    outcome = await SET_TABLE.run(key, build.replica_set(replicas=1), *pods_of("web-abc", refused))
    assert len(outcome.all(PODS)) == 1 and outcome.result.requeue_after_seconds == 5
    evicted = build.pod("evicted", phase="Failed", node="laptop", conditions=[
        {"type": "DisruptionTarget", "status": "True"}])
    outcome = await SET_TABLE.run(key, build.replica_set(replicas=1), *pods_of("web-abc", evicted))
    assert len(outcome.all(PODS)) == 2
