"""The ClusterTrainingRuntimes that Lightship ships, under upstream's names and with its images. Pure data.

What an image means on a node is its image catalogue's business. ``plain-distributed`` and ``tensorflow-distributed``
are ours; upstream's MPI and torchtune runtimes are left out until this version can run them.
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
        _runtime("tensorflow-distributed", "tensorflow", "tensorflow/tensorflow:2.20.0", {}),
        _runtime("plain-distributed", "plain", "python:3.11", {}),
    )


def _runtime(name: str, framework: str, image: str, policy: dict[str, Any]) -> Object:
    pod = {"spec": {"containers": [{"name": names.NODE, "image": image}]}}
    job = {"name": names.NODE, "template": {
        "metadata": {"labels": {names.ANCESTOR_LABEL: names.TRAINER}}, "spec": {"template": pod}}}
    return {
        "apiVersion": kinds.CLUSTER_TRAINING_RUNTIMES.api_version, "kind": kinds.CLUSTER_TRAINING_RUNTIMES.kind,
        "metadata": {"name": name, "labels": {names.FRAMEWORK_LABEL: framework, names.SHIPPED_LABEL: "true"}},
        "spec": {"mlPolicy": {"numNodes": 1} | policy, "template": {"spec": {"replicatedJobs": [job]}}},
    }
