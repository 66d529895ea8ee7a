"""Every way in which metrics come in, on a real platform; and trials that stop early."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.tuning.sweeps import Sweeps, states, sweep

if not sys.platform.startswith("linux"):
    pytest.skip("the node is for Linux", allow_module_level=True)

RATE = "${trialParameters.rate}"
PROGRAMS = Path(__file__).with_name("trial_programs.py").read_text(encoding="utf-8")


def source(kind: str, path: str = "", form: str = "", **more: Any) -> dict[str, Any]:
    place = {"path": path, "kind": "File", "format": form} if form else {"path": path, "kind": "Directory"}
    return {"collector": {"kind": kind}, "source": ({"fileSystemPath": place} if path else {}) | more}


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def program(name: str) -> list[str]:
    return ["python3", "-c", PROGRAMS, name, RATE]


WAYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "printed": (source("StdOut", filter={"metricsFormat": [r"(\w+) is (\S+)"]}), shell(f"echo 'loss is {RATE}'")),
    "text": (source("File", "/logs/m.log", "TEXT"),
             shell(f"echo loss=9 >/logs/m.log; printf loss={RATE} >>/logs/m.log")),
    "json": (source("File", "/logs/m.json", "JSON"), shell(f"""echo '{{"loss": "{RATE}", "x": 1}}' >/logs/m.json""")),
    "events": (source("TensorFlowEvent", "/logs"), program("events")),
    "served": (source("PrometheusMetric", httpGet={"port": 9090, "path": "/metrics"}), program("served")),
    "pushed": (source("Push"), program("pushed")),
}


def experiment(name: str, collector: dict[str, Any], command: list[str], **spec: Any) -> dict[str, Any]:
    made = sweep(name, maxTrialCount=2, parallelTrialCount=2, metricsCollectorSpec=collector, **spec)
    container = made["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    container |= {"image": "python:3.11", "command": command}
    return made


@pytest.fixture(scope="module")
def measured(platform: Platform) -> Sweeps:
    """All of them at once."""
    sweeps = Sweeps(platform)
    for name, (collector, command) in WAYS.items():
        sweeps.create(experiment(f"tells-{name}", collector, command))
    return sweeps


@pytest.mark.parametrize("name", WAYS)
def test_metrics_come_in(measured: Sweeps, name: str) -> None:
    found = measured.wait(f"tells-{name}")
    trials = measured.trials(f"tells-{name}")
    assert found["status"].get("trialsSucceeded") == 2, [one.get("status") for one in trials]
    for trial in trials:
        loss, = trial["status"]["observation"]["metrics"]
        rate = float(trial["spec"]["parameterAssignments"][0]["value"])
        assert float(loss["latest"]) == pytest.approx(rate, rel=1e-6), trial["status"]
        assert float(loss["max"]) == pytest.approx({"text": 9, "events": 9, "pushed": 7}.get(name, rate), rel=1e-6)


def test_the_log_of_a_file_is_the_sidecars_and_of_a_retried_trial_what_ended_well_counts(platform: Platform) -> None:
    sweeps = Sweeps(platform)
    script = ("if mkdir /kept/once 2>/dev/null; then echo loss=-1; exit 1; fi; echo loss=2; "
              f"printf 'loss=3\\nof {RATE}' >/logs/m.log")
    made = experiment("retried", source("File", "/logs/m.log", "TEXT"), shell(script))
    made["spec"] |= {"maxTrialCount": 1, "parallelTrialCount": 1}
    made["spec"]["trialTemplate"]["retain"] = True
    job = made["spec"]["trialTemplate"]["trialSpec"]["spec"]
    job["template"]["spec"]["restartPolicy"] = "OnFailure"
    job["backoffLimit"] = 3
    job["template"]["spec"]["volumes"] = [{"name": "kept", "emptyDir": {}}]
    job["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "kept", "mountPath": "/kept"}]
    sweeps.create(made)
    assert "Succeeded" in states(sweeps.wait("retried"))
    trial, = sweeps.trials("retried")
    assert trial["status"]["observation"]["metrics"] == [{"name": "loss", "latest": "3", "min": "3", "max": "3"}]
    pods = platform.kube("GET", "/api/v1/namespaces/default/pods?labelSelector=katib.kubeflow.org/experiment=retried")
    pod, = pods["items"]
    names = [one["name"] for one in pod["spec"]["initContainers"]]
    assert names == ["metrics-logger-and-collector"]


def test_median_stop_ends_a_trial_while_it_runs(platform: Platform) -> None:
    sweeps = Sweeps(platform)
    script = f"for step in 1 2 3; do echo loss={RATE}; done; if [ {RATE} = 9 ]; then sleep 600; fi"
    made = experiment("stopped", source("StdOut"), shell(script), algorithm={"algorithmName": "grid"},
                      earlyStopping={"algorithmName": "medianstop", "algorithmSettings": [
                          {"name": "min_trials_required", "value": "2"}, {"name": "start_step", "value": "2"}]},
                      parameters=[{"name": "lr", "parameterType": "discrete",
                                   "feasibleSpace": {"list": ["1", "2", "9"]}}])
    made["spec"] |= {"maxTrialCount": 3, "parallelTrialCount": 1}
    sweeps.create(made)
    status = sweeps.wait("stopped")["status"]
    assert (status["trialsSucceeded"], status["trialsEarlyStopped"]) == (2, 1), status
    late = next(one for one in sweeps.trials("stopped") if "EarlyStopped" in states(one))
    assert late["spec"]["parameterAssignments"][0]["value"] == "9"
    assert late["status"]["observation"]["metrics"][0]["latest"] == "9"


def test_a_train_job_writes_its_metrics_into_a_file(platform: Platform) -> None:
    sweeps = Sweeps(platform)
    made = sweep("trained", maxTrialCount=1, parallelTrialCount=1,
                 metricsCollectorSpec=source("File", "/logs/m.log", "TEXT"))
    made["spec"]["trialTemplate"] = {
        "primaryContainerName": "node", "trialParameters": [{"name": "rate", "reference": "lr"}], "trialSpec": {
            "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": {
                "runtimeRef": {"name": "plain-distributed"}, "trainer": {
                    "numNodes": 2, "command": shell(f"mkdir -p /logs; echo loss={RATE} >/logs/m.log")}}}}
    sweeps.create(made)
    sweeps.wait("trained")
    trial, = sweeps.trials("trained")
    assert "Succeeded" in states(trial), trial["status"]
    assert trial["status"]["observation"]["metrics"][0]["latest"] == trial["spec"]["parameterAssignments"][0]["value"]


@pytest.mark.slow
def test_the_sidecar_is_a_program_where_pods_are_containers(new_platform: Callable[[], Platform],
                                                            tmp_path: Path) -> None:
    """The Pods of another cluster, run on this node: the image is this package, and the sidecar a process."""
    sweeps = Sweeps(new_platform().start("--launcher-image", "lightship.dev/lightship:v1", "--artifacts",
                                         str(tmp_path / "artifacts"), "--artifacts-claim", "artifacts"))
    for name in ("text", "events"):
        sweeps.create(experiment(name, *WAYS[name]))
    for name in ("text", "events"):
        assert sweeps.wait(name)["status"].get("trialsSucceeded") == 2
