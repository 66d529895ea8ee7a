"""The ClusterTrainingRuntimes that Lightship ships, under upstream's names and with its images. Pure data.

What an image means on a node is its image catalogue's business. ``plain-distributed`` and ``tensorflow-distributed``
are ours; upstream's torchtune runtimes are left out until this version can run them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightship.domains.training import kinds, names
from lightship.kube.objects import Object


def runtimes() -> Sequence[Object]:
    return (
        _runtime("torch-distributed", "torch", "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime", {"torch": {}}),
        _runtime("jax-distributed", "jax", "nvcr.io/nvidia/jax:25.10-py3", {"jax": {}}),
        _runtime("xgboost-distributed", "xgboost", "ghcr.io/kubeflow/trainer/xgboost-runtime", {"xgboost": {}}),
        _mpi_runtime("deepspeed"), _mpi_runtime("mlx"),
        _runtime("tensorflow-distributed", "tensorflow", "tensorflow/tensorflow:2.20.0", {}),
        _runtime("plain-distributed", "plain", "python:3.11", {}),
    )


def _runtime(name: str, framework: str, image: str, policy: dict[str, Any]) -> Object:
    pod = {"spec": {"containers": [{"name": names.NODE, "image": image}]}}
    job = {"name": names.NODE, "template": {
        "metadata": {"labels": {names.ANCESTOR_LABEL: names.TRAINER}}, "spec": {"template": pod}}}
    return _named(name, framework, {"mlPolicy": {"numNodes": 1} | policy,
                                    "template": {"spec": {"replicatedJobs": [job]}}})


def _mpi_runtime(framework: str) -> Object:
    """Nodes that wait for ssh, and a launcher that computes too, once they do."""
    image, home = f"ghcr.io/kubeflow/trainer/{framework}-runtime", "/home/mpiuser"
    me: dict[str, Any] = {"name": names.NODE, "image": image, "securityContext": {"runAsUser": 1000}}
    waiting = me | {"command": ["/usr/sbin/sshd"], "args": ["-De", "-f", f"{home}/.sshd_config"],
                    "readinessProbe": {"tcpSocket": {"port": 2222}, "initialDelaySeconds": 5}}
    pod, node_pod = ({"spec": {"securityContext": {"fsGroup": 1000}, "containers": [one]}} for one in (me, waiting))
    node = {"name": names.NODE, "template": {"spec": {"template": node_pod}}}
    launcher = {"name": names.LAUNCHER, "dependsOn": [{"name": names.NODE, "status": "Ready"}], "template": {
        "metadata": {"labels": {names.ANCESTOR_LABEL: names.TRAINER}}, "spec": {"template": pod}}}
    policy = {"numProcPerNode": 1, "mpiImplementation": "OpenMPI", "sshAuthMountPath": f"{home}/.ssh",
              "runLauncherAsNode": True}
    return _named(f"{framework}-distributed", framework, {
        "mlPolicy": {"numNodes": 1, "mpi": policy},
        "template": {"spec": {
            "network": {"publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": [names.LAUNCHER]},
            "replicatedJobs": [node, launcher]}}})


def _named(name: str, framework: str, spec: dict[str, Any]) -> Object:
    return {
        "apiVersion": kinds.CLUSTER_TRAINING_RUNTIMES.api_version, "kind": kinds.CLUSTER_TRAINING_RUNTIMES.kind,
        "metadata": {"name": name, "labels": {names.FRAMEWORK_LABEL: framework, names.SHIPPED_LABEL: "true"}},
        "spec": spec,
    }
