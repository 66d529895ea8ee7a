"""MPIJob: a launcher whose ``mpirun`` starts its processes in the workers by ``kubectl exec``.

What it needs for that are objects of the job's own: the list of hosts and the scripts in a ConfigMap, and an account
that may run commands in its workers and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lightship.client.client import Selection
from lightship.domains.furniture import FieldError
from lightship.domains.training import schema as s
from lightship.domains.training.v1 import children, names
from lightship.domains.training.v1.framework import Extra, Framework, Job, PodSpec, by_path, plain
from lightship.domains.training.v1.resources import AGE, STATE, resource
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import CONFIGMAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS

KUBECTL_IMAGE = "kubeflow/kubectl-delivery:latest"
_SPECS = "mpiReplicaSpecs"
_SCRIPTS, _SCRIPTS_PATH = "mpi-job-config", "/etc/mpi"
_KUBECTL, _KUBECTL_PATH = "mpi-job-kubectl", "/opt/kube"
_KUBEXEC, _HOSTS, _DISCOVER = "kubexec.sh", "hostfile", "discover_hosts.sh"
_PROGRAM, _TEXT = 0o555, 0o444
_DELIVERY_NEEDS = {"cpu": "100m", "ephemeral-storage": "5Gi", "memory": "512Mi"}
_EXEC = ("create", "get")
"""Upstream gives the first alone, from when kubectl spoke SPDY; over a WebSocket it asks by the second too."""
_SLEEP = {"command": ["sleep"], "args": ["365d"]}
_CLEAN = "cleanPodPolicy"


def launcher(job: str) -> str:
    return f"{job}-launcher"


def _name(job: str, type: str, index: int) -> str:
    """There is one launcher, and its name has no number."""
    return launcher(job) if type == names.LAUNCHER else names.replica(job, type, index)


def _shape(spec: PodSpec, job: Job, type: str, index: int) -> PodSpec:
    return _launcher(spec, job) if type == names.LAUNCHER else _worker(spec, job)


def _worker(spec: PodSpec, job: Job) -> PodSpec:
    """A worker waits, unless told otherwise; Open MPI looks for the script on each host."""
    first, *rest = _containers(spec)
    if not first.get("command"):
        first = first | _SLEEP
    first = _with(first, "volumeMounts", {"name": _SCRIPTS, "mountPath": _SCRIPTS_PATH})
    return _with(spec | {"containers": [first, *rest]}, "volumes", _scripts(job, {_KUBEXEC: _PROGRAM}))


def _launcher(spec: PodSpec, job: Job) -> PodSpec:
    first, *rest = _containers(spec)
    mounts = [{"name": _KUBECTL, "mountPath": _KUBECTL_PATH}, {"name": _SCRIPTS, "mountPath": _SCRIPTS_PATH}]
    delivery = {
        "name": "kubectl-delivery", "image": KUBECTL_IMAGE, "imagePullPolicy": "IfNotPresent",
        "env": [plain("TARGET_DIR", _KUBECTL_PATH), plain("NAMESPACE", job.namespace)], "volumeMounts": mounts,
        "resources": {"limits": dict(_DELIVERY_NEEDS), "requests": dict(_DELIVERY_NEEDS)}}
    first = _with(_with(first, "env", *_variables(first, job)), "volumeMounts", *mounts)
    scripts = _scripts(job, {_KUBEXEC: _PROGRAM, _HOSTS: _TEXT, _DISCOVER: _PROGRAM})
    made = _with(_with(spec | {"containers": [first, *rest]}, "volumes", {"name": _KUBECTL, "emptyDir": {}}, scripts),
                 "initContainers", delivery)
    return made | {"serviceAccountName": spec.get("serviceAccountName") or launcher(job.name)}


def _containers(spec: PodSpec) -> list[dict[str, Any]]:
    return list(spec["containers"])  # admission has refused a template without one


def _variables(container: Mapping[str, Any], job: Job) -> Iterator[dict[str, Any]]:
    agent = f"{_SCRIPTS_PATH}/{_KUBEXEC}"
    given = {variable.get("name") for variable in container.get("env") or ()}
    yield plain("OMPI_MCA_plm_rsh_agent", agent)
    yield plain("OMPI_MCA_orte_default_hostfile", f"{_SCRIPTS_PATH}/{_HOSTS}")
    if not computes(job):  # so that no runtime gives it GPUs that it did not ask for
        yield plain("NVIDIA_VISIBLE_DEVICES", "")
        yield plain("NVIDIA_DRIVER_CAPABILITIES", "")
    for name, value in (("I_MPI_HYDRA_BOOTSTRAP", "rsh"), ("I_MPI_HYDRA_BOOTSTRAP_EXEC", agent)):
        if name not in given:
            yield plain(name, value)


def computes(job: Job) -> bool:
    """Whether the launcher is a host of its own list: it is one if it asks for GPUs."""
    containers = objects.spec(job.replicas[names.LAUNCHER].template).get("containers") or ()
    limits = [name for one in containers for name in (one.get("resources") or {}).get("limits") or ()]
    return any(name.endswith(".com/gpu") or "gpu" in name for name in limits)


def _with(body: dict[str, Any], field: str, *more: Mapping[str, Any]) -> dict[str, Any]:
    return body | {field: [*(body.get(field) or ()), *more]}


def _scripts(job: Job, files: Mapping[str, int]) -> dict[str, Any]:
    return {"name": _SCRIPTS, "configMap": {"name": f"{job.name}-config", "items": [
        {"key": name, "path": name, "mode": mode} for name, mode in files.items()]}}


def extras(job: Job, pods: Sequence[Object]) -> Sequence[Extra]:
    """The account, the ConfigMap, and what the account may; none of them is taken away before the job is."""
    if names.LAUNCHER not in job.replicas or job.policy.suspend:
        return ()
    account = objects.spec(job.replicas[names.LAUNCHER].template).get("serviceAccountName")
    meta = _meta(job, launcher(job.name))
    workers = [_name(job.name, names.WORKER, index) for index in range(_workers(job))]
    rules = [{"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]},
             {"verbs": list(_EXEC), "apiGroups": [""], "resources": ["pods/exec"], "resourceNames": workers}]
    group = ROLES.group
    made = [
        Extra(resource=CONFIGMAPS, obj={"apiVersion": "v1", "kind": "ConfigMap",
                                        "metadata": _meta(job, f"{job.name}-config"), "data": _data(job, pods)}),
        Extra(resource=ROLES, obj={"apiVersion": ROLES.api_version, "kind": "Role", "metadata": meta,
                                   "rules": rules if workers else rules[:1]}),
        Extra(resource=ROLE_BINDINGS, obj={
            "apiVersion": ROLE_BINDINGS.api_version, "kind": "RoleBinding", "metadata": meta,
            "subjects": [{"kind": "ServiceAccount", "name": account or launcher(job.name),
                          "namespace": job.namespace}],
            "roleRef": {"apiGroup": group, "kind": "Role", "name": launcher(job.name)}})]
    if account:
        return made  # whoever names an account has one
    return [Extra(resource=SERVICE_ACCOUNTS, obj={"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
            *made]


def _meta(job: Job, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": job.namespace, "labels": {"app": job.name} | children.labels(job),
            "ownerReferences": [objects.owner_reference(job.obj)]}


def _workers(job: Job) -> int:
    found = job.replicas.get(names.WORKER)
    return found.count if found is not None else 0


def _data(job: Job, pods: Sequence[Object]) -> dict[str, str]:
    slots = job.spec.get("slotsPerWorker")
    slots = 1 if slots is None else int(slots)
    own = [launcher(job.name)] if computes(job) else []
    hosts = [*own, *(_name(job.name, names.WORKER, index) for index in range(_workers(job)))]
    running = sorted(objects.name(pod) for pod in pods if objects.status(pod).get("phase") == "Running"
                     and objects.labels(pod).get(names.TYPE_LABEL) == names.WORKER.lower())
    container = job.spec.get("mainContainer")
    chosen = f" --container {container}" if container else ""
    discover = "#!/bin/sh" + "".join(f"\necho {host}:{slots}\n" for host in own)
    return {
        _HOSTS: "".join(f"{host} slots={slots}\n" for host in hosts),
        _KUBEXEC: f"#!/bin/sh\nset -x\nPOD_NAME=$1\nshift\n{_KUBECTL_PATH}/kubectl exec ${{POD_NAME}}{chosen} "
                  '-- /bin/sh -c "$*"',
        _DISCOVER: discover + "".join(f"\necho {host}:{slots}" for host in running)}


def _default(spec: dict[str, Any]) -> dict[str, Any]:
    """The policy of cleaning up may be in either of two places; where it is in one, it is in the other too."""
    policy = spec["runPolicy"]
    chosen = spec.get(_CLEAN) if policy[_CLEAN] == names.CLEAN_NONE else policy[_CLEAN]
    chosen = chosen or names.CLEAN_NONE
    return spec | {_CLEAN: chosen, "runPolicy": policy | {_CLEAN: chosen}}


def _check(spec: Mapping[str, Any]) -> Iterable[FieldError]:
    given = (spec.get(_SPECS) or {}).get(names.LAUNCHER)
    place = f"spec.{_SPECS}[{names.LAUNCHER}]"
    if given is None:
        yield FieldError(path=place, message="Required value: must be present")
    elif given.get("replicas") != 1:
        yield FieldError(path=f"{place}.replicas", message="Invalid value: there must be only 1 launcher replica")
    if (spec.get("slotsPerWorker") or 0) < 0:
        yield FieldError(path="spec.slotsPerWorker", message="Invalid value: must be greater than or equal to 0")


_MINE = Selection(labels=f"{names.OPERATOR_LABEL}={names.operator('MPIJob')}")

FRAMEWORK = Framework(
    resource=resource("MPIJob", columns=(AGE, STATE)), specs=_SPECS, types=(names.WORKER, names.LAUNCHER),
    container="mpi", port_name="", port=9999, restart_policy=names.NEVER, shape=_shape, services=False,
    main_container=False, leader=lambda job: names.LAUNCHER, replica_name=_name, words=by_path,
    master_role=lambda job, type, index: type == names.LAUNCHER, default=_default, check=_check,
    fields={"slotsPerWorker": s.number(), _CLEAN: s.text(), "mainContainer": s.text()},
    extras=extras, extra_kinds=tuple((kind, _MINE) for kind in (SERVICE_ACCOUNTS, CONFIGMAPS, ROLES, ROLE_BINDINGS)))
