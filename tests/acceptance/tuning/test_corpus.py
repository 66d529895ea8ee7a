"""Katib's own examples, as they are but for a stand-in for their programs, which lie in images that nobody has here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.conftest import Platform
from tests.acceptance.tuning.sweeps import Sweeps, states

if not sys.platform.startswith("linux"):
    pytest.skip("the node is for Linux", allow_module_level=True)

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "katib"
FILES = {path.stem: path for path in sorted(CORPUS.glob("*.yaml"))}
STAND_IN = Path(__file__).with_name("stand_in.py").read_text(encoding="utf-8")
PROGRAMS = "katib-example-programs"
FOLDERS = {"mnist.py": "/opt/pytorch-mnist", "pbt_test.py": "/opt/pbt"}
MENDED = {"simple-pbt": {"maxFailedTrialCount": 2}}
"""Upstream's validator refuses its own example: more Trials may fail than there are."""
BUDGETS = {"hyperband": 2, "simple-pbt": 2, "median-stop": 15}
TRIALS = 12
WAIT_SECONDS = 240

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400),
              pytest.mark.skipif(not FILES, reason="no ../shared beside this clone")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweeps]:
    """A platform on which all examples were applied at once."""
    platform = Platform(tmp_path_factory.mktemp("corpus") / "data").start()
    maps = "/api/v1/namespaces/kubeflow/configmaps"
    platform.kube("POST", maps, {"metadata": {"name": "image-catalogue"}, "data": {
        "examples": "ghcr.io/kubeflow/katib/* = host"}})
    platform.kube("POST", maps, {"metadata": {"name": PROGRAMS}, "data": dict.fromkeys(FOLDERS, STAND_IN)})
    sweeps = Sweeps(platform, "kubeflow")
    for name, path in FILES.items():
        experiment = yaml.safe_load(path.read_text(encoding="utf-8"))
        experiment["spec"] |= MENDED.get(name, {})
        mount(experiment["spec"]["trialTemplate"]["trialSpec"])
        sweeps.create(experiment)
    yield sweeps
    assert platform.stop().returncode == 0


def mount(value: Any) -> None:
    """Have each Pod template in ``value`` find the stand-in where its image would have its program."""
    if isinstance(value, list):
        for one in value:
            mount(one)
    elif isinstance(value, dict):
        if "containers" in value:
            value["volumes"] = [{"name": "programs", "configMap": {"name": PROGRAMS}}]
            for container in value["containers"]:
                container["volumeMounts"] = [{"name": "programs", "mountPath": folder} for folder in FOLDERS.values()]
        for inner in value.values():
            mount(inner)


@pytest.mark.parametrize("name", FILES)
def test_an_example_runs_to_its_end(running: Sweeps, name: str) -> None:
    experiment = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    found = running.wait(experiment["metadata"]["name"], WAIT_SECONDS)
    status = found["status"]
    budget = BUDGETS.get(name, TRIALS)
    assert "Succeeded" in states(found), status["conditions"]
    assert status["trials"] == status["trialsSucceeded"] + status.get("trialsEarlyStopped", 0) == budget
    best = status["currentOptimalTrial"]
    metric = experiment["spec"]["objective"]["objectiveMetricName"]
    measured = {one["name"]: one for one in best["observation"]["metrics"]}
    assert float(measured[metric]["latest"]) and best["bestTrialName"]
    if name == "median-stop":
        assert status["trialsEarlyStopped"] + status["trialsSucceeded"] == budget
    if name == "trial-metadata-substitution":
        run = running.trials(experiment["metadata"]["name"])[0]["spec"]["runSpec"]
        env = {one["name"]: one["value"] for one in run["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert env == {"TRIAL_NAME": run["metadata"]["name"], "TRIAL_NAMESPACE": "kubeflow", "TRIAL_KIND": "Job",
                       "TRIAL_API_VERSION": "batch/v1", "TRIAL_LABEL_CUSTOM": "custom-label",
                       "TRIAL_ANNOTATION_CUSTOM": "custom-annotation"}
