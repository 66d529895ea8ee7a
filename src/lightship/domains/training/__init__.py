"""Training: TrainJob, TrainingRuntime and ClusterTrainingRuntime.

``composition`` composes ``TRAINING``, calls ``bootstrap`` once the API answers, and gives ``entrypoints`` to the node.
"""

from __future__ import annotations

from lightship.domains.furniture import Domain, Kind
from lightship.domains.training import kinds
from lightship.domains.training.bootstrap import bootstrap
from lightship.domains.training.deps import TrainingDeps
from lightship.domains.training.initializers import entrypoints
from lightship.domains.training.runtimes import admission as runtime_admission
from lightship.domains.training.runtimes import schema as runtime_schema
from lightship.domains.training.train_job import admission, reconciler
from lightship.domains.training.train_job import schema as train_job_schema

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

__all__ = ["TRAINING", "TrainingDeps", "bootstrap", "entrypoints"]
