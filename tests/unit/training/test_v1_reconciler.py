"""Tables of the v1 jobs' reconciler: objects in; writes, status and events out, and what every reconciler owes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lightship import errors
from lightship.domains.training.deps import TrainingDeps
from lightship.domains.training.site import EMBEDDED, OTHER, Site
from lightship.domains.training.v1 import names, reconciler
from lightship.domains.training.v1.kinds import FRAMEWORKS
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import EVENTS, HORIZONTAL_POD_AUTOSCALERS, POD_GROUPS, PODS, SERVICES
from lightship.lib import ids
from lightship.runtime.controller import Controller
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock
from lightship.testing.reconciler_table import Outcome, ReconcilerTable
from tests.unit.training.v1_objects import ended, job_object, pod_of, read, service_of, whole

RUN = Key("default", "run")
KINDS = (*(one.resource for one in FRAMEWORKS), PODS, SERVICES, HORIZONTAL_POD_AUTOSCALERS, POD_GROUPS, EVENTS)
OLD = "2020-01-01T00:00:00Z"


def table_of(kind: str, site: Site = OTHER) -> ReconcilerTable:
    def build(manager: Manager, clock: FakeClock, id_source: ids.IdSource) -> Controller:
        client = manager.client_for("training")
        deps = TrainingDeps(client=client, informer=manager.informer, recorder=Recorder(client, "training", clock),
                            clock=clock, site=site)
        return next(one for one in reconciler.controllers(deps, FRAMEWORKS) if one.name == kind.lower())

    return ReconcilerTable(build=build, kinds=KINDS)


async def run(job: Object, *there: Object) -> Outcome:
    """One pass, with all that every reconciler must stand: a silent second pass, and each write failing in turn."""
    return await table_of(job["kind"]).run(RUN, job, *there)


async def rest(job: Object, *there: Object) -> Outcome:
    return await table_of(job["kind"]).rest(RUN, job, *there)


def job_of(outcome: Outcome, kind: str) -> Object:
    return outcome.object(next(one.resource for one in FRAMEWORKS if one.resource.kind == kind), "run")


def conditions_of(outcome: Outcome, kind: str) -> list[tuple[str, str]]:
    return [(one["type"], one["status"]) for one in objects.status(job_of(outcome, kind)).get("conditions") or ()]


def state_of(outcome: Outcome, kind: str) -> dict[str, Any]:
    """The last condition: what ``kubectl get`` shows as the state."""
    found = objects.status(job_of(outcome, kind))["conditions"][-1]
    return {"type": found["type"], "reason": found["reason"], "message": found["message"]}


def pods_of(outcome: Outcome) -> list[str]:
    return sorted(objects.name(pod) for pod in outcome.all(PODS))


async def test_a_new_job_makes_a_pod_and_a_service_a_replica() -> None:
    job = job_object("PyTorchJob", {"Master": 1, "Worker": 2})
    outcome = await run(job)
    assert pods_of(outcome) == ["run-master-0", "run-worker-0", "run-worker-1"]
    assert sorted(objects.name(one) for one in outcome.all(SERVICES)) == pods_of(outcome)
    assert state_of(outcome, "PyTorchJob") == {"type": "Created", "reason": "PyTorchJobCreated",
                                               "message": "PyTorchJob run is created."}
    assert objects.status(job_of(outcome, "PyTorchJob"))["startTime"]
    assert outcome.words[-1] == "patch pytorchjobs/status default/run", "the status is written last"
    assert "Normal SuccessfulCreatePod Created pod: run-master-0" in outcome.events


TF_STATES = [
    # Upstream's table: replicas, what the Pods of each type are (succeeded, failed, active), and a condition to be.
    ({"Chief": 1, "Worker": 1}, {"Worker": (1, 0, 0), "Chief": (1, 0, 0)}, {}, "Succeeded"),
    ({"Chief": 1, "Worker": 1}, {"Chief": (0, 0, 1)}, {}, "Running"),
    ({"Chief": 1, "Worker": 1}, {"Chief": (0, 1, 0)}, {}, "Failed"),
    ({"Worker": 1}, {"Worker": (0, 1, 0)}, {}, "Failed"),
    ({"Worker": 1}, {"Worker": (1, 0, 0)}, {}, "Succeeded"),
    ({"Worker": 1}, {"Worker": (0, 0, 1)}, {}, "Running"),
    ({"Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (2, 0, 2)}, {}, "Running"),
    ({"Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (0, 2, 2)}, {}, "Failed"),
    ({"Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (2, 2, 0)}, {}, "Failed"),
    ({"Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (1, 0, 3)}, {"first": True}, "Succeeded"),
    ({"Worker": 4}, {"Worker": (1, 0, 3)}, {"first": True, "successPolicy": "AllWorkers"}, "Running"),
    ({"Worker": 4}, {"Worker": (4, 0, 0)}, {"first": True, "successPolicy": "AllWorkers"}, "Succeeded"),
    ({"Worker": 4}, {"Worker": (1, 1, 2)}, {"first": True, "successPolicy": "AllWorkers"}, "Failed"),
    ({"Chief": 1, "Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (0, 4, 0), "Chief": (0, 0, 1)}, {}, "Running"),
    ({"Chief": 1, "Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (4, 0, 0), "Chief": (0, 0, 1)}, {}, "Running"),
    ({"Chief": 1, "Worker": 4, "PS": 2}, {"PS": (0, 1, 1), "Worker": (4, 0, 0), "Chief": (0, 0, 1)}, {}, "Failed"),
    ({"Chief": 1, "Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (4, 0, 0), "Chief": (0, 1, 0)}, {}, "Failed"),
    ({"Chief": 1, "Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (0, 4, 0), "Chief": (1, 0, 0)}, {}, "Succeeded"),
    ({"Chief": 1, "Worker": 4, "PS": 2}, {"PS": (0, 0, 2), "Worker": (0, 4, 0), "Chief": (0, 1, 0)},
     {"restart": True}, "Restarting"),
]


@pytest.mark.parametrize(("replicas", "pods", "more", "expected"), TF_STATES)
async def test_tensorflows_states_are_upstreams(replicas: Any, pods: Any, more: Any, expected: str) -> None:
    policy = {"restartPolicy": "ExitCode"} if more.get("restart") else {}
    spec = {name: value for name, value in more.items() if name == "successPolicy"}
    job = job_object("TFJob", {type: {"replicas": count} | policy for type, count in replicas.items()}, **spec)
    there: list[Object] = []
    for type, (succeeded, failed, active) in pods.items():
        kept = [("Succeeded", 0 if more.get("first") and type == "Worker" else None)] * succeeded
        kept += [("Failed", 130 if more.get("restart") else None)] * failed + [("Running", None)] * active
        there += [pod_of(job, type, index, phase, code) for index, (phase, code) in enumerate(kept)]
    outcome = await table_of("TFJob").rest(RUN, job, *there) if more.get("restart") else await run(job, *there)
    found = conditions_of(outcome, "TFJob")
    assert expected in [type for type, _ in found]
    if ("Failed", "True") in found or ("Succeeded", "True") in found:
        assert ("Running", "True") not in found


@pytest.mark.parametrize(("kind", "replicas", "pods", "expected"), [
    ("PyTorchJob", {"Master": 1, "Worker": 1}, {"Master": "Running"}, ("Running", "PyTorchJob run is running.")),
    ("PyTorchJob", {"Master": 1, "Worker": 1}, {"Master": "Pending", "Worker": "Running"},
     ("Created", "PyTorchJob run is created.")),
    ("PyTorchJob", {"Master": 1, "Worker": 1}, {"Master": "Succeeded", "Worker": "Running"},
     ("Succeeded", "PyTorchJob run is successfully completed.")),
    ("PyTorchJob", {"Worker": 1}, {"Worker": "Running"}, ("Running", "PyTorchJob default/run is running.")),
    ("PyTorchJob", {"Worker": 1}, {"Worker": "Succeeded"},
     ("Succeeded", "PyTorchJob default/run successfully completed.")),
    ("PyTorchJob", {"Master": {"restartPolicy": "Never"}}, {"Master": "Failed"},
     ("Failed", "PyTorchJob run is failed because 1 Master replica(s) failed.")),
    ("XGBoostJob", {"Master": 1, "Worker": 1}, {"Master": "Succeeded", "Worker": "Running"},
     ("Succeeded", "XGBoostJob run is successfully completed.")),
    ("XGBoostJob", {"Master": 1, "Worker": 1}, {"Master": "Running", "Worker": "Failed"},
     ("Failed", "XGBoostJob run is failed because 1 Worker replica(s) failed.")),
    ("PaddleJob", {"Worker": 1}, {"Worker": "Succeeded"}, ("Succeeded", "PaddleJob default/run successfully "
                                                                       "completed.")),
    ("PaddleJob", {"Master": 1, "Worker": 1}, {"Master": "Succeeded"},
     ("Succeeded", "PaddleJob run is successfully completed.")),
    ("JAXJob", {"Worker": 1}, {"Worker": "Running"}, ("Running", "JAXJob default/run is running.")),
    ("JAXJob", {"Worker": 1}, {"Worker": "Succeeded"}, ("Succeeded", "JAXJob default/run successfully completed.")),
    ("JAXJob", {"Worker": 1}, {"Worker": "Failed"}, ("Failed", "JAXJob run is failed because 1 Worker replica(s) "
                                                               "failed.")),
    ("TFJob", {"Worker": 1}, {"Worker": "Failed"}, ("Failed", "TFJob default/run has failed because 1 Worker "
                                                              "replica(s) failed.")),
    ("TFJob", {"PS": 1}, {"PS": "Succeeded"}, ("Succeeded", "TFJob default/run successfully completed.")),
])
async def test_states_and_words(kind: str, replicas: Any, pods: Any, expected: tuple[str, str]) -> None:
    job = job_object(kind, replicas)
    outcome = await run(job, *(pod_of(job, type, 0, phase) for type, phase in pods.items()))
    state = state_of(outcome, kind)
    assert (state["type"], state["message"]) == expected
    assert state["reason"] == f"{kind}{expected[0]}"
    assert bool(objects.status(job_of(outcome, kind)).get("completionTime")) == (expected[0] in ("Succeeded", "Failed"))


async def test_counts_by_type_and_the_selector_for_scaling() -> None:
    job = job_object("PyTorchJob", {"Master": 1, "Worker": 3})
    outcome = await run(job, pod_of(job, "Master", 0, "Running"), pod_of(job, "Worker", 0, "Running"),
                        pod_of(job, "Worker", 1, "Succeeded", 0), pod_of(job, "Worker", 2, "Pending"))
    found = objects.status(job_of(outcome, "PyTorchJob"))["replicaStatuses"]
    assert {type: {name: n for name, n in one.items() if name != "selector"} for type, one in found.items()} == {
        "Master": {"active": 1}, "Worker": {"active": 1, "succeeded": 1}}
    assert found["Worker"]["selector"] == (
        "training.kubeflow.org/job-name=run,training.kubeflow.org/operator-name=pytorchjob-controller,"
        "training.kubeflow.org/replica-type=worker")


async def test_elastic_workers_end_together() -> None:
    job = job_object("PyTorchJob", {"Worker": 2}, elasticPolicy={"minReplicas": 1, "maxReplicas": 3})
    outcome = await run(job, pod_of(job, "Worker", 0, "Succeeded", 0), pod_of(job, "Worker", 1, "Running"))
    assert state_of(outcome, "PyTorchJob")["type"] == "Succeeded"
    plain = job_object("PyTorchJob", {"Worker": 2})
    outcome = await run(plain, pod_of(plain, "Worker", 0, "Succeeded", 0), pod_of(plain, "Worker", 1, "Running"))
    assert state_of(outcome, "PyTorchJob")["type"] == "Running"


async def test_tensorflows_workers_that_come_and_go_may_fail() -> None:
    job = job_object("TFJob", {"Worker": 2}, enableDynamicWorker=True)
    outcome = await run(job, pod_of(job, "Worker", 0, "Running"), pod_of(job, "Worker", 1, "Failed", 1))
    assert state_of(outcome, "TFJob")["type"] == "Running"


@pytest.mark.parametrize(("policy", "code", "state"), [
    ("ExitCode", 128, "Restarting"), ("ExitCode", 143, "Restarting"), ("ExitCode", 255, "Restarting"),
    ("ExitCode", None, "Restarting"), ("OnFailure", 1, "Restarting"), ("Always", 1, "Restarting"),
    ("ExitCode", 1, "Failed"), ("ExitCode", 127, "Failed"), ("Never", 137, "Failed")])
async def test_which_failures_are_retried(policy: str, code: int | None, state: str) -> None:
    job = job_object("TFJob", {"Worker": {"replicas": 2, "restartPolicy": policy}})
    first, second = pod_of(job, "Worker", 0, "Failed", code), pod_of(job, "Worker", 1, "Running")
    outcome = await run(job, first, second)
    assert state_of(outcome, "TFJob")["type"] == state
    retried = "delete pods default/run-worker-0" in outcome.words
    assert retried == (state == "Restarting")
    if policy == "ExitCode" and state == "Failed":
        assert state_of(outcome, "TFJob")["message"] == (
            f'job "run" is failing because "Worker" replica(s) failed. run-worker-0 exited with code {code}')
    if retried:
        assert outcome.words[0] == "patch tfjobs default/run", "counted before the Pod is gone"
        again = await rest(job, first, second)
        assert pods_of(again) == ["run-worker-0", "run-worker-1"]
        assert objects.uid(again.object(PODS, "run-worker-0")) != objects.uid(first)


def restarted(count: int, at: str = OLD, pod: str = "earlier") -> dict[str, str]:
    return {names.RESTARTS_ANNOTATION: json.dumps({"run-worker-0": {"count": count, "pod": pod, "at": at}})}


@pytest.mark.parametrize(("limit", "before", "state"), [
    (3, 2, "Restarting"), (2, 2, "Failed"), (0, 0, "Failed"), (1, 0, "Restarting"), (None, 50, "Restarting")])
async def test_retries_are_counted_though_their_pods_are_gone(limit: int | None, before: int, state: str) -> None:
    policy = {"backoffLimit": limit} if limit is not None else {}
    job = job_object("TFJob", {"Worker": {"restartPolicy": "ExitCode"}}, policy=policy,
                     annotations=restarted(before) if before else None)
    outcome = await run(job, pod_of(job, "Worker", 0, "Failed", 130))
    assert state_of(outcome, "TFJob")["type"] == state
    if state == "Failed":
        assert state_of(outcome, "TFJob")["message"] == (
            "Job run has failed because it has reached the specified backoff limit. run-worker-0 exited with code 130")


@pytest.mark.parametrize(("restarts", "limit", "state"), [(1, 2, "Running"), (2, 2, "Failed"), (1, 0, "Failed"),
                                                          (0, 0, "Running")])
async def test_restarts_in_place_count_as_retries(restarts: int, limit: int, state: str) -> None:
    job = job_object("PyTorchJob", {"Worker": 1}, policy={"backoffLimit": limit})
    pod = pod_of(job, "Worker", 0, "Running")
    pod["status"]["containerStatuses"] = [{"name": "pytorch", "restartCount": restarts, "state": {"running": {}}}]
    outcome = await run(job, pod)
    assert state_of(outcome, "PyTorchJob")["type"] == state


@pytest.mark.parametrize(("policy", "state"), [
    ({"reason": "NodeRestarted"}, "Restarting"),
    ({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}, "Restarting"),
    ({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}]}, "Failed")])
async def test_what_the_cluster_ended_is_made_anew_and_no_retry_is_used_up(policy: Any, state: str) -> None:
    job = job_object("JAXJob", {"Worker": 1}, policy={"backoffLimit": 0})
    pod = pod_of(job, "Worker", 0, "Failed", 137)
    pod["status"] |= policy
    outcome = await run(job, pod)
    assert state_of(outcome, "JAXJob")["type"] == state
    assert pods_of(await rest(job, pod)) == ["run-worker-0"]


async def test_a_replica_that_fails_again_and_again_pauses() -> None:
    now = "2026-01-01T00:00:00Z"
    job = job_object("TFJob", {"Worker": {"replicas": 2, "restartPolicy": "ExitCode"}}, annotations=restarted(4, now))
    outcome = await run(job, pod_of(job, "Worker", 1, "Running"))
    assert pods_of(outcome) == ["run-worker-1"]
    assert outcome.result.requeue_after_seconds == 4.0
    rested = job_object("TFJob", {"Worker": {"replicas": 2, "restartPolicy": "ExitCode"}}, annotations=restarted(4))
    assert pods_of(await run(rested, pod_of(rested, "Worker", 1, "Running"))) == ["run-worker-0", "run-worker-1"]


@pytest.mark.parametrize("text", ["[nonsense", "[]", '{"run-worker-0": {"count": 9, "pod": "x", "at": "soon"}}',
                                  '{"run-worker-0": {"count": "many", "pod": "x", "at": "2026-01-01T00:00:00Z"}}'])
async def test_an_annotation_that_somebody_spoiled_is_begun_anew(text: str) -> None:
    job = job_object("TFJob", {"Worker": 1}, annotations={names.RESTARTS_ANNOTATION: text})
    assert pods_of(await run(job)) == ["run-worker-0"]


async def test_a_deadline_ends_everything_that_runs_whatever_the_policy_for_pods() -> None:
    job = job_object("PyTorchJob", {"Master": 1, "Worker": 1}, policy={"activeDeadlineSeconds": 60},
                     status={"startTime": OLD})
    there = [*whole(job)]
    outcome = await run(job, *there)
    assert outcome.words == ["patch pytorchjobs/status default/run"], "the end is written before anything goes for it"
    assert state_of(outcome, "PyTorchJob") == {
        "type": "Failed", "reason": "PyTorchJobFailed",
        "message": "Job run has failed because it was active longer than specified deadline"}
    after = await rest(job, *there)
    assert not pods_of(after) and not after.all(SERVICES)


async def test_a_deadline_to_come_wakes_the_job() -> None:
    job = job_object("PyTorchJob", {"Worker": 1}, policy={"activeDeadlineSeconds": 60})
    assert (await run(job)).result.requeue_after_seconds == 60.0


@pytest.mark.parametrize(("policy", "kept"), [
    ("None", ["run-master-0", "run-worker-0", "run-worker-1"]), ("Running", ["run-master-0"]), ("All", [])])
@pytest.mark.parametrize("type", ["Succeeded", "Failed"])
async def test_what_is_cleaned_up_at_the_end(policy: str, kept: list[str], type: str) -> None:
    job = job_object("PyTorchJob", {"Master": 1, "Worker": 2}, policy={"cleanPodPolicy": policy},
                     status=ended("PyTorchJob", type))
    there = [pod_of(job, "Master", 0, "Succeeded", 0), pod_of(job, "Worker", 0, "Running"),
             pod_of(job, "Worker", 1, "Pending"), service_of(job, "Master", 0), service_of(job, "Worker", 0),
             service_of(job, "Worker", 1)]
    outcome = await run(job, *there)
    assert pods_of(outcome) == kept
    assert sorted(objects.name(one) for one in outcome.all(SERVICES)) == kept


async def test_what_was_active_when_the_job_succeeded_has_succeeded() -> None:
    status = ended("PyTorchJob") | {"replicaStatuses": {"Worker": {"active": 1, "succeeded": 1, "selector": "x"}}}
    outcome = await run(job_object("PyTorchJob", {"Worker": 2}, status=status))
    assert objects.status(job_of(outcome, "PyTorchJob"))["replicaStatuses"] == {
        "Worker": {"succeeded": 2, "selector": "x"}}


async def test_an_ended_job_makes_nothing_and_goes_when_its_time_is_up() -> None:
    done = job_object("JAXJob", {"Worker": 1}, status=ended("JAXJob"))
    assert not (await run(done)).words
    kept = job_object("JAXJob", {"Worker": 1}, policy={"ttlSecondsAfterFinished": 30},
                      status=ended("JAXJob", at="2026-01-01T00:00:00Z"))
    outcome = await run(kept)
    assert not outcome.words and outcome.result.requeue_after_seconds == 30.0
    gone = job_object("JAXJob", {"Worker": 1}, policy={"ttlSecondsAfterFinished": 30}, status=ended("JAXJob", at=OLD))
    assert (await run(gone)).words == ["delete jaxjobs default/run"]


async def test_suspended_from_the_start_then_resumed() -> None:
    held = job_object("PyTorchJob", {"Worker": 1}, policy={"suspend": True})
    outcome = await run(held)
    assert outcome.words == ["patch pytorchjobs/status default/run"]
    assert conditions_of(outcome, "PyTorchJob") == [("Created", "True"), ("Suspended", "True")]
    status = objects.status(job_of(outcome, "PyTorchJob"))
    assert "startTime" not in status
    freed = job_object("PyTorchJob", {"Worker": 1}, status=status | {"startTime": OLD})
    resumed = await run(freed)
    assert pods_of(resumed) == ["run-worker-0"]
    assert state_of(resumed, "PyTorchJob") == {"type": "Suspended", "reason": "PyTorchJobResumed",
                                               "message": "PyTorchJob run is resumed."}
    assert objects.status(job_of(resumed, "PyTorchJob"))["startTime"] != OLD, "a resumed job's time counts anew"


async def test_suspended_while_it_runs() -> None:
    free = job_object("PyTorchJob", {"Worker": 2})
    running = objects.status(job_of(await run(free, *whole(free)), "PyTorchJob"))
    held = job_object("PyTorchJob", {"Worker": 2}, policy={"suspend": True}, status=running)
    outcome = await run(held, *whole(held))
    assert not pods_of(outcome) and not outcome.all(SERVICES)
    assert conditions_of(outcome, "PyTorchJob") == [("Created", "True"), ("Running", "False"), ("Suspended", "True")]
    assert objects.status(job_of(outcome, "PyTorchJob"))["replicaStatuses"]["Worker"].get("active") is None
    assert outcome.events[-1].startswith("Normal PyTorchJobSuspended PyTorchJob run is suspended.")


async def test_fewer_and_more_workers() -> None:
    job = job_object("PyTorchJob", {"Worker": 3}, elasticPolicy={"minReplicas": 1, "maxReplicas": 4})
    fewer = job_object("PyTorchJob", {"Worker": 1}, elasticPolicy={"minReplicas": 1, "maxReplicas": 4})
    outcome = await run(fewer, *whole(job))
    assert pods_of(outcome) == ["run-worker-0"] and len(outcome.all(SERVICES)) == 1
    assert ("Running", "True") in conditions_of(outcome, "PyTorchJob")
    more = job_object("PyTorchJob", {"Worker": 4}, elasticPolicy={"minReplicas": 1, "maxReplicas": 4})
    assert len(pods_of(await run(more, *whole(job)))) == 4


async def test_the_autoscaler_comes_and_goes_with_the_workers() -> None:
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization",
                                                                          "averageUtilization": 80}}}]
    policy = {"minReplicas": 1, "maxReplicas": 3, "metrics": metrics}
    job = job_object("PyTorchJob", {"Worker": 2}, elasticPolicy=policy)
    outcome = await run(job)
    made = outcome.object(HORIZONTAL_POD_AUTOSCALERS, "run")
    assert made["spec"] == {"minReplicas": 1, "maxReplicas": 3, "metrics": metrics, "scaleTargetRef": {
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "run"}}
    held = job_object("PyTorchJob", {"Worker": 2}, elasticPolicy=policy, policy={"suspend": True})
    outcome = await run(held, made)
    assert not outcome.all(HORIZONTAL_POD_AUTOSCALERS)
    plain = job_object("PyTorchJob", {"Worker": 2}, elasticPolicy={"minReplicas": 1})
    assert not (await run(plain)).all(HORIZONTAL_POD_AUTOSCALERS)


@pytest.mark.parametrize(("scheduling", "least"), [({}, 3),
    ({"minAvailable": 2, "scheduleTimeoutSeconds": 7, "priorityClass": "high"}, 2)])
async def test_a_gang_of_all_replicas_where_the_cluster_has_gangs(scheduling: Any, least: int) -> None:
    container = {"name": "pytorch", "image": "busybox", "resources": {"requests": {"cpu": "500m"}}}
    template = {"spec": {"containers": [container]}}
    job = job_object("PyTorchJob", {"Master": {"template": template}, "Worker": {"replicas": 2, "template": template}},
                     policy={"schedulingPolicy": scheduling})
    table = table_of("PyTorchJob", EMBEDDED)
    outcome = await table.run(RUN, job)
    group = outcome.object(POD_GROUPS, "run")
    assert group["spec"]["minMember"] == least
    assert group["spec"]["scheduleTimeoutSeconds"] == scheduling.get("scheduleTimeoutSeconds", 60)
    assert group["spec"]["minResources"] == {"cpu": f"{least * 500}m" if least % 2 else "1"}
    assert {objects.labels(pod)["scheduling.x-k8s.io/pod-group"] for pod in outcome.all(PODS)} == {"run"}
    assert outcome.words.index("create podgroups default/run") < outcome.words.index("create pods default/run-master-0")
    assert {pod["spec"].get("priorityClassName") for pod in outcome.all(PODS)} == {scheduling.get("priorityClass")}
    held = job_object("PyTorchJob", {"Master": 1, "Worker": 2}, policy={"suspend": True})
    assert not (await table.run(RUN, held, group)).all(POD_GROUPS)
    done = job_object("PyTorchJob", {"Master": 1, "Worker": 2}, status=ended("PyTorchJob"))
    assert not (await table.run(RUN, done, group)).all(POD_GROUPS)


async def test_others_pods_are_left_alone_and_the_job_says_so() -> None:
    job = job_object("JAXJob", {"Worker": 1})
    stranger = pod_of(job, "Worker", 0, "Running")
    stranger["metadata"] |= {"ownerReferences": [], "labels": {}}
    outcome = await run(job, stranger)
    assert "delete pods default/run-worker-0" not in outcome.words and outcome.result.requeue_after_seconds
    assert any("FailedCreatePod" in event and "rename the job" in event for event in outcome.events)


async def test_a_gang_whose_name_is_taken_waits_and_says_so() -> None:
    job = job_object("JAXJob", {"Worker": 1})
    group = {"apiVersion": POD_GROUPS.api_version, "kind": POD_GROUPS.kind, "spec": {"minMember": 9}, "metadata": {
        "name": "run", "namespace": "default", "uid": "other", "ownerReferences": [
            {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "name": "run", "uid": "x",
             "controller": True}]}}
    outcome = await table_of("JAXJob", EMBEDDED).run(RUN, job, group)
    assert not outcome.all(PODS) and outcome.result.requeue_after_seconds
    assert any("FailedCreatePodGroup" in event and 'belongs to TrainJob "run"' in event for event in outcome.events)


async def test_a_large_job_is_made_in_several_passes() -> None:
    job = job_object("JAXJob", {"Worker": 150})
    stage = await table_of("JAXJob")._stage((job,))
    first = await stage.once(RUN)
    assert len(first.writes) == 201 and first.result.requeue_after_seconds == 0.0
    assert state_of(first, "JAXJob")["type"] == "Created"
    second = await stage.once(RUN)
    assert len(second.writes) == 100 and second.result.requeue_after_seconds is None
    assert len(second.all(PODS)) == len(second.all(SERVICES)) == 150
    await stage.stop()


async def test_what_another_manages_is_left_to_it() -> None:
    job = job_object("JAXJob", {"Worker": 1}, policy={"managedBy": "kueue.x-k8s.io/multikueue"})
    assert not (await run(job)).words


async def test_what_the_api_server_refuses_fails_the_job_with_its_words() -> None:
    table = table_of("JAXJob")
    stage = await table._stage((job_object("JAXJob", {"Worker": 2}),))
    stage.api.fault = lambda write: errors.InvalidInput("spec.volumes[0].name: Required value") if (
        write.plural == "pods") else None
    outcome = await stage.once(RUN)
    assert state_of(outcome, "JAXJob") == {"type": "Failed", "reason": "JAXJobFailedValidation",
                                           "message": "spec.volumes[0].name: Required value"}
    await stage.until_silent(RUN)
    assert not outcome.all(PODS) and not stage.api.all(SERVICES.path()), "nothing of it is left behind"
    await stage.stop()


async def test_the_first_that_failed_is_told_with_its_last_lines() -> None:
    job = job_object("JAXJob", {"Worker": 3})
    there = [pod_of(job, "Worker", index, "Failed", code) for index, code in enumerate((143, 1, 143))]
    for pod, second in zip(there, (9, 2, 5), strict=True):
        ended_at = f"2026-01-01T00:00:0{second}Z"
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = ended_at
    stage = await table_of("JAXJob")._stage((job, *there))
    stage.api.logs[Key("default", "run-worker-1")] = b"\n".join(b"line %d" % number for number in range(8)) + b"\n\n"
    outcome = await stage.once(RUN)
    told = ("JAXJob run is failed because 3 Worker replica(s) failed. run-worker-1 exited with code 1: "
            "line 3\nline 4\nline 5\nline 6\nline 7")
    assert state_of(outcome, "JAXJob")["message"] == told
    assert f"Warning JAXJobFailed {told}" in outcome.events
    assert not (await stage.once(RUN)).writes
    await stage.stop()


async def test_why_replicas_wait_is_told_of_the_job() -> None:
    job = job_object("JAXJob", {"Worker": 1})
    pod = pod_of(job, "Worker", 0, "Pending")
    pod["status"]["containerStatuses"] = [{"name": "jax", "state": {"waiting": {
        "reason": "ErrImagePull", "message": "the image maps to no environment"}}}]
    outcome = await run(job, pod)
    again = pod_of(job, "Worker", 0, "Running")
    again["status"]["containerStatuses"] = [{"name": "jax", "restartCount": 3, "state": {"waiting": {
        "reason": "CrashLoopBackOff", "message": "back-off 2s restarting failed container"}}}]
    assert any("CrashLoopBackOff" in event for event in (await run(job, again)).events)
    assert ("Warning ErrImagePull Error pod run-worker-0 container jax waiting message: the image maps to no "
            "environment") in outcome.events


async def test_a_template_with_a_restart_policy_is_warned_of() -> None:
    template = {"spec": {"restartPolicy": "Always", "containers": [{"name": "jax", "image": "busybox"}]}}
    outcome = await run(job_object("JAXJob", {"Worker": {"template": template}}))
    assert outcome.object(PODS, "run-worker-0")["spec"]["restartPolicy"] == "Never"
    assert any("SetPodTemplateRestartPolicy" in event for event in outcome.events)


def test_a_job_reads_what_was_admitted() -> None:
    job = read(job_object("TFJob", {"Worker": 2, "PS": 1}, policy={"backoffLimit": 3}))
    assert list(job.replicas) == ["PS", "Worker"] and job.total == 3 and job.policy.backoff_limit == 3
