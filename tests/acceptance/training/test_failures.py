"""How trainings fail, and go on after failures, on a real platform."""

from __future__ import annotations

from typing import Any

from tests.acceptance.conftest import Platform, processes_with
from tests.acceptance.training.test_training import JOBS, pods_of, train_job, until, wait

RUNTIMES = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/default/trainingruntimes"
FAILS = """
import os, sys, time
if os.environ["JOB_COMPLETION_INDEX"] == "1":
    print("loading", flush=True)
    print("ValueError: the data is not there", file=sys.stderr, flush=True)
    sys.exit(3)
time.sleep(1000)
"""
THIRD_TIME = """
import os, sys, time
index = int(os.environ["JOB_COMPLETION_INDEX"])
with open(f"/data/{index}", "a") as file:
    file.write("x")
mine = os.path.getsize(f"/data/{index}")
if mine == 3:
    sys.exit(0)
while not os.path.exists("/data/0") or os.path.getsize("/data/0") < mine or index == 0:
    time.sleep(0.05)
sys.exit(1)
"""
"""Rank 1 fails twice, each time once rank 0 has begun, which by itself would wait for ever."""
HIDES = """
import os, subprocess, sys, time
for detached in (True, False):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", MARK], start_new_session=detached)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)", MARK])
    os._exit(0)
print("hidden", flush=True)
time.sleep(1000)
"""


def runtime(name: str, job: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A plain runtime of the namespace, of which the Job's specification and the JobSet's are the caller's."""
    pod = {"spec": {"containers": [{"name": "node", "image": "python:3.11"}]}}
    step = {"name": "node", "template": {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {"template": pod} | (job or {})}}
    return {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainingRuntime", "metadata": {"name": name},
            "spec": {"mlPolicy": {"numNodes": 1}, "template": {"spec": {"replicatedJobs": [step]} | spec}}}


def of(name: str) -> dict[str, Any]:
    return {"runtimeRef": {"kind": "TrainingRuntime", "name": name}}


def events(platform: Platform, name: str) -> dict[str, str]:
    found = platform.kube("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind=TrainJob")
    return {event["reason"]: event["message"] for event in found["items"] if event["involvedObject"]["name"] == name}


def test_the_first_failing_nodes_last_words_are_in_the_condition_and_an_event(platform: Platform) -> None:
    platform.kube("POST", RUNTIMES, runtime("strict", {"backoffLimit": 0}))
    platform.kube("POST", JOBS, train_job("fails", {
        "numNodes": 2, "command": ["python3", "-c", FAILS]}, **of("strict")))
    ended = until(platform, "fails", "Complete", "Failed")
    (failed,) = (one for one in ended["status"]["conditions"] if one["type"] == "Failed")
    assert failed["reason"] == "FailedJobs" and failed["message"].startswith("jobset failed due to")
    assert "node 1 failed first" in failed["message"] and "exit code 3" in failed["message"]
    assert failed["message"].endswith("loading\nValueError: the data is not there")
    wait(lambda: "ValueError: the data is not there" in events(platform, "fails").get("NodeFailed", ""))
    wait(lambda: not [pod for pod in pods_of(platform, "fails") if pod["status"].get("phase") == "Running"])


def test_one_failure_restarts_the_whole_group_as_often_as_the_policy_says(platform: Platform) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {
        "storage": "1Gi"}}}}
    made = runtime("stubborn", {"backoffLimit": 0}, failurePolicy={"maxRestarts": 2},
                   volumeClaimPolicies=[{"templates": [claim]}])
    pod = made["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    pod["restartPolicy"] = "Never"
    pod["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    platform.kube("POST", RUNTIMES, made)
    platform.kube("POST", JOBS, train_job("again", {
        "numNodes": 2, "command": ["python3", "-c", THIRD_TIME]}, **of("stubborn")))
    ended = until(platform, "again", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Complete", ended
    job_set = platform.kube("GET", "/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets/again")
    assert job_set["status"]["restarts"] == 2
    assert {pod["metadata"]["labels"]["jobset.sigs.k8s.io/restart-attempt"]
            for pod in pods_of(platform, "again")} == {"2"}
    platform.kube("DELETE", f"{JOBS}/again")
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    wait(lambda: "data-again" not in {one["metadata"]["name"] for one in platform.kube("GET", claims)["items"]})


def test_processes_that_start_sessions_of_their_own_and_hide_die_with_their_job(platform: Platform) -> None:
    mark = f"hidden-by-{platform.info['pid']}"
    platform.kube("POST", JOBS, train_job("hides", {
        "command": ["python3", "-c", HIDES.replace("MARK", repr(mark))]}))
    wait(lambda: len([line for line in processes_with(mark) if "time.sleep(1000)" in line]) >= 4)
    platform.kube("DELETE", f"{JOBS}/hides")
    wait(lambda: not processes_with(mark))


def test_what_can_never_be_made_fails_with_the_reason(platform: Platform) -> None:
    platform.kube("POST", JOBS, train_job("crowd", {"numNodes": 10_000, "command": ["true"]}))
    circle = runtime("circle")
    steps = circle["spec"]["template"]["spec"]["replicatedJobs"]
    steps.append({"name": "other", "template": {"spec": steps[0]["template"]["spec"]},
                  "dependsOn": [{"name": "node", "status": "Ready"}]})
    steps[0]["dependsOn"] = [{"name": "other", "status": "Ready"}]
    platform.kube("POST", RUNTIMES, circle)
    platform.kube("POST", JOBS, train_job("circles", {"command": ["true"]}, **of("circle")))
    for name, reason, words in (("crowd", "TooManyPods", "asks for 10000 Pods"),
                                ("circles", "JobsCreationFailed", "DependsOn can't be set for the first")):
        (failed,) = until(platform, name, "Failed")["status"]["conditions"]
        assert failed["reason"] == reason and words in failed["message"]
        assert not pods_of(platform, name)
