"""TrainJobs, runtimes and JobSets for the tests of training."""

from __future__ import annotations

from typing import Any

from lightship.domains.training import kinds
from lightship.domains.training.runtimes import shipped
from lightship.kube.objects import Object

JOB_SET_VERSION = "jobset.x-k8s.io/v1alpha2"
CREATED = "2026-01-01T00:00:00Z"


def train_job(trainer: dict[str, Any] | None = None, *, runtime: str = "torch-distributed", status: Any = None,
              kind: str = "ClusterTrainingRuntime", **spec: Any) -> Object:
    """A TrainJob as it is after its schema's defaults."""
    whole = {"managedBy": "trainer.kubeflow.org/trainjob-controller", "suspend": False,
             "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": kind, "name": runtime}} | spec
    if trainer is not None:
        whole["trainer"] = trainer
    made: Object = {"apiVersion": kinds.TRAIN_JOBS.api_version, "kind": "TrainJob",
                    "metadata": {"name": "run", "namespace": "default", "uid": "run-uid", "creationTimestamp": CREATED},
                    "spec": whole}
    return made | ({"status": status} if status else {})


def cluster_runtime(name: str = "torch-distributed") -> Object:
    """A shipped runtime as it comes from the API."""
    found = next(one for one in shipped.runtimes() if one["metadata"]["name"] == name)
    return found | {"metadata": found["metadata"] | {"uid": f"{name}-uid"}}


def runtime(*jobs: dict[str, Any], policy: dict[str, Any] | None = None, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"of": "runtime"}}, "spec": {"replicatedJobs": list(jobs)} | spec}
    return {"apiVersion": kinds.TRAINING_RUNTIMES.api_version, "kind": "TrainingRuntime",
            "metadata": {"name": "mine", "namespace": "default", "uid": "mine-uid"},
            "spec": {"template": template} | ({"mlPolicy": policy} if policy is not None else {})}


def step(name: str, ancestor: str = "", *, container: str = "", resources: Any = None, **more: Any) -> dict[str, Any]:
    """One replicated Job of a runtime."""
    body: dict[str, Any] = {"name": container or name, "image": "busybox"}
    if resources:
        body["resources"] = resources
    labels = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": ancestor}} if ancestor else {}
    return {"name": name, "template": {"metadata": labels, "spec": {"template": {"spec": {"containers": [
        body]}}}}} | more


def job_set_state(job_set: Object, condition: str = "", reason: str = "AllJobsCompleted", **counts: int) -> Object:
    """The JobSet with a status, as its controller leaves it."""
    jobs = [{"name": job["name"], "ready": 0, "succeeded": 0, "failed": 0, "active": 0, "suspended": 0} | counts
            for job in job_set["spec"]["replicatedJobs"]]
    state: dict[str, Any] = {"replicatedJobsStatus": jobs}
    if condition:
        state["conditions"] = [{"type": condition, "status": "True", "reason": reason, "message": "said so",
                                "lastTransitionTime": CREATED}]
    return job_set | {"status": state}
