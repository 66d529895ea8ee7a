"""Names that the built-in controllers share with upstream's, so that kubectl and SDKs know them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lightship.kube import objects

TEMPLATE_HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
JOB_NAME = "batch.kubernetes.io/job-name"
JOB_NAME_OLD = "job-name"
JOB_UID = "batch.kubernetes.io/controller-uid"
JOB_UID_OLD = "controller-uid"
JOB_INDEX = "batch.kubernetes.io/job-completion-index"
SERVICE_NAME = "kubernetes.io/service-name"
SLICE_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SLICE_MANAGER = "endpointslice-controller.lightship.dev"
MIRROR_MANAGER = "endpointslicemirroring-controller.k8s.io"

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"
NAMESPACE_FINALIZER = "kubernetes"

ROOT_CA_CONFIG_MAP = "kube-root-ca.crt"
PLATFORM_NAMESPACE = "kubeflow"
"""Where the platform's own accounts are: who may edit there may be any of them, so nobody is let in by default."""
EDITOR_ACCOUNT, EDITOR_ROLE = "default-editor", "kubeflow-edit"
"""Kubeflow's account of a namespace, as which pipeline steps run, and the ClusterRole that it has there."""
SERVICE_ACCOUNT_NAMES = ("default", EDITOR_ACCOUNT)

TAINT_NOT_READY = "node.kubernetes.io/not-ready"
TAINT_UNREACHABLE = "node.kubernetes.io/unreachable"
TAINT_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
DEVICES = "lightship.dev/devices"
"""The numbers of the devices that a Pod was given, by resource: ``{"nvidia.com/gpu": [0, 1]}``."""

PREEMPTED = "PreemptionByScheduler"
NODE_RESTARTED = "NodeRestarted"
"""Why a Pod failed that was running when the node was killed: no fault of its own."""


def annotation(obj: Mapping[str, Any], name: str) -> str:
    """The annotation's text, empty where there is none."""
    return str((objects.meta(obj).get("annotations") or {}).get(name, ""))


def ephemeral_claim(pod: str, volume: str) -> str:
    """The claim that is made for a Pod's ``ephemeral`` volume."""
    return f"{pod}-{volume}"


def devices(pod: Mapping[str, Any]) -> dict[str, list[int]]:
    """The numbers of the devices that a Pod was given, by resource; a broken annotation gives none."""
    text = annotation(pod, DEVICES)
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, list[int]])
    except msgspec.DecodeError:
        return {}
