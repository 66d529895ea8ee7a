"""JAXJob: processes that meet at the first worker's coordinator."""

from __future__ import annotations

from lightship.domains.training.v1 import names
from lightship.domains.training.v1.framework import Framework, Job, PodSpec, plain, with_variables
from lightship.domains.training.v1.resources import resource


def _shape(spec: PodSpec, job: Job, type: str, index: int) -> PodSpec:
    return with_variables(spec, [
        plain("PYTHONUNBUFFERED", 1),
        plain("COORDINATOR_PORT", job.port(names.WORKER)),
        plain("COORDINATOR_ADDRESS", job.host(names.WORKER, 0)),
        plain("NUM_PROCESSES", job.total),
        plain("PROCESS_ID", index),
    ])


FRAMEWORK = Framework(
    resource=resource("JAXJob", scaled="jaxReplicaSpecs"), specs="jaxReplicaSpecs", types=(names.WORKER,),
    container="jax", port_name="jaxjob-port", port=6666, restart_policy=names.NEVER, shape=_shape,
    master_role=lambda job, type, index: index == 0)
