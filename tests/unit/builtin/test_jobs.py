"""Jobs: how many Pods, when they are done, when they have failed."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.builtin import job_pods, jobs, names
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import JOBS, PODS
from tests.unit.builtin import build

TRAIN = Key("default", "train")
TABLE = build.table(jobs.controller)


def child(name: str, phase: str, *, index: int | None = None, finished: str = "", **status: Any) -> Object:
    made = build.pod(name, phase=phase, node="laptop", owner=build.owned_by("Job", "train", "job-uid", "batch/v1"),
                     **status)
    made["metadata"]["finalizers"] = [job_pods.TRACKING]
    if index is not None:
        made["metadata"]["annotations"] = {names.JOB_INDEX: str(index)}
    if finished:
        made["status"]["containerStatuses"] = [{"state": {"terminated": {"finishedAt": finished}}}]
    return made


def conditions_of(job: Object) -> list[tuple[str, str]]:
    return [(c["type"], c.get("reason", "")) for c in objects.status(job).get("conditions") or () if
            c["status"] == "True"]


async def test_it_starts_as_many_pods_as_may_run() -> None:
    outcome = await TABLE.run(TRAIN, build.job(completions=5, parallelism=2))
    made = outcome.all(PODS)
    assert len(made) == 2
    assert all(objects.labels(pod)[names.JOB_NAME] == "train" for pod in made)
    assert all(objects.labels(pod)[names.JOB_UID] == "job-uid" for pod in made)
    status = outcome.object(JOBS, "train")["status"]
    assert status["active"] == 2 and status["startTime"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(("spec", "pods", "expected"), [
    ({"completions": 5, "parallelism": 3}, ["Succeeded"] * 3 + ["Running"], 1),
    ({"completions": None, "parallelism": 3}, [], 3),
    ({"completions": None, "parallelism": 3}, ["Succeeded", "Running"], 0),
    ({"completions": 2, "parallelism": 8}, [], 2),
    ({"completions": 2, "parallelism": 0}, [], 0),
    ({"suspend": True}, [], 0),
])
async def test_how_many_more(spec: dict[str, Any], pods: list[str], expected: int) -> None:
    there = [child(f"p{number}", phase) for number, phase in enumerate(pods)]
    outcome = await TABLE.run(TRAIN, build.job(**spec), *there)
    assert len([word for word in outcome.words if word.startswith("create pods")]) == expected


async def test_it_is_complete_when_enough_have_succeeded() -> None:
    outcome = await TABLE.run(TRAIN, build.job(), child("a", "Succeeded"))
    job = outcome.object(JOBS, "train")
    assert conditions_of(job) == [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
    assert job["status"]["completionTime"] == "2026-01-01T00:00:00Z"
    assert job["status"]["succeeded"] == 1
    assert outcome.words == ["patch jobs/status default/train", "patch pods default/a"], "the last write says it all"
    assert objects.finalizers(outcome.object(PODS, "a")) == []
    assert outcome.events == ("Normal Completed Job completed",)


async def test_a_failure_is_retried_after_a_while() -> None:
    outcome = await TABLE.run(TRAIN, build.job(), child("a", "Failed", finished="2025-12-31T23:59:57Z"))
    assert outcome.words == ["patch jobs/status default/train", "patch pods default/a"]
    assert outcome.result.requeue_after_seconds == 7
    later = await TABLE.run(TRAIN, build.job(), child("a", "Failed", finished="2025-12-31T23:59:50Z"))
    assert len(later.all(PODS)) == 2


async def test_a_pod_that_the_nodes_restart_ended_is_replaced_at_once_and_not_counted() -> None:
    outcome = await TABLE.run(TRAIN, build.job(backoffLimit=0),
                              child("a", "Failed", reason="NodeRestarted", finished="2026-01-01T00:00:00Z"))
    assert len(outcome.all(PODS)) == 2
    assert "failed" not in outcome.object(JOBS, "train")["status"]


async def test_too_many_failures_end_it_and_its_pods() -> None:
    failed = [child(f"f{number}", "Failed") for number in range(3)]
    there = (build.job(completions=2, parallelism=2), *failed, child("running", "Running"))
    first = await TABLE.run(TRAIN, *there)
    assert conditions_of(first.object(JOBS, "train")) == [("FailureTarget", "BackoffLimitExceeded")], "Pods still end"
    outcome = await TABLE.rest(TRAIN, *there)
    job = outcome.object(JOBS, "train")
    assert conditions_of(job) == [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]
    assert job["status"]["failed"] == 4 and "active" not in job["status"]
    assert "delete pods default/running" in outcome.words
    assert outcome.events[-1] == "Warning BackoffLimitExceeded Job has reached the specified backoff limit"


async def test_a_deadline() -> None:
    job = build.job(activeDeadlineSeconds=60)
    job["status"] = {"startTime": "2025-12-31T23:59:30Z"}
    outcome = await TABLE.run(TRAIN, job, child("a", "Running"))
    assert outcome.result.requeue_after_seconds == 30
    job["status"] = {"startTime": "2025-12-31T23:58:00Z"}
    await TABLE.run(TRAIN, job, child("a", "Running"))
    outcome = await TABLE.rest(TRAIN, job, child("a", "Running"))
    assert conditions_of(outcome.object(JOBS, "train"))[-1] == ("Failed", "DeadlineExceeded")
    assert outcome.all(PODS) == []


async def test_suspending_takes_the_pods_and_resuming_starts_anew() -> None:
    outcome = await TABLE.run(TRAIN, build.job(suspend=True), child("a", "Running"))
    job = outcome.object(JOBS, "train")
    assert conditions.is_true(job, "Suspended") and "startTime" not in job["status"]
    assert "delete pods default/a" in outcome.words
    job["spec"]["suspend"] = False
    resumed = await TABLE.run(TRAIN, job)
    assert not conditions.is_true(resumed.object(JOBS, "train"), "Suspended")
    assert len(resumed.all(PODS)) == 1


async def test_indexes_are_filled_and_known_to_the_containers() -> None:
    spec = build.job(completions=4, parallelism=2, completionMode="Indexed")
    outcome = await TABLE.run(TRAIN, spec, child("a", "Succeeded", index=0), child("b", "Running", index=2))
    made = [pod for pod in outcome.all(PODS) if objects.name(pod) not in ("a", "b")]
    assert [names.annotation(pod, names.JOB_INDEX) for pod in made] == ["1"]
    assert made[0]["spec"]["containers"][0]["env"] == [{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {
        "apiVersion": "v1", "fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}]
    assert made[0]["spec"]["hostname"] == "train-1"
    assert outcome.object(JOBS, "train")["status"]["completedIndexes"] == "0"


async def test_a_count_once_written_stands_though_the_pod_is_gone() -> None:
    job = build.job(completions=2)
    job["status"] = {"succeeded": 1, "startTime": "2026-01-01T00:00:00Z"}
    outcome = await TABLE.run(TRAIN, job, child("second", "Succeeded"))
    assert outcome.object(JOBS, "train")["status"]["succeeded"] >= 1


async def test_it_is_removed_some_time_after_its_end() -> None:
    job = build.job(ttlSecondsAfterFinished=60)
    job["status"] = {"startTime": "2025-12-31T23:00:00Z", "conditions": [
        {"type": "Complete", "status": "True", "lastTransitionTime": "2025-12-31T23:59:30Z"}]}
    outcome = await TABLE.run(TRAIN, job)
    assert outcome.result.requeue_after_seconds == 30
    job["status"]["conditions"][0]["lastTransitionTime"] = "2025-12-31T23:58:00Z"
    outcome = await TABLE.run(TRAIN, job)
    assert outcome.words == ["delete jobs default/train"]
