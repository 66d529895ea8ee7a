"""Experiments on a real platform: applied, waited for and read as a user does. Tests of this folder call me."""

from __future__ import annotations

import time
from typing import Any

from tests.acceptance.conftest import Platform

WAIT_SECONDS = 120
IMAGE = "busybox:1.37"


class Sweeps:
    """The Experiments of one namespace."""

    def __init__(self, platform: Platform, namespace: str = "default") -> None:
        self.platform = platform
        self.namespace = namespace
        self.path = f"/apis/kubeflow.org/v1beta1/namespaces/{namespace}"

    def create(self, experiment: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.platform.kube("POST", f"{self.path}/experiments", experiment)
        return made

    def get(self, name: str, plural: str = "experiments") -> dict[str, Any]:
        found: dict[str, Any] = self.platform.kube("GET", f"{self.path}/{plural}/{name}")
        return found

    def patch(self, name: str, spec: dict[str, Any]) -> None:
        self.platform.kube("PATCH", f"{self.path}/experiments/{name}", {"spec": spec}, "application/merge-patch+json")

    def trials(self, name: str) -> list[dict[str, Any]]:
        found = self.platform.kube("GET", f"{self.path}/trials?labelSelector=katib.kubeflow.org/experiment={name}")
        return list(found["items"])

    def wait(self, name: str, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        """The Experiment once it has succeeded or failed."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            found = self.get(name)
            if states(found).keys() & {"Succeeded", "Failed"}:
                return found
            time.sleep(0.1)
        trials = [(one["metadata"]["name"], states(one)) for one in self.trials(name)]
        raise AssertionError(f"{name} did not end: {found}\n{trials}\n{self.platform.server_log()}")


def states(obj: dict[str, Any]) -> dict[str, str]:
    """The conditions that are true, with their reasons."""
    found = obj.get("status", {}).get("conditions", ())
    return {one["type"]: one["reason"] for one in found if one["status"] == "True"}


def sweep(name: str, script: str = "echo loss=${trialParameters.rate}", **spec: Any) -> dict[str, Any]:
    """An Experiment over ``rate`` whose Trials run a line of shell."""
    template = {"primaryContainerName": "main", "trialParameters": [{"name": "rate", "reference": "lr"}], "trialSpec": {
        "apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", script]}]}}}}}
    return {"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": name}, "spec": {
        "objective": {"type": "minimize", "objectiveMetricName": "loss"}, "algorithm": {"algorithmName": "random"},
        "parallelTrialCount": 3, "maxTrialCount": 6,
        "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}],
        "trialTemplate": template} | spec}
