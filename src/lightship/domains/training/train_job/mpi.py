"""MPI's policy: a launcher that runs ``mpirun``, nodes that it reaches by ssh, the list of hosts, the pair of keys.

Pure; ``policies`` calls ``enforce`` with its draft, ``lower`` asks for the objects, ``admission`` for what is reserved.
Only OpenMPI is there, as upstream.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from lightship.domains.training import names
from lightship.domains.training.train_job.draft import Container, Draft, Step, gpus, upsert
from lightship.kube import objects
from lightship.kube.objects import Object

HOST_FILE = "hostfile"
_HOST_FILE_DIRECTORY = "/etc/mpi"
_HOST_FILE_VOLUME, _KEYS_VOLUME = "mpi-hostfile", "mpi-ssh-auth"
_PRIVATE_KEY, _PUBLIC_KEY = "ssh-privatekey", "ssh-publickey"
_DEFAULT_KEYS_PATH = "/root/" + ".ssh"
_ONLY_OWNER, _GROUP_READS, _ALL_READ, _READ_ONLY = 0o400, 0o640, 0o644, 0o444
_AT_HOSTS = "OMPI_MCA_orte_default_hostfile"
_AT_NAMES = "OMPI_MCA_orte_keep_fqdn_hostnames"
_AT_SLOTS = "OMPI_MCA_orte_set_default_slots"
_AT_SSH = "OMPI_MCA_plm_rsh_args"
RESERVED = frozenset({_AT_HOSTS, _AT_NAMES, _AT_SLOTS, _AT_SSH})
"""Variables that a user may not set."""

Policy = Mapping[str, Any]


def of(policy: Mapping[str, Any] | None) -> Policy | None:
    """MPI's part of a runtime's policy, if that is what it is."""
    found: Policy | None = (policy or {}).get("mpi")
    return found


def launcher_is_node(policy: Mapping[str, Any] | None) -> bool:
    """Whether the launcher computes too: then the TrainJob's variables and resources are for the nodes as well."""
    return bool((of(policy) or {}).get("runLauncherAsNode"))


def sized(step: Step, policy: Mapping[str, Any] | None) -> bool:
    """Whether the TrainJob's resources are for this step, beside the trainer's own."""
    return step.name == names.NODE and launcher_is_node(policy)


def enforce(draft: Draft, job: Object, policy: Policy, resources: Mapping[str, Any]) -> None:
    """Set the number of nodes; mount keys and hosts; tell ``mpirun`` of them. ``resources`` are those of a node."""
    trainer = objects.spec(job).get("trainer") or {}
    wanted = trainer.get("numNodes")
    nodes = next((step for step in draft.steps if step.name == names.NODE), None)
    if wanted is not None and nodes is not None:
        nodes.count = max(int(wanted) - 1, 1) if policy.get("runLauncherAsNode") else int(wanted)
    for step in draft.steps:
        if step.name in (names.NODE, names.LAUNCHER):
            _mount(step, job, policy)
        node = step.container(names.NODE)
        if node is None:
            continue
        if step.name == names.NODE and policy.get("runLauncherAsNode"):
            node.env = upsert(node.env, trainer.get("env") or ())
        if step.name == names.LAUNCHER:
            node.env = upsert(node.env, _variables(slots(trainer, policy, resources)))


def slots(trainer: Mapping[str, Any], policy: Policy, resources: Mapping[str, Any]) -> int:
    """The processes of a node: as the TrainJob asks, as the runtime says, or one for each GPU."""
    if trainer.get("numProcPerNode") is not None:
        return int(trainer["numProcPerNode"])
    said = int(policy.get("numProcPerNode") or 1)
    return max(said, gpus(resources)) if said == 1 else said


def make_hosts(draft: Draft, job: Object, policy: Policy, resources: Mapping[str, Any]) -> Object:
    """The ConfigMap with the list of hosts, in the order of the runtime's Jobs."""
    count = slots(objects.spec(job).get("trainer") or {}, policy, resources)
    computing = {names.NODE} | ({names.LAUNCHER} if policy.get("runLauncherAsNode") else set())
    domain = (draft.network or {}).get("subdomain") or objects.name(job)
    hosts = [f"{objects.name(job)}-{step.name}-0-{place}.{domain} slots={count}\n"
             for step in draft.steps if step.name in computing for place in range(step.count)]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _owned(job, names.mpi_hosts(objects.name(job))),
            "data": {HOST_FILE: "".join(hosts)}}


def make_keys(job: Object, private: bytes, public: bytes) -> Object:
    """The Secret with the pair of keys by which the launcher enters the nodes. It never changes."""
    data = {_PRIVATE_KEY: private, _PUBLIC_KEY: public}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _owned(job, names.mpi_keys(objects.name(job))),
            "type": "kubernetes.io/ssh-auth", "immutable": True,
            "data": {name: base64.b64encode(value).decode() for name, value in data.items()}}


def _owned(job: Object, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": objects.namespace(job), "ownerReferences": [objects.owner_reference(job)]}


def _mount(step: Step, job: Object, policy: Policy) -> None:
    """The volumes of a step, and where its container ``node`` sees them."""
    launcher = step.name == names.LAUNCHER
    keys = {"secretName": names.mpi_keys(objects.name(job)), "defaultMode": _ONLY_OWNER, "items": [
        {"key": _PRIVATE_KEY, "path": "id_rsa", "mode": _GROUP_READS},
        {"key": _PUBLIC_KEY, "path": "id_rsa.pub", "mode": _ALL_READ},
        {"key": _PUBLIC_KEY, "path": "authorized_keys", "mode": _ALL_READ}]}
    volumes: list[dict[str, Any]] = [{"name": _KEYS_VOLUME, "secret": keys}]
    if launcher:
        volumes.append({"name": _HOST_FILE_VOLUME, "configMap": {
            "name": names.mpi_hosts(objects.name(job)),
            "items": [{"key": HOST_FILE, "path": HOST_FILE, "mode": _READ_ONLY}]}})
    step.pod["volumes"] = upsert(step.pod.get("volumes") or (), volumes)
    for container in step.pod.get("containers") or ():
        if container.get("name") == names.NODE:
            _see(Container(container), policy, launcher=launcher)


def _see(node: Container, policy: Policy, *, launcher: bool) -> None:
    mounts = [{"name": _KEYS_VOLUME, "mountPath": policy.get("sshAuthMountPath") or _DEFAULT_KEYS_PATH}]
    if launcher:
        mounts.append({"name": _HOST_FILE_VOLUME, "mountPath": _HOST_FILE_DIRECTORY})
    node.body["volumeMounts"] = upsert(node.body.get("volumeMounts") or (), mounts, key="mountPath")


def _variables(count: int) -> Sequence[dict[str, Any]]:
    values = {_AT_HOSTS: f"{_HOST_FILE_DIRECTORY}/{HOST_FILE}", _AT_NAMES: "true", _AT_SLOTS: str(count),
              _AT_SSH: "-o ConnectionAttempts=10"}
    return [{"name": name, "value": value} for name, value in values.items()]
