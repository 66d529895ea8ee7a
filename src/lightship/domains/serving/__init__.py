"""Serving: InferenceService, ServingRuntime and ClusterServingRuntime.

``app`` composes ``SERVING``, calls ``bootstrap`` once the API answers, and gives ``storage_initializer`` to the node
as the entrypoint of the image of that name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from lightship.domains.furniture import Domain, Kind
from lightship.domains.serving import kinds, schema
from lightship.domains.serving.agent import model_agent
from lightship.domains.serving.bootstrap import bootstrap
from lightship.domains.serving.cluster_gateway import ClusterGateway
from lightship.domains.serving.deps import ServingDeps
from lightship.domains.serving.entrypoints import ENTRYPOINT_NAME, Fetching, storage_initializer
from lightship.domains.serving.inference_graph import admission as graph_admission
from lightship.domains.serving.inference_graph import reconciler as graphs
from lightship.domains.serving.inference_service import admission, reconciler
from lightship.domains.serving.serving_runtime import admission as runtime_admission
from lightship.domains.serving.site import Entry, Site, with_entry
from lightship.domains.serving.trained_model import admission as model_admission
from lightship.domains.serving.trained_model import reconciler as trained_models
from lightship.domains.serving.trained_model.pods import AGENT_ENTRYPOINT

SERVING = Domain(
    name="serving",
    kinds=(
        Kind(resource=kinds.INFERENCE_SERVICES, default=admission.default, validate=admission.validate,
             schema=schema.INFERENCE_SERVICE),
        Kind(resource=kinds.SERVING_RUNTIMES, validate=runtime_admission.validate, schema=schema.SERVING_RUNTIME),
        Kind(resource=kinds.CLUSTER_SERVING_RUNTIMES, validate=runtime_admission.validate,
             schema=schema.SERVING_RUNTIME),
        Kind(resource=kinds.INFERENCE_GRAPHS, validate=graph_admission.validate, schema=schema.INFERENCE_GRAPH),
        Kind(resource=kinds.TRAINED_MODELS, validate=model_admission.validate, schema=schema.TRAINED_MODEL),
    ),
    controllers=lambda deps: (reconciler.controller(deps), graphs.controller(deps), trained_models.controller(deps)),
)

def built_ins(fetching: Fetching) -> dict[str, Callable[[Any], Awaitable[int]]]:
    """What of serving runs in the node's process, by the names of its images."""
    return {ENTRYPOINT_NAME: storage_initializer(fetching), AGENT_ENTRYPOINT: model_agent(fetching)}


__all__ = ["SERVING", "ClusterGateway", "Entry", "Fetching", "ServingDeps", "Site", "bootstrap", "storage_initializer",
           "with_entry", "ENTRYPOINT_NAME"]
