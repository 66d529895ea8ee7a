"""Tables of the TrainJob reconciler: objects in; writes, status and events out, and what every reconciler owes."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.domains.training import EMBEDDED, kinds
from lightship.domains.training.deps import TrainingDeps
from lightship.domains.training.train_job import failures, lower, reconciler
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, EVENTS, JOB_SETS, POD_GROUPS, PODS
from lightship.lib import ids
from lightship.runtime.controller import Controller
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock
from lightship.testing.reconciler_table import Outcome, ReconcilerTable
from tests.unit.training.objects_of import cluster_runtime, job_set_state, runtime, step, train_job

RUN = Key("default", "run")
KINDS = (kinds.TRAIN_JOBS, kinds.TRAINING_RUNTIMES, kinds.CLUSTER_TRAINING_RUNTIMES, JOB_SETS, CONFIGMAPS, EVENTS, PODS)


def _build(manager: Manager, clock: FakeClock, id_source: ids.IdSource) -> Controller:
    client = manager.client_for("training")
    return reconciler.controller(TrainingDeps(
        client=client, informer=manager.informer, recorder=Recorder(client, "training", clock), clock=clock))


def _build_here(manager: Manager, clock: FakeClock, id_source: ids.IdSource) -> Controller:
    client = manager.client_for("training")
    return reconciler.controller(TrainingDeps(
        client=client, informer=manager.informer, recorder=Recorder(client, "training", clock), clock=clock,
        site=EMBEDDED))


TABLE = ReconcilerTable(build=_build, kinds=KINDS)
HERE = ReconcilerTable(build=_build_here, kinds=(*KINDS, POD_GROUPS))


def made_of(job: Object, of: Object | None = None) -> tuple[Object, Object]:
    """The JobSet and the snapshot that a first pass makes."""
    source = of or cluster_runtime()
    return lower.make_job_set(job, source), lower.make_snapshot(job, source)


def conditions_of(outcome: Outcome) -> dict[str, tuple[str, str]]:
    status = outcome.object(kinds.TRAIN_JOBS, "run").get("status") or {}
    return {one["type"]: (one["status"], one["reason"]) for one in status.get("conditions", ())}


async def test_a_new_job_keeps_its_runtime_and_makes_its_job_set() -> None:
    outcome = await TABLE.run(RUN, train_job({"numNodes": 2}), cluster_runtime())
    assert outcome.words == ["patch configmaps default/run-runtime-snapshot", "patch jobsets default/run"]
    assert outcome.object(JOB_SETS, "run")["spec"]["suspend"] is False
    assert not conditions_of(outcome)


async def test_a_namespaces_own_runtime() -> None:
    mine = runtime(step("node", "trainer"), policy={"numNodes": 2})
    outcome = await TABLE.run(RUN, train_job({}, runtime="mine", kind="TrainingRuntime"), mine)
    job = outcome.object(JOB_SETS, "run")["spec"]["replicatedJobs"][0]
    assert job["template"]["spec"]["parallelism"] == 2


async def test_a_change_of_the_runtime_does_not_reach_a_job_that_has_begun() -> None:
    job = train_job({}, suspend=True)
    job_set, snapshot = made_of(job)
    changed = cluster_runtime("jax-distributed") | {"metadata": cluster_runtime()["metadata"]}
    outcome = await TABLE.run(RUN, job | {"spec": job["spec"] | {"suspend": False}}, changed, job_set, snapshot)
    assert outcome.words == ["patch jobsets default/run"]
    node = outcome.object(JOB_SETS, "run")["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert node["containers"][0]["image"].startswith("pytorch/") and outcome.object(
        JOB_SETS, "run")["spec"]["suspend"] is False


async def test_a_job_without_its_runtime_says_so_and_waits() -> None:
    outcome = await TABLE.run(RUN, train_job({}))
    assert outcome.words == ["patch trainjobs/status default/run"] and outcome.result.requeue_after_seconds
    assert outcome.events == ('Warning TrainJobResourcesCreationFailed TrainJob resources reconciliation failed: '
                              'ClusterTrainingRuntime "torch-distributed" is not there: it must be made before the '
                              'TrainJob',)
    assert conditions_of(outcome) == {"Created": ("False", "JobsCreationFailed")}
    told = outcome.object(kinds.TRAIN_JOBS, "run")["status"]["conditions"]
    better = await TABLE.run(RUN, train_job({}, status={"conditions": told}), cluster_runtime())
    assert not conditions_of(better)


async def test_an_unsupported_runtime_fails() -> None:
    outcome = await TABLE.run(RUN, train_job({}, kind="SomethingElse"))
    assert conditions_of(outcome) == {"Failed": ("True", "TrainingRuntimeNotSupported")}


async def test_suspended_from_the_start_and_while_it_runs() -> None:
    first = await TABLE.run(RUN, train_job({}, suspend=True), cluster_runtime())
    assert first.object(JOB_SETS, "run")["spec"]["suspend"] is True
    assert conditions_of(first) == {"Suspended": ("True", "Suspended")}
    running = train_job({})
    job_set, snapshot = made_of(running)
    later = await TABLE.run(RUN, train_job({}, suspend=True), cluster_runtime(), job_set, snapshot)
    assert later.words == ["patch jobsets default/run", "patch trainjobs/status default/run"]
    assert later.object(JOB_SETS, "run")["spec"]["suspend"] is True


async def test_resumed() -> None:
    held = train_job({}, suspend=True)
    job_set, snapshot = made_of(held)
    before = {"conditions": [{"type": "Suspended", "status": "True", "reason": "Suspended", "message": "",
                              "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    outcome = await TABLE.run(RUN, train_job({}, status=before), cluster_runtime(), job_set, snapshot)
    assert outcome.object(JOB_SETS, "run")["spec"]["suspend"] is False
    assert conditions_of(outcome) == {"Suspended": ("False", "Resumed")}


@pytest.mark.parametrize(("theirs", "reason", "ours"), [
    ("Completed", "AllJobsCompleted", "Complete"), ("Failed", "FailedJobs", "Failed")])
async def test_the_job_sets_end_is_the_jobs(theirs: str, reason: str, ours: str) -> None:
    job = train_job({})
    job_set, snapshot = made_of(job)
    ended = job_set_state(job_set, theirs, reason, succeeded=1)
    outcome = await TABLE.run(RUN, job, cluster_runtime(), ended, snapshot)
    assert outcome.words == ["patch trainjobs/status default/run"]
    assert conditions_of(outcome) == {ours: ("True", reason)}
    assert outcome.object(kinds.TRAIN_JOBS, "run")["status"]["jobsStatus"] == [
        {"name": "node", "ready": 0, "succeeded": 1, "failed": 0, "active": 0, "suspended": 0}]
    assert [event.split()[1] for event in outcome.events] == [reason]


async def test_a_finished_job_is_not_made_again_when_its_job_set_is_gone() -> None:
    ended: dict[str, Any] = {"conditions": [{"type": "Complete", "status": "True", "reason": "AllJobsCompleted",
                                             "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    outcome = await TABLE.run(RUN, train_job({}, status=ended), cluster_runtime())
    assert not outcome.words


async def test_a_deadline_ends_it_and_comes_before_anything_is_made() -> None:
    job = train_job({}, activeDeadlineSeconds=60)
    job["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    job_set, snapshot = made_of(job)
    outcome = await TABLE.run(RUN, job, cluster_runtime(), job_set, snapshot)
    assert outcome.words == ["delete jobsets default/run", "patch trainjobs/status default/run"]
    assert conditions_of(outcome) == {"Failed": ("True", "DeadlineExceeded")}
    late = await TABLE.run(RUN, job, cluster_runtime())
    assert late.words == ["patch trainjobs/status default/run"]


async def test_a_deadline_to_come_wakes_the_job_and_counts_from_its_resumption() -> None:
    job = train_job({}, activeDeadlineSeconds=10**9)
    first = await TABLE.run(RUN, job, cluster_runtime())
    assert first.result.requeue_after_seconds
    job["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    job["spec"]["activeDeadlineSeconds"] = 3600
    job["status"] = {"conditions": [{"type": "Suspended", "status": "True", "reason": "Suspended", "message": "",
                                     "lastTransitionTime": "2020-01-01T00:00:00Z"}]}
    resumed = await TABLE.run(RUN, job, cluster_runtime())
    assert conditions_of(resumed) == {"Suspended": ("False", "Resumed")}
    assert resumed.result.requeue_after_seconds == 3600


async def test_others_objects_are_left_alone() -> None:
    job = train_job({})
    job_set, snapshot = made_of(job)
    stranger = job_set | {"metadata": job_set["metadata"] | {"ownerReferences": []}}
    outcome = await TABLE.run(RUN, job, cluster_runtime(), stranger)
    assert outcome.words == ["patch trainjobs/status default/run"] and "belongs to nobody" in outcome.events[0]
    foreign = snapshot | {"metadata": snapshot["metadata"] | {"ownerReferences": []}}
    outcome = await TABLE.run(RUN, job, cluster_runtime(), foreign)
    assert outcome.words == ["patch trainjobs/status default/run"]
    assert "belongs to another object" in outcome.events[0]
    elsewhere = await TABLE.run(RUN, train_job({}, managedBy="kueue.x-k8s.io/multikueue"), cluster_runtime())
    assert not elsewhere.words


def failed_pod(index: int, at: str, message: str = "", *, attempt: int = 0, restarts: int = 0, code: int = 1,
               again: bool = False, **metadata: Any) -> Object:
    """A training's Pod whose container has ended; with ``again`` it has been started once more since."""
    terminated = {"exitCode": code, "reason": "Error", "finishedAt": at, "message": message}
    state = {"lastState": {"terminated": terminated}, "state": {"running": {}}} if again else {
        "state": {"terminated": terminated}}
    labels = {"jobset.sigs.k8s.io/jobset-name": "run", "jobset.sigs.k8s.io/replicatedjob-name": "node",
              "jobset.sigs.k8s.io/restart-attempt": str(attempt),
              "batch.kubernetes.io/job-completion-index": str(index)}
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": f"run-node-0-{index}", "namespace": "default", "labels": labels} | metadata,
            "spec": {"containers": []}, "status": {"phase": "Running", "containerStatuses": [
                {"name": "node", "restartCount": restarts} | state]}}


