"""The v1 jobs that are served: each framework, and the kind as the API server takes it."""

from __future__ import annotations

from functools import partial

from lightship.domains.furniture import Kind
from lightship.domains.training.v1 import admission, schema
from lightship.domains.training.v1.framework import Framework
from lightship.domains.training.v1.frameworks import jax, mpi, paddle, pytorch, tensorflow, xgboost

FRAMEWORKS: tuple[Framework, ...] = (
    tensorflow.FRAMEWORK, pytorch.FRAMEWORK, xgboost.FRAMEWORK, mpi.FRAMEWORK, paddle.FRAMEWORK,
    jax.FRAMEWORK)
KINDS: tuple[Kind, ...] = tuple(
    Kind(resource=one.resource, schema=schema.of(one), default=partial(admission.default, one),
         validate=partial(admission.validate, one)) for one in FRAMEWORKS)
