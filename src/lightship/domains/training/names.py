"""Labels, reasons, containers and the names of children, as Kubeflow Trainer has them: each once. Pure."""

from __future__ import annotations

ANCESTOR_LABEL = "trainer.kubeflow.org/trainjob-ancestor-step"
FRAMEWORK_LABEL = "trainer.kubeflow.org/framework"
SUPPORT_LABEL = "trainer.kubeflow.org/support"
SHIPPED_LABEL = "lightship.dev/shipped"
JOB_SET_LABEL = "jobset.sigs.k8s.io/jobset-name"
REPLICATED_JOB_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"
LOST_CONTAINER = "ContainerStatusUnknown"
"""Why a container ended that nobody saw end: its node was killed."""
APPLIED_ANNOTATION = "lightship.dev/applied"
"""On a JobSet: a digest of what was applied last, so that a pass knows without asking whether it would change it."""

MANAGER = "trainer.kubeflow.org/trainjob-controller"
OTHER_MANAGER = "kueue.x-k8s.io/multikueue"

TRAINER = "trainer"
NODE = "node"
LAUNCHER = "launcher"
DATASET_INITIALIZER = "dataset-initializer"
MODEL_INITIALIZER = "model-initializer"
INITIALIZERS = {"dataset": DATASET_INITIALIZER, "model": MODEL_INITIALIZER}
"""The part of ``spec.initializer``, and the step, job and container that it is for."""
INITIALIZER_VOLUME = "initializer"
STORAGE_URI = "STORAGE_URI"
CONTAINER_OF_STEP = {TRAINER: NODE, DATASET_INITIALIZER: DATASET_INITIALIZER, MODEL_INITIALIZER: MODEL_INITIALIZER}
PORT = 29500
COMPLETION_INDEX_PATH = "metadata.annotations['batch.kubernetes.io/job-completion-index']"

# Conditions: no others while a job runs, since the SDK takes any other for its state. Created, which Trainer once had,
# is there only while nothing could be made, and then the SDK's word is right.
SUSPENDED, COMPLETE, FAILED = "Suspended", "Complete", "Failed"
REASON_TOO_MANY = "TooManyPods"
CREATED, REASON_NOT_CREATED = "Created", "JobsCreationFailed"
REASON_SUSPENDED, REASON_RESUMED = "Suspended", "Resumed"
REASON_DEADLINE, REASON_NOT_SUPPORTED = "DeadlineExceeded", "TrainingRuntimeNotSupported"
SAYS_SUSPENDED, SAYS_RESUMED = "TrainJob is suspended", "TrainJob is resumed"
SAYS_DEADLINE = "TrainJob exceeded its active deadline"
EVENT_RANK_FAILED = "NodeFailed"
EVENT_NOT_MADE = "TrainJobResourcesCreationFailed"

SYSTEM_NAMESPACE = "kubeflow-system"
PUBLIC_CONFIG_MAP = "kubeflow-trainer-public"
VERSION_KEY = "kubeflow_trainer_version"
TRAINER_VERSION = "v2.3.0"
"""The Kubeflow Trainer whose behaviour this follows; clients read it from the public ConfigMap."""


def snapshot(train_job: str) -> str:
    """The ConfigMap that keeps the runtime as it was when the TrainJob began."""
    return f"{train_job}-runtime-snapshot"


def mpi_hosts(train_job: str) -> str:
    """The ConfigMap with the hosts of an MPI training."""
    return f"{train_job}-mpi-hostfile"


def mpi_keys(train_job: str) -> str:
    """The Secret with the keys of an MPI training."""
    return f"{train_job}-mpi-ssh-auth"


def first_node(train_job: str) -> str:
    """The host name of the first training node."""
    return f"{train_job}-{NODE}-0-0.{train_job}"
