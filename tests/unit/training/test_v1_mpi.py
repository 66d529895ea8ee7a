"""MPIJob: upstream's objects for a launcher that starts its processes in workers, and who decides about its end."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.domains.training.v1 import admission
from lightship.domains.training.v1.frameworks import mpi
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import CONFIGMAPS, PODS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS
from tests.unit.training import test_v1_reconciler as tables
from tests.unit.training.v1_objects import FRAMEWORKS, env_of, job_object, pod_of, read

BOTH = {"Worker": 2, "Launcher": 1}


def extras_of(obj: Object, *pods: Object) -> dict[str, Object]:
    return {extra.resource.kind: extra.obj for extra in mpi.extras(read(obj), pods)}


def template(**container: Any) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": "mpi", "image": "busybox"} | container]}}}


def test_the_launcher_is_brought_kubectl_and_told_of_script_and_hosts() -> None:
    pod = pod_of(job_object("MPIJob", BOTH), "Launcher", 0)
    assert objects.name(pod) == "run-launcher" and objects.labels(pod)["training.kubeflow.org/job-role"] == "master"
    assert env_of(pod) == {
        "OMPI_MCA_plm_rsh_agent": "/etc/mpi/kubexec.sh", "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile",
        "NVIDIA_VISIBLE_DEVICES": "", "NVIDIA_DRIVER_CAPABILITIES": "", "I_MPI_HYDRA_BOOTSTRAP": "rsh",
        "I_MPI_HYDRA_BOOTSTRAP_EXEC": "/etc/mpi/kubexec.sh"}
    spec = pod["spec"]
    assert spec["serviceAccountName"] == "run-launcher" and spec["restartPolicy"] == "Never"
    mounts = [{"name": "mpi-job-kubectl", "mountPath": "/opt/kube"},
              {"name": "mpi-job-config", "mountPath": "/etc/mpi"}]
    delivery, = spec["initContainers"]
    assert delivery["image"] == "kubeflow/kubectl-delivery:latest" and delivery["volumeMounts"] == mounts
    assert delivery["env"] == [{"name": "TARGET_DIR", "value": "/opt/kube"}, {"name": "NAMESPACE", "value": "default"}]
    assert delivery["resources"]["limits"] == {"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "5Gi"}
    assert spec["containers"][0]["volumeMounts"] == mounts
    assert spec["volumes"] == [{"name": "mpi-job-kubectl", "emptyDir": {}}, {"name": "mpi-job-config", "configMap": {
        "name": "run-config", "items": [{"key": "kubexec.sh", "path": "kubexec.sh", "mode": 0o555},
                                        {"key": "hostfile", "path": "hostfile", "mode": 0o444},
                                        {"key": "discover_hosts.sh", "path": "discover_hosts.sh", "mode": 0o555}]}}]


def test_a_worker_sleeps_unless_it_has_a_command_and_has_the_script() -> None:
    pod = pod_of(job_object("MPIJob", BOTH), "Worker", 1)
    assert objects.name(pod) == "run-worker-1" and not env_of(pod) and "initContainers" not in pod["spec"]
    container = pod["spec"]["containers"][0]
    assert (container["command"], container["args"]) == (["sleep"], ["365d"])
    assert container["volumeMounts"] == [{"name": "mpi-job-config", "mountPath": "/etc/mpi"}]
    assert [item["key"] for item in pod["spec"]["volumes"][0]["configMap"]["items"]] == ["kubexec.sh"]
    own = pod_of(job_object("MPIJob", {"Worker": template(command=["mine"]), "Launcher": 1}), "Worker", 0)
    assert own["spec"]["containers"][0]["command"] == ["mine"] and "args" not in own["spec"]["containers"][0]


def test_hosts_script_and_what_the_account_may() -> None:
    job = job_object("MPIJob", BOTH, slotsPerWorker=3, mainContainer="mpi")
    running = [pod_of(job, "Worker", 1, "Running"), pod_of(job, "Worker", 0, "Pending"),
               pod_of(job, "Launcher", 0, "Running")]
    found = extras_of(job, *running)
    assert list(found) == ["ServiceAccount", "ConfigMap", "Role", "RoleBinding"]
    assert found["ConfigMap"]["metadata"]["name"] == "run-config"
    assert found["ConfigMap"]["data"] == {
        "hostfile": "run-worker-0 slots=3\nrun-worker-1 slots=3\n",
        "kubexec.sh": '#!/bin/sh\nset -x\nPOD_NAME=$1\nshift\n/opt/kube/kubectl exec ${POD_NAME} --container mpi -- '
                      '/bin/sh -c "$*"',
        "discover_hosts.sh": "#!/bin/sh\necho run-worker-1:3"}
    assert found["Role"]["rules"] == [
        {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["create", "get"], "apiGroups": [""], "resources": ["pods/exec"],
         "resourceNames": ["run-worker-0", "run-worker-1"]}]
    assert found["RoleBinding"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "run-launcher", "namespace": "default"}]
    assert all(objects.controller_of(one)["uid"] == "run-uid" for one in found.values())  # type: ignore[index]


def test_a_launcher_with_gpus_is_a_host() -> None:
    launcher = template(resources={"limits": {"nvidia.com/gpu": 1}},
                        env=[{"name": "I_MPI_HYDRA_BOOTSTRAP", "value": "mine"}])
    job = job_object("MPIJob", {"Worker": 1, "Launcher": launcher})
    assert extras_of(job)["ConfigMap"]["data"]["hostfile"] == "run-launcher slots=1\nrun-worker-0 slots=1\n"
    variables = env_of(pod_of(job, "Launcher", 0))
    assert "NVIDIA_VISIBLE_DEVICES" not in variables and variables["I_MPI_HYDRA_BOOTSTRAP"] == "mine"


def test_an_account_that_is_named_is_the_users() -> None:
    launcher = template()
    launcher["template"]["spec"]["serviceAccountName"] = "mine"
    job = job_object("MPIJob", {"Worker": 1, "Launcher": launcher})
    assert "ServiceAccount" not in extras_of(job)
    assert extras_of(job)["RoleBinding"]["subjects"][0]["name"] == "mine"
    assert pod_of(job, "Launcher", 0)["spec"]["serviceAccountName"] == "mine"


@pytest.mark.parametrize(("given", "policy", "cleaned"), [
    ({}, {}, "None"), ({"cleanPodPolicy": "Running"}, {}, "Running"), ({}, {"cleanPodPolicy": "All"}, "All")])
def test_the_policy_of_cleaning_up_may_be_in_either_place(given: Any, policy: Any, cleaned: str) -> None:
    spec = job_object("MPIJob", BOTH, policy=policy, **given)["spec"]
    assert spec["cleanPodPolicy"] == spec["runPolicy"]["cleanPodPolicy"] == cleaned


@pytest.mark.parametrize(("job", "words"), [
    (job_object("MPIJob", {"Worker": 2}), "must be present"),
    (job_object("MPIJob", {"Launcher": 2}), "only 1 launcher"),
    (job_object("MPIJob", BOTH, slotsPerWorker=-1), "greater than or equal to 0"),
    (job_object("MPIJob", BOTH | {"Master": 1}), 'Unsupported value: "Master"'),
    (job_object("MPIJob", {"Worker": 10_000, "Launcher": 1}), "at most 1000 replicas"),
])
def test_what_is_refused(job: Object, words: str) -> None:
    assert words in "; ".join(fault.message for fault in admission.validate(FRAMEWORKS["MPIJob"], job, None))


TABLE_KINDS = (*tables.KINDS, SERVICE_ACCOUNTS, CONFIGMAPS, ROLES, ROLE_BINDINGS)


async def run(*world: Object) -> tables.Outcome:
    table = tables.table_of("MPIJob")
    return await tables.ReconcilerTable(build=table.build, kinds=TABLE_KINDS).run(tables.RUN, *world)


async def test_everything_is_there_before_the_launcher_and_no_service_is_made() -> None:
    outcome = await run(job_object("MPIJob", BOTH))
    assert outcome.words == [
        "create serviceaccounts default/run-launcher", "create configmaps default/run-config",
        "create roles default/run-launcher", "create rolebindings default/run-launcher",
        "create pods default/run-worker-0", "create pods default/run-worker-1", "create pods default/run-launcher",
        "patch mpijobs/status default/run"]


async def test_a_suspended_job_has_nothing() -> None:
    outcome = await run(job_object("MPIJob", BOTH, policy={"suspend": True}))
    assert outcome.words == ["patch mpijobs/status default/run"]


@pytest.mark.parametrize(("phase", "code", "condition"), [("Succeeded", 0, "Succeeded"), ("Failed", 3, "Failed")])
async def test_the_launchers_end_is_the_jobs(phase: str, code: int, condition: str) -> None:
    job = job_object("MPIJob", BOTH, policy={"cleanPodPolicy": "Running"})
    pods = [*(pod_of(job, "Worker", place, "Running") for place in (0, 1)), pod_of(job, "Launcher", 0, phase, code)]
    outcome = await run(job, *pods, *extras_of(job, *pods).values())
    found = outcome.object(FRAMEWORKS["MPIJob"].resource, "run")
    assert {one["type"] for one in found["status"]["conditions"] if one["status"] == "True"} >= {condition}
    cleaned = await run(found, *pods, *extras_of(job, *pods).values())
    gone = [word for word in cleaned.words if word.startswith("delete")]
    assert gone == ["delete pods default/run-worker-0", "delete pods default/run-worker-1"]
    assert cleaned.object(PODS, "run-launcher")


async def test_a_worker_that_dies_midway_fails_the_job() -> None:
    job = job_object("MPIJob", BOTH)
    pods = [pod_of(job, "Worker", 0, "Failed", 1), pod_of(job, "Worker", 1, "Running"),
            pod_of(job, "Launcher", 0, "Running")]
    outcome = await run(job, *pods)
    failed = outcome.object(FRAMEWORKS["MPIJob"].resource, "run")["status"]["conditions"][-1]
    assert failed["type"] == "Failed"
    assert failed["message"].startswith("MPIJob run is failed because 1 Worker replica(s) failed.")
