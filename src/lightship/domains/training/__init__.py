"""Training: TrainJob with its runtimes, and the older jobs of ``kubeflow.org/v1``.

``composition`` composes ``TRAINING`` and ``JOBS``, two of them since a cluster may have one without the other, calls
``bootstrap`` once the API answers, and gives ``entrypoints`` to the node.
"""

from __future__ import annotations

from lightship.domains.furniture import Domain, Kind
from lightship.domains.training import kinds
from lightship.domains.training.bootstrap import bootstrap
from lightship.domains.training.deps import TrainingDeps
from lightship.domains.training.initializers import entrypoints
from lightship.domains.training.progress import Progress
from lightship.domains.training.runtimes import admission as runtime_admission
from lightship.domains.training.runtimes import schema as runtime_schema
from lightship.domains.training.site import EMBEDDED, OTHER
from lightship.domains.training.train_job import admission, reconciler
from lightship.domains.training.train_job import schema as train_job_schema
from lightship.domains.training.v1 import kinds as v1
from lightship.domains.training.v1 import reconciler as v1_reconciler

TRAINING = Domain(
    name="training",
    kinds=(
        Kind(resource=kinds.TRAIN_JOBS, validate=admission.validate, schema=train_job_schema.SCHEMA,
             related=admission.related, validate_with=admission.validate_with),
        Kind(resource=kinds.TRAINING_RUNTIMES, validate=runtime_admission.validate, schema=runtime_schema.SCHEMA),
        Kind(resource=kinds.CLUSTER_TRAINING_RUNTIMES, validate=runtime_admission.validate,
             schema=runtime_schema.SCHEMA),
    ),
    controllers=lambda deps: (reconciler.controller(deps),),
)
JOBS = Domain(name="jobs", kinds=v1.KINDS, controllers=lambda deps: v1_reconciler.controllers(deps, v1.FRAMEWORKS))

__all__ = ["EMBEDDED", "JOBS", "OTHER", "TRAINING", "Progress", "TrainingDeps", "bootstrap", "entrypoints"]