async def test_the_node_that_failed_first_is_told_of_with_its_last_words() -> None:
    job = train_job({"numNodes": 2})
    job_set, snapshot = made_of(job)
    pods = [failed_pod(0, "2026-01-01T00:00:09Z", "Connection reset by peer"),
            failed_pod(1, "2026-01-01T00:00:05Z", "Traceback ...\nValueError: no data")]
    outcome = await TABLE.run(RUN, job, cluster_runtime(), job_set_state(job_set, "Failed", "FailedJobs"), snapshot,
                              *pods)
    said = "node 1 failed first (Pod run-node-0-1, exit code 1): Traceback ...\nValueError: no data"
    status = outcome.object(kinds.TRAIN_JOBS, "run")["status"]
    assert status["conditions"][0]["message"] == f"said so; {said}"
    assert f"Warning NodeFailed {said}" in outcome.events
    running = await TABLE.run(RUN, job, cluster_runtime(), job_set, snapshot, *pods)
    assert running.events == (f"Warning NodeFailed {said}",) and not running.words


@pytest.mark.parametrize(("pods", "first"), [
    ([], ""), ([failed_pod(0, "2026-01-01T00:00:05Z", code=0)], ""),
    ([failed_pod(0, "2026-01-01T00:00:05Z", deletionTimestamp="2026-01-01T00:00:04Z")], ""),
    ([failed_pod(0, "2026-01-01T00:00:05Z"), failed_pod(1, "2026-01-01T00:00:07Z", attempt=1)], "node 1"),
    ([failed_pod(0, "2026-01-01T00:00:05Z", restarts=1, again=True),
      failed_pod(1, "2026-01-01T00:00:04Z", restarts=0)], "node 1"),
    ([failed_pod(0, "2026-01-01T00:00:05Z", restarts=1), failed_pod(1, "2026-01-01T00:00:04Z")], "node 0"),
])
def test_who_failed_first(pods: list[Object], first: str) -> None:
    witness = failures.Witness()
    for pod in pods:
        witness.pod_changed(None, pod)
    found = witness.first(RUN)
    assert (found.told() if found is not None else "").startswith(first) and (found is not None or not first)
    if found is not None:
        assert witness.news(RUN) == found
        witness.told(RUN, found)
        assert witness.news(RUN) is None
        witness.forget(RUN)
        assert witness.first(RUN) is None


def test_last_words_are_bounded() -> None:
    pod = failed_pod(0, "2026-01-01T00:00:05Z", "\n".join("x" * 200 for _ in range(50)))
    found = failures.failure_of(pod)
    assert found is not None and len(found.words) < 800


@pytest.mark.parametrize("policy", [None, {"numNodes": 10_000}])
async def test_more_pods_than_this_cluster_makes_for_one_fail_at_once(policy: dict[str, Any] | None) -> None:
    job = train_job({"numNodes": 10_000} if policy is None else {}, runtime="mine", kind="TrainingRuntime")
    outcome = await HERE.run(RUN, job, runtime(step("node", "trainer"), policy=policy or {"numNodes": 2}))
    assert outcome.words == ["patch trainjobs/status default/run"]
    assert conditions_of(outcome) == {"Failed": ("True", "TooManyPods")}


async def test_the_embedded_cluster_gets_a_group_before_the_job_set() -> None:
    outcome = await HERE.run(RUN, train_job({"numNodes": 2}), cluster_runtime())
    assert outcome.words == ["patch configmaps default/run-runtime-snapshot", "patch podgroups default/run",
                             "patch jobsets default/run"]
