"""JobSets: what is made, in which order, and how failure and success of the parts become those of the whole."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.apiserver.kinds import batch
from lightship.cluster.builtin import jobsets
from lightship.cluster.builtin.jobsets import make, names
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import JOB_SETS, JOBS, PERSISTENT_VOLUME_CLAIMS, SERVICES
from tests.unit.builtin import build

TABLE = build.table(jobsets.controller)
RUN = Key("default", "run")


def replicated(name: str, replicas: int = 1, **more: Any) -> dict[str, Any]:
    return {"name": name, "replicas": replicas, "template": {"spec": build.job(parallelism=2)["spec"]}} | more


def job_set(*parts: dict[str, Any], status: dict[str, Any] | None = None, **spec: Any) -> Object:
    made: Object = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet",
                    "metadata": {"name": "run", "namespace": "default", "uid": "run-uid"},
                    "spec": {"replicatedJobs": list(parts or (replicated("driver"), replicated("workers", 2)))} | spec}
    return made | ({"status": status} if status else {})


def job(owner: Object, part: str, index: int = 0, condition: str = "", reason: str = "", **status: Any) -> Object:
    chosen = next(found for found in make.replicated_jobs(owner) if found["name"] == part)
    made = make.make_job(owner, chosen, index)
    made["status"] = dict(status)
    if condition:
        made["status"]["conditions"] = [{"type": condition, "status": "True", "reason": reason,
                                         "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return made


def true_conditions(obj: Object) -> list[str]:
    return [c["type"] for c in objects.status(obj).get("conditions") or () if c["status"] == "True"]


async def test_all_parts_start_and_find_each_other() -> None:
    outcome = await TABLE.run(RUN, job_set(coordinator={"replicatedJob": "driver"}))
    assert sorted(map(objects.name, outcome.all(JOBS))) == ["run-driver-0", "run-workers-0", "run-workers-1"]
    service = outcome.object(SERVICES, "run")
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    made = outcome.object(JOBS, "run-workers-1")
    labels = objects.labels(made["spec"]["template"])
    assert made["spec"]["template"]["spec"]["subdomain"] == "run" and made["spec"]["completionMode"] == "Indexed"
    assert (labels[names.INDEX], labels[names.GLOBAL_INDEX], labels[names.GLOBAL_REPLICAS]) == ("1", "2", "3")
    assert labels[names.COORDINATOR] == "run-driver-0-0.run" and labels[names.RESTARTS] == "0"
    assert labels.items() <= objects.annotations(made["spec"]["template"]).items()


async def test_a_failure_without_a_policy_fails_the_whole() -> None:
    owner = job_set()
    outcome = await TABLE.rest(RUN, owner, job(owner, "driver"), job(owner, "workers", 0, "Failed"),
                               job(owner, "workers", 1))
    after = outcome.object(JOB_SETS, "run")
    failed = conditions.find(after, "Failed")
    assert failed is not None and failed["reason"] == "FailedJobs" and "run-workers-0" in failed["message"]
    assert after["status"]["terminalState"] == "Failed"
    assert [objects.name(found) for found in outcome.all(JOBS) if not objects.deleting(found)] == ["run-workers-0"]


async def test_restarts_are_counted_and_bounded() -> None:
    owner = job_set(failurePolicy={"maxRestarts": 1})
    outcome = await TABLE.run(RUN, owner, job(owner, "driver"), job(owner, "workers", 0, "Failed"))
    status = outcome.object(JOB_SETS, "run")["status"]
    assert (status["restarts"], status["restartsCountTowardsMax"]) == (1, 1)
    again = job_set(failurePolicy={"maxRestarts": 1}, status={"restarts": 1, "restartsCountTowardsMax": 1})
    outcome = await TABLE.run(RUN, again, job(owner, "driver"), job(owner, "workers", 0, "Failed"))
    assert [word for word in outcome.words if word.startswith("delete")] == [
        "delete jobs default/run-driver-0", "delete jobs default/run-workers-0"]
    outcome = await TABLE.run(RUN, again, job(again, "workers", 0, "Failed"))
    failed = conditions.find(outcome.object(JOB_SETS, "run"), "Failed")
    assert failed is not None and failed["reason"] == "ReachedMaxRestarts"


@pytest.mark.parametrize(("rule", "restarts", "failed"), [
    ({"action": "FailJobSet", "targetReplicatedJobs": ["workers"]}, 0, True),
    ({"action": "FailJobSet", "targetReplicatedJobs": ["driver"]}, 1, False),
    ({"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}, 0, True),
    ({"action": "FailJobSet", "onJobFailureReasons": ["DeadlineExceeded"]}, 1, False),
    ({"action": "RestartJobSetAndIgnoreMaxRestarts"}, 1, False),
])
async def test_the_first_rule_that_applies_decides(rule: dict[str, Any], restarts: int, failed: bool) -> None:
    owner = job_set(failurePolicy={"maxRestarts": 3, "rules": [rule]})
    outcome = await TABLE.run(RUN, owner, job(owner, "workers", 0, "Failed", "PodFailurePolicy"))
    after = outcome.object(JOB_SETS, "run")
    assert objects.status(after)["restarts"] == restarts
    assert ("Failed" in true_conditions(after)) is failed


async def test_one_job_is_made_anew_while_the_others_go_on() -> None:
    policy = {"maxRestarts": 1, "rules": [{"name": "alone", "action": "RestartJob"}]}
    owner = job_set(failurePolicy=policy)
    outcome = await TABLE.run(RUN, owner, job(owner, "driver"), job(owner, "workers", 0),
                              job(owner, "workers", 1, "Failed"))
    status = outcome.object(JOB_SETS, "run")["status"]
    workers = next(one for one in status["replicatedJobsStatus"] if one["name"] == "workers")
    assert (workers["jobRestarts"], workers["jobRestartsCountTowardsMax"]) == ([0, 1], [0, 1])
    assert status["restarts"] == 0
    again = job_set(failurePolicy=policy, status=status)
    old = job(owner, "workers", 1, "Failed")
    outcome = await TABLE.run(RUN, again, job(owner, "driver"), job(owner, "workers", 0), old)
    assert [word for word in outcome.words if word.startswith("delete")] == ["delete jobs default/run-workers-1"]
    outcome = await TABLE.run(RUN, again, job(owner, "driver"), job(owner, "workers", 0))
    assert objects.labels(outcome.object(JOBS, "run-workers-1"))[names.JOB_RESTARTS] == "1"
    outcome = await TABLE.run(RUN, again, job(again, "workers", 1, "Failed"))
    failed = conditions.find(outcome.object(JOB_SETS, "run"), "Failed")
    assert failed is not None and failed["reason"] == "ReachedMaxRestarts", "restarts of one count, too"
    free = {"maxRestarts": 0, "rules": [{"name": "free", "action": "RestartJobAndIgnoreMaxRestarts"}]}
    owner = job_set(failurePolicy=free)
    outcome = await TABLE.run(RUN, owner, job(owner, "workers", 1, "Failed"))
    workers = outcome.object(JOB_SETS, "run")["status"]["replicatedJobsStatus"][1]
    assert workers["jobRestarts"] == [0, 1] and "jobRestartsCountTowardsMax" not in workers


@pytest.mark.parametrize(("pattern", "ended"), [("exit code 3", True), ("exit code [45]", False), ("(", False)])
async def test_a_rule_may_look_at_the_message(pattern: str, ended: bool) -> None:
    owner = job_set(failurePolicy={"maxRestarts": 3, "rules": [
        {"name": "fatal", "action": "FailJobSet", "onJobFailureMessagePatterns": [pattern]}]})
    failed = job(owner, "workers", 0, "Failed", "PodFailurePolicy")
    failed["status"]["conditions"][0]["message"] = "Container main failed with exit code 3"
    outcome = await TABLE.run(RUN, owner, failed)
    assert ("Failed" in true_conditions(outcome.object(JOB_SETS, "run"))) is ended


async def test_a_set_says_that_it_restarts_until_all_are_ready() -> None:
    owner = job_set(failurePolicy={"maxRestarts": 1})
    outcome = await TABLE.run(RUN, owner, job(owner, "driver"), job(owner, "workers", 0, "Failed"))
    after = outcome.object(JOB_SETS, "run")
    found = conditions.find(after, "Restarting")
    assert found is not None and (found["status"], found["reason"]) == ("True", "DefaultFailurePolicy")
    again = job_set(failurePolicy={"maxRestarts": 1}, status=after["status"])
    ready = [job(again, part, index, ready=2, active=2) for part, index in (
        ("driver", 0), ("workers", 0), ("workers", 1))]
    outcome = await TABLE.run(RUN, again, *ready)
    found = conditions.find(outcome.object(JOB_SETS, "run"), "Restarting")
    assert found is not None and (found["status"], found["reason"]) == ("False", "JobsReady")


async def test_claims_are_made_and_mounted_where_they_are_named() -> None:
    template = {"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {"resources": {"requests": {
        "storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}}
    kept = template | {"metadata": {"name": "kept"}}
    owner = job_set(volumeClaimPolicies=[{"templates": [template]},
                                         {"templates": [kept], "retentionPolicy": {"whenDeleted": "Retain"}}])
    worker = owner["spec"]["replicatedJobs"][1]["template"]["spec"]["template"]["spec"]
    worker["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    outcome = await TABLE.run(RUN, owner)
    claim = outcome.object(PERSISTENT_VOLUME_CLAIMS, "data-run")
    assert objects.labels(claim) == {"a": "b", names.NAME: "run"} and objects.controller_of(claim) is not None
    assert objects.controller_of(outcome.object(PERSISTENT_VOLUME_CLAIMS, "kept-run")) is None
    pods = {objects.name(made): made["spec"]["template"]["spec"].get("volumes") for made in outcome.all(JOBS)}
    assert pods["run-driver-0"] is None
    assert pods["run-workers-0"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-run"}}]


@pytest.mark.parametrize(("policy", "fault"), [
    ({"templates": [{"metadata": {"name": "data"}}]}, "don't have a matching volumeMount: data"),
    ({"templates": [{"metadata": {"name": "there"}}]}, "conflicts with VolumeClaimPolicy template name: there"),
    ({"templates": [{"metadata": {"name": "m"}}, {"metadata": {"name": "m"}}]}, "names must be unique"),
    ({"templates": [{"metadata": {"name": "m", "namespace": "x"}}]}, "namespace cannot be set"),
    ({"templates": [{"metadata": {"name": "m"}}], "retentionPolicy": {"whenDeleted": "Never"}}, "Unsupported value"),
])
def test_claims_that_are_refused(policy: dict[str, Any], fault: str) -> None:
    owner = job_set(volumeClaimPolicies=[policy])
    pod = owner["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    pod["containers"][0]["volumeMounts"] = [{"name": "m", "mountPath": "/m"}]
    pod["volumes"] = [{"name": "there", "emptyDir": {}}]
    assert any(fault in found.message for found in batch.validate_job_set(batch.default_job_set(owner), None))


@pytest.mark.parametrize(("policy", "done", "complete"), [
    ({}, ["driver"], False), ({"operator": "All", "targetReplicatedJobs": ["driver"]}, ["driver"], True),
    ({"operator": "Any"}, ["driver"], True),
    ({"operator": "Any", "targetReplicatedJobs": ["workers"]}, ["driver"], False),
])
async def test_what_suffices_for_success(policy: dict[str, Any], done: list[str], complete: bool) -> None:
    owner = job_set(successPolicy=policy)
    outcome = await TABLE.rest(RUN, owner, *(job(owner, part, 0, "Complete") for part in done))
    assert ("Completed" in true_conditions(outcome.object(JOB_SETS, "run"))) is complete


async def test_in_order_each_part_waits_for_the_one_before() -> None:
    owner = job_set(startupPolicy={"startupPolicyOrder": "InOrder"})
    outcome = await TABLE.run(RUN, owner)
    assert [objects.name(made) for made in outcome.all(JOBS)] == ["run-driver-0"]
    assert true_conditions(outcome.object(JOB_SETS, "run")) == ["StartupPolicyInProgress"]
    there = [job(owner, "driver", ready=1, active=1)]
    outcome = await TABLE.rest(RUN, owner, *there)
    assert len(outcome.all(JOBS)) == 3
    there += [job(owner, "workers", index, ready=1, active=1) for index in range(2)]
    outcome = await TABLE.rest(RUN, owner, *there)
    assert true_conditions(outcome.object(JOB_SETS, "run")) == ["StartupPolicyCompleted"]


async def test_a_part_waits_for_what_it_depends_on() -> None:
    owner = job_set(replicated("init"), replicated("main", dependsOn=[{"name": "init", "status": "Complete"}]))
    outcome = await TABLE.run(RUN, owner, job(owner, "init", ready=1))
    assert len(outcome.all(JOBS)) == 1
    outcome = await TABLE.run(RUN, owner, job(owner, "init", 0, "Complete"))
    assert len(outcome.all(JOBS)) == 2


async def test_suspending_and_resuming() -> None:
    owner = job_set(suspend=True)
    outcome = await TABLE.run(RUN, owner)
    assert all(made["spec"]["suspend"] for made in outcome.all(JOBS))
    assert true_conditions(outcome.object(JOB_SETS, "run")) == ["Suspended"]
    going = job_set(status=outcome.object(JOB_SETS, "run")["status"])
    going["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "a"}
    outcome = await TABLE.run(RUN, going, *(job(owner, part, index) for part, index in (
        ("driver", 0), ("workers", 0), ("workers", 1))))
    assert not any(made["spec"]["suspend"] for made in outcome.all(JOBS))
    assert outcome.object(JOBS, "run-driver-0")["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "a"}
    assert true_conditions(outcome.object(JOB_SETS, "run")) == []


async def test_it_goes_some_time_after_its_end() -> None:
    ended = {"conditions": [{"type": "Completed", "status": "True", "lastTransitionTime": "2025-12-31T23:59:30Z"}]}
    outcome = await TABLE.run(RUN, job_set(ttlSecondsAfterFinished=60, status=ended))
    assert outcome.result.requeue_after_seconds == 30
    outcome = await TABLE.run(RUN, job_set(ttlSecondsAfterFinished=10, status=ended))
    assert "delete jobsets default/run" in outcome.words


async def test_exclusive_placement_is_carried_on_and_said_to_have_no_effect() -> None:
    owner = job_set(replicated("driver"))
    owner["metadata"]["annotations"] = {names.EXCLUSIVE: "kubernetes.io/hostname"}
    outcome = await TABLE.run(RUN, owner)
    assert objects.annotations(outcome.all(JOBS)[0])[names.EXCLUSIVE] == "kubernetes.io/hostname"
    assert [event for event in outcome.events if "ExclusivePlacementIgnored" in event]
