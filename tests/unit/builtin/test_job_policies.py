"""Jobs: which failures count, when an index or the Job is lost, what suffices, and that no Pod is miscounted."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.builtin import job_indexes, job_pods, jobs, names
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import JOBS, PODS
from tests.unit.builtin import build
from tests.unit.builtin.test_jobs import TABLE, TRAIN, child, conditions_of

NOW = "2026-01-01T00:00:00Z"
LONG_AGO = "2025-12-31T20:00:00Z"


def exited(name: str, code: int, *, index: int | None = None, before: int | None = None) -> Object:
    made = child(name, "Failed", index=index)
    made["status"]["containerStatuses"] = [
        {"name": "main", "state": {"terminated": {"exitCode": code, "finishedAt": LONG_AGO}}}]
    if before is not None:
        made["metadata"]["annotations"][job_pods.FAILURES] = str(before)
    return made


def policy(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"podFailurePolicy": {"rules": list(rules)}}


def on_exit(action: str, *codes: int, operator: str = "In") -> dict[str, Any]:
    return {"action": action, "onExitCodes": {"operator": operator, "values": list(codes)}}


async def test_a_rule_fails_the_job_at_once_and_says_why() -> None:
    outcome = await TABLE.rest(TRAIN, build.job(**policy(on_exit("FailJob", 42))), exited("a", 42))
    failed = conditions.find(outcome.object(JOBS, "train"), "Failed")
    assert failed is not None and failed["reason"] == "PodFailurePolicy"
    assert failed["message"] == ("Container main for pod default/a failed with exit code 42 matching FailJob rule at "
                                 "index 0")


@pytest.mark.parametrize(("rule", "code", "counted"), [
    (on_exit("Ignore", 7), 7, False), (on_exit("Ignore", 7), 8, True), (on_exit("Count", 7), 7, True),
    (on_exit("Ignore", 7, operator="NotIn"), 8, False), (on_exit("Ignore", 7, operator="NotIn"), 7, True),
    ({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}, 1, False),
])
async def test_which_failures_count(rule: dict[str, Any], code: int, counted: bool) -> None:
    failed = exited("a", code)
    if "onPodConditions" in rule:
        failed["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    outcome = await TABLE.rest(TRAIN, build.job(backoffLimit=0, **policy(rule)), failed)
    assert conditions.is_true(outcome.object(JOBS, "train"), "Failed") is counted
    assert bool(objects.status(outcome.object(JOBS, "train")).get("failed")) is counted
    if not counted:
        assert len([pod for pod in outcome.all(PODS) if pods_active(pod)]) == 1


async def test_who_made_room_with_a_gang_has_not_failed() -> None:
    for group, counted in (({"scheduling.x-k8s.io/pod-group": "g"}, False), ({}, True)):
        gone = exited("a", 137)
        gone["metadata"]["labels"] |= group
        gone["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True",
                                         "reason": "PreemptionByScheduler"}]
        outcome = await TABLE.rest(TRAIN, build.job(backoffLimit=0), gone)
        assert conditions.is_true(outcome.object(JOBS, "train"), "Failed") is counted


def pods_active(pod: Object) -> bool:
    return objects.status(pod).get("phase", "Pending") in ("Pending", "Running")


def per_index(**spec: Any) -> Object:
    return build.job(completions=3, parallelism=3, completionMode="Indexed", backoffLimit=None, **spec)


async def test_an_index_is_tried_again_until_its_own_limit_and_the_others_go_on() -> None:
    outcome = await TABLE.rest(TRAIN, per_index(backoffLimitPerIndex=1), exited("a", 1, index=0, before=0),
                               child("b", "Running", index=1), child("c", "Running", index=2))
    again = [pod for pod in outcome.all(PODS) if job_pods.index_of(pod) == 0 and pods_active(pod)]
    assert [names.annotation(pod, job_pods.FAILURES) for pod in again] == ["1"], "it carries the count on"
    assert objects.status(outcome.object(JOBS, "train"))["failedIndexes"] == ""
    lost = await TABLE.rest(TRAIN, per_index(backoffLimitPerIndex=1), exited("a", 1, index=0, before=1),
                            child("b", "Running", index=1), child("c", "Running", index=2))
    status = objects.status(lost.object(JOBS, "train"))
    assert (status["failedIndexes"], status["failed"], status["active"]) == ("0", 1, 2)


async def test_lost_indexes_fail_the_job_when_all_others_are_done_or_too_many_are_lost() -> None:
    there = (exited("a", 1, index=0, before=0), child("b", "Succeeded", index=1), child("c", "Succeeded", index=2))
    outcome = await TABLE.rest(TRAIN, per_index(backoffLimitPerIndex=0), *there)
    assert conditions_of(outcome.object(JOBS, "train"))[-1] == ("Failed", "FailedIndexes")
    few = await TABLE.rest(TRAIN, per_index(backoffLimitPerIndex=0, maxFailedIndexes=0), there[0])
    assert conditions_of(few.object(JOBS, "train"))[-1] == ("Failed", "MaxFailedIndexesExceeded")
    rule = await TABLE.rest(TRAIN, per_index(backoffLimitPerIndex=5, **policy(on_exit("FailIndex", 1))), there[0],
                            child("b", "Running", index=1), child("c", "Running", index=2))
    assert objects.status(rule.object(JOBS, "train"))["failedIndexes"] == "0"


@pytest.mark.parametrize(("rule", "done", "met"), [
    ({"succeededIndexes": "0,2"}, (0,), False), ({"succeededIndexes": "0,2"}, (0, 2), True),
    ({"succeededIndexes": "0-2", "succeededCount": 1}, (1,), True), ({"succeededCount": 2}, (1, 2), True),
    ({"succeededCount": 2}, (1,), False),
])
async def test_what_suffices_for_success(rule: dict[str, Any], done: tuple[int, ...], met: bool) -> None:
    there = [child(f"p{index}", "Succeeded" if index in done else "Running", index=index) for index in range(3)]
    job = build.job(completions=3, parallelism=3, completionMode="Indexed", successPolicy={"rules": [rule]})
    outcome = await TABLE.rest(TRAIN, job, *there)
    after = outcome.object(JOBS, "train")
    assert conditions.is_true(after, "Complete") is met
    if met:
        assert conditions_of(after)[-1] == ("Complete", "SuccessPolicy")
        assert "failed" not in objects.status(after), "Pods that the success ended did not fail"
        assert not [pod for pod in outcome.all(PODS) if pods_active(pod)]


async def test_a_pod_is_counted_once_though_the_pass_that_counted_it_was_cut_short() -> None:
    """Told of in the status, the finalizer still on: as a crash between the two writes leaves it."""
    job = build.job(completions=3, parallelism=1)
    told = child("a", "Succeeded")
    told["metadata"]["uid"] = "a-uid"
    job["status"] = {"startTime": NOW, "uncountedTerminatedPods": {"succeeded": ["a-uid"]}}
    outcome = await TABLE.rest(TRAIN, job, told)
    status = objects.status(outcome.object(JOBS, "train"))
    assert (status["succeeded"], status["uncountedTerminatedPods"]) == (1, {})
    freed = child("a", "Succeeded")
    freed["metadata"] |= {"uid": "a-uid", "finalizers": []}
    outcome = await TABLE.rest(TRAIN, job, freed)
    assert objects.status(outcome.object(JOBS, "train"))["succeeded"] == 1
    gone = await TABLE.rest(TRAIN, job)
    assert objects.status(gone.object(JOBS, "train"))["succeeded"] == 1


async def test_a_deleted_pod_waits_to_be_counted_and_counts_as_failed() -> None:
    deleted = child("a", "Running")
    deleted["metadata"]["deletionTimestamp"] = NOW
    outcome = await TABLE.rest(TRAIN, build.job(), deleted)
    assert objects.status(outcome.object(JOBS, "train"))["failed"] == 1
    assert len(outcome.all(PODS)) == 1 and outcome.all(PODS)[0]["metadata"]["name"] != "a"


async def test_only_what_has_failed_is_replaced_where_the_job_says_so() -> None:
    deleted = child("a", "Running")
    deleted["metadata"]["deletionTimestamp"] = NOW
    outcome = await TABLE.run(TRAIN, build.job(podReplacementPolicy="Failed"), deleted)
    status = objects.status(outcome.object(JOBS, "train"))
    assert (status["terminating"], [objects.name(pod) for pod in outcome.all(PODS)]) == (1, ["a"])
    assert "failed" not in status and objects.finalizers(outcome.object(PODS, "a"))


async def test_the_pods_of_a_job_that_is_no_more_are_let_go() -> None:
    outcome = await TABLE.run(TRAIN, child("a", "Running"))
    assert outcome.words == ["patch pods default/a"]
    assert not objects.finalizers(outcome.object(PODS, "a"))


async def test_another_controllers_job_is_left_alone() -> None:
    assert (await TABLE.run(TRAIN, build.job(managedBy="kueue.x-k8s.io/multikueue"))).writes == ()


async def test_less_parallelism_takes_pods_that_are_not_counted() -> None:
    there = [child("old", "Running"), child("young", "Pending")]
    outcome = await TABLE.rest(TRAIN, build.job(completions=5, parallelism=1), *there)
    assert [objects.name(pod) for pod in outcome.all(PODS)] == ["old"]
    assert "failed" not in objects.status(outcome.object(JOBS, "train"))


async def test_a_quick_job_costs_three_writes_of_its_controller() -> None:
    """Pod, status, last status with the count; and the Pod is let go after that. Events aside."""
    first = await TABLE.run(TRAIN, build.job())
    assert [word.rpartition(" ")[0] for word in first.words] == ["create pods", "patch jobs/status"]
    last = await TABLE.rest(TRAIN, build.job() | {"status": objects.status(first.object(JOBS, "train"))},
                            child("a", "Succeeded"))
    assert last.words == ["patch jobs/status default/train", "patch pods default/a"]


def test_indexes_read_and_write_as_upstream() -> None:
    found = job_indexes.parse("0-2,5,7-9,bad,20", 9)
    assert job_indexes.text(found) == "0-2,5,7,8"
    assert job_indexes.text(job_indexes.add(found, [3, 6])) == "0-3,5-8"
    assert list(job_indexes.missing(found, 9)) == [3, 4, 6]
    assert job_indexes.common(found, job_indexes.parse("1,2,6-8", 9)) == 4


async def test_selectors_adopt_and_release() -> None:
    job = build.job(completions=2, parallelism=2, selector={"matchLabels": {"team": "a"}})
    job["spec"]["template"]["metadata"] = {"labels": {"team": "a"}}
    stray = child("stray", "Running") | {}
    stray["metadata"] |= {"labels": {"team": "a"}, "ownerReferences": []}
    other = child("other", "Running")
    other["metadata"]["labels"] = {"team": "b"}
    table = build.table(jobs.controller)
    outcome = await table.rest(Key("default", "train"), job, stray, other)
    assert objects.controller_of(outcome.object(PODS, "stray"))["uid"] == "job-uid"  # type: ignore[index]
    assert objects.controller_of(outcome.object(PODS, "other")) is None
