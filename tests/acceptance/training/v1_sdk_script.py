"""What a user of the ``kubeflow-training`` SDK does with v1 jobs: run by its own interpreter, with nothing of ours.

I say "all done" at the end.
"""

from __future__ import annotations

from kubeflow.training import (
    KubeflowOrgV1ReplicaSpec,
    KubeflowOrgV1RunPolicy,
    KubeflowOrgV1XGBoostJob,
    KubeflowOrgV1XGBoostJobSpec,
    TrainingClient,
)
from kubernetes.client import V1Container, V1ObjectMeta, V1PodSpec, V1PodTemplateSpec


def train(parameters):
    import json
    import os

    config = json.loads(os.environ["TF_CONFIG"])
    print("task", config["task"]["index"], "of", len(config["cluster"]["worker"]), "rate", parameters["rate"],
          flush=True)


def replicas(count, *command):
    container = V1Container(name="xgboost", image="busybox", command=list(command))
    return KubeflowOrgV1ReplicaSpec(replicas=count, restart_policy="Never", template=V1PodTemplateSpec(
        spec=V1PodSpec(containers=[container])))


def main() -> None:
    client = TrainingClient(namespace="default", job_kind="TFJob")
    client.create_job(name="by-function", train_func=train, parameters={"rate": 0.5}, num_workers=2,
                      base_image="python:3.11", env_vars={"A": "b"}, resources_per_worker={"cpu": "100m"})
    job = client.wait_for_job_conditions("by-function", wait_timeout=60, polling_interval=1)
    assert client.is_job_succeeded("by-function") and job.status.completion_time, job.status
    assert client.is_job_created("by-function") and not client.is_job_failed("by-function")
    assert client.get_job_pod_names("by-function", is_master=True) == ["by-function-worker-0"]
    assert sorted(client.get_job_pod_names("by-function", replica_type="worker")) == [
        "by-function-worker-0", "by-function-worker-1"]
    logs, _ = client.get_job_logs("by-function", is_master=True)
    assert "task 0 of 2 rate 0.5" in logs["by-function-worker-0"], logs

    client.create_job(job=KubeflowOrgV1XGBoostJob(
        api_version="kubeflow.org/v1", kind="XGBoostJob", metadata=V1ObjectMeta(name="by-object"),
        spec=KubeflowOrgV1XGBoostJobSpec(
            run_policy=KubeflowOrgV1RunPolicy(clean_pod_policy="All"),
            xgb_replica_specs={"Master": replicas(1, "sh", "-c", "exit 3"), "Worker": replicas(1, "sleep", "1000")})))
    try:
        client.wait_for_job_conditions("by-object", job_kind="XGBoostJob", wait_timeout=60, polling_interval=1)
    except RuntimeError as problem:
        assert "is Failed" in str(problem), problem
    else:
        raise AssertionError("a failed job was waited for to its good end")
    assert client.is_job_failed("by-object", job_kind="XGBoostJob")

    assert {one.metadata.name for one in client.list_jobs()} == {"by-function"}
    client.update_job(client.get_job("by-function"), name="by-function")
    for name, kind in (("by-function", "TFJob"), ("by-object", "XGBoostJob")):
        client.delete_job(name, job_kind=kind)
        assert not client.list_jobs(job_kind=kind)
    print("all done")


if __name__ == "__main__":
    main()
