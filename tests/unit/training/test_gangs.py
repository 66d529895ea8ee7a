"""A TrainJob's PodGroup: of whom, here and on other clusters, and what a training needs to report of itself."""

from __future__ import annotations

from typing import Any

from lightship.domains.training import EMBEDDED, OTHER
from lightship.domains.training.train_job import lower
from lightship.kube.objects import Object
from tests.unit.training.objects_of import cluster_runtime, runtime, step, train_job

NODE = {"requests": {"cpu": "500m", "memory": "1Gi"}}
LABEL = {"scheduling.x-k8s.io/pod-group": "run"}


def pod_labels(job_set: Object) -> dict[str, Any]:
    return {job["name"]: job["template"]["spec"]["template"].get("metadata", {}).get("labels")
            for job in job_set["spec"]["replicatedJobs"]}


def made(job: Object, of: Object, site: Any = EMBEDDED) -> tuple[Any, dict[str, Any]]:
    return lower.make_pod_group(job, of, site), pod_labels(lower.make_job_set(job, of, site))


def test_all_nodes_of_a_training_are_its_gang() -> None:
    group, labels = made(train_job({"numNodes": 3, "resourcesPerNode": NODE}), cluster_runtime())
    assert group["spec"] == {"minMember": 3, "scheduleTimeoutSeconds": 60,
                             "minResources": {"cpu": "1500m", "memory": "3Gi"}}
    assert group["metadata"]["name"] == "run" and group["metadata"]["ownerReferences"][0]["kind"] == "TrainJob"
    assert labels == {"node": LABEL}


def test_what_has_to_be_over_before_is_no_member() -> None:
    trainer = step("node", "trainer", dependsOn=[{"name": "dataset-initializer", "status": "Complete"}])
    mine = runtime(step("dataset-initializer", "dataset-initializer"), trainer, policy={"numNodes": 2},
                   podGroupPolicy={"coscheduling": {"scheduleTimeoutSeconds": 5}})
    mine["spec"]["podGroupPolicy"] = {"coscheduling": {"scheduleTimeoutSeconds": 5}}
    group, labels = made(train_job({}), mine)
    assert group["spec"] == {"minMember": 2, "scheduleTimeoutSeconds": 5}
    assert labels == {"dataset-initializer": None, "node": LABEL}


def test_a_launcher_that_waits_for_the_nodes_is_a_member_but_not_of_the_least() -> None:
    group, labels = made(train_job({"numNodes": 3}), cluster_runtime("deepspeed-distributed"))
    assert group["spec"]["minMember"] == 2, "two nodes, and the launcher that computes, too"
    assert labels == {"node": LABEL, "launcher": LABEL}
    in_order = runtime(step("node", "trainer"), step("watcher"), policy={"numNodes": 2},
                       startupPolicy={"startupPolicyOrder": "InOrder"})
    assert made(train_job({}), in_order)[0]["spec"]["minMember"] == 2


def test_on_another_cluster_a_runtime_has_to_ask_and_gets_upstreams_objects() -> None:
    assert made(train_job({"numNodes": 3}), cluster_runtime(), OTHER) == (None, {"node": None})
    trainer = step("node", "trainer", resources=NODE, dependsOn=[{"name": "dataset-initializer", "status": "Complete"}])
    mine = runtime(step("dataset-initializer", "dataset-initializer"), trainer, policy={"numNodes": 2})
    mine["spec"]["podGroupPolicy"] = {"coscheduling": {"scheduleTimeoutSeconds": 120}}
    group, labels = made(train_job({}), mine, OTHER)
    assert group["apiVersion"] == "scheduling.x-k8s.io/v1alpha1"
    assert group["spec"] == {"minMember": 3, "scheduleTimeoutSeconds": 120,
                             "minResources": {"cpu": "1", "memory": "2Gi"}}
    assert labels == {"dataset-initializer": LABEL, "node": LABEL}


def test_volcanos_group_with_its_queue_and_topology() -> None:
    mine = runtime(step("node", "trainer"), policy={"numNodes": 2})
    mine["spec"]["template"]["metadata"]["annotations"] = {"scheduling.volcano.sh/queue-name": "slow"}
    pod = mine["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    pod["priorityClassName"] = "high"
    mine["spec"]["podGroupPolicy"] = {"volcano": {"networkTopology": {"mode": "hard", "highestTierAllowed": 1}}}
    patch = {"manager": "me.io/x", "trainingRuntimeSpec": {"template": {"metadata": {"annotations": {
        "scheduling.volcano.sh/queue-name": "fast"}}}}}
    job = train_job({}, runtimePatches=[patch])
    group, _ = made(job, mine, OTHER)
    assert group["apiVersion"] == "scheduling.volcano.sh/v1beta1"
    assert group["spec"] == {"minMember": 2, "queue": "fast", "priorityClassName": "high",
                             "networkTopology": {"mode": "hard", "highestTierAllowed": 1}}
    template = lower.make_job_set(job, mine, OTHER)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert template["metadata"]["annotations"] == {"scheduling.k8s.io/group-name": "run"}


def test_a_training_is_told_where_to_report_and_gets_a_token_for_that_alone() -> None:
    job_set = lower.make_job_set(train_job({}), cluster_runtime(), EMBEDDED)
    pod = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    env = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    about = "v1alpha1/namespaces/default/trainjobs/run/status"
    assert env["KUBEFLOW_TRAINER_SERVER_URL"].endswith(f"/apis/trainer.kubeflow.org/{about}")
    assert env["KUBEFLOW_TRAINER_SERVER_TOKEN"] == "/var/run/secrets/kubeflow/trainer/token"
    assert env["KUBEFLOW_TRAINER_SERVER_CA_CERT"] == "/var/run/secrets/kubeflow/trainer/ca.crt"
    token, ca = pod["volumes"][0]["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == f"trainer.kubeflow.org/{about}"
    assert ca["configMap"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


def test_what_lies_in_a_claim_is_copied_inside_the_pod() -> None:
    mine = runtime(step("dataset-initializer", "dataset-initializer"), step("node", "trainer"), policy={"numNodes": 1})
    job = train_job({}, initializer={"dataset": {"storageUri": "pvc://mine/some/place"}})
    pod = lower.make_job_set(job, mine, EMBEDDED)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"][-2:] == ["/mnt/lightship-source/some/place", "/workspace/dataset"]
    assert pod["volumes"] == [{"name": "lightship-source", "persistentVolumeClaim": {
        "claimName": "mine", "readOnly": True}}]
    elsewhere = lower.make_job_set(job, mine, OTHER)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert "command" not in elsewhere["spec"]["containers"][0]
