"""Labels, conditions, reasons, policies and the names of children, as the training operator has them: each once. Pure.
"""

from __future__ import annotations

GROUP, VERSION = "kubeflow.org", "v1"
MANAGER, OTHER_MANAGER = "kubeflow.org/training-operator", "kueue.x-k8s.io/multikueue"

OPERATOR_LABEL = "training.kubeflow.org/operator-name"
JOB_LABEL = "training.kubeflow.org/job-name"
ROLE_LABEL = "training.kubeflow.org/job-role"
TYPE_LABEL = "training.kubeflow.org/replica-type"
INDEX_LABEL = "training.kubeflow.org/replica-index"
MASTER_ROLE = "master"

RESTARTS_ANNOTATION = "lightship.dev/restarts"
"""On a job: how often each of its replicas was made anew after a failure, for ``backoffLimit`` and the pauses."""

MASTER, WORKER, CHIEF, PS, EVALUATOR = "Master", "Worker", "Chief", "PS", "Evaluator"
LAUNCHER = "Launcher"

ALWAYS, ON_FAILURE, NEVER, EXIT_CODE = "Always", "OnFailure", "Never", "ExitCode"
RESTART_POLICIES = (ALWAYS, EXIT_CODE, NEVER, ON_FAILURE)
CLEAN_NONE, CLEAN_RUNNING, CLEAN_ALL = "None", "Running", "All"
CLEAN_POLICIES = (CLEAN_ALL, CLEAN_NONE, CLEAN_RUNNING)

NODE_RESTARTED = "NodeRestarted"
"""The reason of Pods that ended with the node's own process."""
DISRUPTED = "DisruptionTarget"
DISRUPTIONS = ("DeletionByPodGC", "DeletionByTaintManager", "EvictionByEvictionAPI", "PreemptionByScheduler")
"""Why the cluster takes a Pod away that has done nothing wrong: reasons of that condition."""

CREATED, RUNNING, RESTARTING = "Created", "Running", "Restarting"
SUCCEEDED, FAILED, SUSPENDED = "Succeeded", "Failed", "Suspended"
RESUMED, FAILED_VALIDATION = "Resumed", "FailedValidation"
"""Reasons are these after the kind: ``PyTorchJobRunning``."""

EVENT_EXITED = "ExitedWithCode"
EVENT_POLICY = "SetPodTemplateRestartPolicy"
SAYS_POLICY = "Restart policy in pod template will be overwritten by restart policy in replica spec"


def reason(kind: str, word: str) -> str:
    return f"{kind}{word}"


def operator(kind: str) -> str:
    """The controller of a kind, as its label and its events name it."""
    return f"{kind.lower()}-controller"


def replica(job: str, type: str, index: int) -> str:
    """The Pod and the Service of one replica; as a host name its peers find it by that."""
    return f"{job}-{type.lower()}-{index}"
