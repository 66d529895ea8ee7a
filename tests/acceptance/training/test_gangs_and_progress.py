"""Gangs on a real platform, whole or not at all, and what a training reports of itself from inside its Pod."""

from __future__ import annotations

import urllib.error
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.training.test_failures import RUNTIMES, of, runtime
from tests.acceptance.training.test_training import JOBS, logs_of, pods_of, train_job, until, wait

GROUPS = "/apis/scheduling.x-k8s.io/v1alpha1/namespaces/default/podgroups"
REPORT = """
import json, os, ssl, urllib.error, urllib.request
url = os.environ["KUBEFLOW_TRAINER_SERVER_URL"]
context = ssl.create_default_context(cafile=os.environ["KUBEFLOW_TRAINER_SERVER_CA_CERT"])
token = open(os.environ["KUBEFLOW_TRAINER_SERVER_TOKEN"]).read()

def post(body, url=url, token=token):
    request = urllib.request.Request(url, data=body if isinstance(body, bytes) else json.dumps(body).encode(),
                                     method="POST", headers={"Authorization": "Bearer " + token})
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())

now = "2026-01-01T00:00:00Z"
first = {"trainerStatus": {"progressPercentage": 10, "estimatedRemainingSeconds": 90, "lastUpdatedTime": now,
                           "metrics": [{"name": "loss", "value": "0.5"}]}}
assert post(first) == (200, first), post(first)
second = {"trainerStatus": {"metrics": [{"name": "loss", "value": "0.1"}], "lastUpdatedTime": now}}
assert post(second) == (200, second)
exact = {"lastUpdatedTime": "2026-01-01T02:00:00.123456+02:00", "metrics": [{"name": "loss", "value": "0.1"}]}
assert post({"trainerStatus": exact}) == (200, second), "as the SDK writes times"
assert post({}) == (200, {})
code, said = post({"trainerStatus": {"progressPercentage": 101, "lastUpdatedTime": now}})
assert code == 422 and said["reason"] == "Invalid" and "progressPercentage" in said["message"], said
assert post({"trainerStatus": {"progressPercentage": 1}})[0] == 422
assert post({"trainerStatus": {"lastUpdatedTime": "soon"}})[0] == 422
assert post(b"{")[0] == 422 and post({"trainerStatus": {"progressPercentage": "many"}})[0] == 422
assert post(b"x" * 70000)[0] == 413
assert post(first, url.replace("/reports/", "/other/"))[0] == 403
assert post(first, token="forged")[0] == 403
own = open("/var/run/secrets/kubernetes.io/serviceaccount/token").read()
assert post(first, token=own)[0] == 403
print("reported", flush=True)
"""


def test_a_training_reports_its_progress_and_what_is_wrong_is_refused(platform: Platform) -> None:
    platform.kube("POST", JOBS, train_job("reports", {"command": ["python3", "-c", REPORT]}))
    ended = until(platform, "reports", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Complete", logs_of(platform, "reports")
    assert ended["status"]["trainerStatus"] == {
        "metrics": [{"name": "loss", "value": "0.1"}], "lastUpdatedTime": "2026-01-01T00:00:00Z"}


def test_a_gang_waits_whole_and_says_why_on_the_job_its_group_and_its_pods(platform: Platform) -> None:
    free = _free_milli(platform)

    def gang(name: str, part: float, command: list[str]) -> None:
        platform.kube("POST", JOBS, train_job(name, {
            "numNodes": 2, "command": command,
            "resourcesPerNode": {"requests": {"cpu": f"{int(free * part)}m"}}}))

    gang("holds", 0.4, ["sleep", "1000"])
    wait(lambda: [pod["status"].get("phase") for pod in pods_of(platform, "holds")] == ["Running"] * 2)
    gang("waits", 0.15, ["true"])
    wait(lambda: bool(message_of(platform, "waits")))
    said = message_of(platform, "waits")
    assert said.startswith('PodGroup "default/waits": all 2 Pods wait until they fit together'), said
    assert "Insufficient cpu" in said and "Free when told: cpu" in said
    pods = pods_of(platform, "waits")
    assert len(pods) == 2 and not any(pod["spec"].get("nodeName") for pod in pods), "one alone would have fitted"
    wait(lambda: all(_unscheduled(pod).get("message") == said for pod in pods_of(platform, "waits")))
    wait(lambda: "GangWaiting" in _reasons(platform, "waits"))
    platform.kube("DELETE", f"{JOBS}/holds")
    ended = until(platform, "waits", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Complete"
    wait(lambda: "GangScheduled" in _reasons(platform, "waits"))
    wait(lambda: platform.kube("GET", f"{GROUPS}/waits")["status"].get("phase") == "Finished")


def _free_milli(platform: Platform) -> int:
    """What the node has to give, in thousandths of a processor."""
    cpu = platform.kube("GET", "/api/v1/nodes")["items"][0]["status"]["allocatable"]["cpu"]
    return int(float(cpu.removesuffix("m")) * (1 if cpu.endswith("m") else 1000))


def _unscheduled(pod: dict[str, Any]) -> dict[str, Any]:
    return next((one for one in pod["status"].get("conditions", ()) if one["type"] == "PodScheduled"), {})


def message_of(platform: Platform, name: str) -> str:
    try:
        found = platform.kube("GET", f"{GROUPS}/{name}").get("status", {}).get("message", "")
    except urllib.error.HTTPError:
        return ""
    return str(found)


def _reasons(platform: Platform, name: str) -> set[str]:
    found = platform.kube("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind=TrainJob")
    return {event["reason"] for event in found["items"] if event["involvedObject"]["name"] == name}


@pytest.mark.slow
def test_what_matters_more_has_a_whole_gang_leave_which_comes_back_and_has_lost_no_try(platform: Platform) -> None:
    """Its Job allows no failure: to make room is none."""
    platform.kube("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {
        "metadata": {"name": "urgent"}, "value": 1000})
    free = _free_milli(platform)
    for name, more in (("calm", {}), ("hurried", {"priorityClassName": "urgent"})):
        made = runtime(name, {"backoffLimit": 0})
        pod = made["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        pod.update(more, restartPolicy="Never", terminationGracePeriodSeconds=1)
        platform.kube("POST", RUNTIMES, made)

    def gang(name: str, of_runtime: str, seconds: float) -> None:
        platform.kube("POST", JOBS, train_job(name, {
            "numNodes": 2, "command": ["sleep", str(seconds)],
            "resourcesPerNode": {"requests": {"cpu": f"{int(free * 0.4)}m"}}}, **of(of_runtime)))

    gang("yields", "calm", 3)
    wait(lambda: [pod["status"].get("phase") for pod in pods_of(platform, "yields")] == ["Running"] * 2)
    first = {pod["metadata"]["name"] for pod in pods_of(platform, "yields")}
    gang("comes", "hurried", 0)
    ended = until(platform, "comes", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Complete"
    ended = until(platform, "yields", "Complete", "Failed")
    assert ended["status"]["conditions"][-1]["type"] == "Complete", ended
    assert not first & {pod["metadata"]["name"] for pod in pods_of(platform, "yields")}, "both had to leave"
