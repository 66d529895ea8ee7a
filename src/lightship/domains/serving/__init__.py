"""Serving: InferenceService, ServingRuntime and ClusterServingRuntime.

``app`` composes ``SERVING``, calls ``bootstrap`` once the API answers, and gives ``storage_initializer`` to the node
as the entrypoint of the image of that name.
"""

from __future__ import annotations

from lightship.domains.furniture import Domain, Kind
from lightship.domains.serving import kinds, schema
from lightship.domains.serving.bootstrap import bootstrap
from lightship.domains.serving.cluster_gateway import ClusterGateway
from lightship.domains.serving.deps import ServingDeps
from lightship.domains.serving.entrypoints import ENTRYPOINT_NAME, Fetching, storage_initializer
from lightship.domains.serving.inference_graph import admission as graph_admission
from lightship.domains.serving.inference_graph import reconciler as graphs
from lightship.domains.serving.inference_service import admission, reconciler
from lightship.domains.serving.serving_runtime import admission as runtime_admission
from lightship.domains.serving.site import Entry, Site, with_entry

SERVING = Domain(
    name="serving",
    kinds=(
        Kind(resource=kinds.INFERENCE_SERVICES, default=admission.default, validate=admission.validate,
             schema=schema.INFERENCE_SERVICE),
        Kind(resource=kinds.SERVING_RUNTIMES, validate=runtime_admission.validate, schema=schema.SERVING_RUNTIME),
        Kind(resource=kinds.CLUSTER_SERVING_RUNTIMES, validate=runtime_admission.validate,
             schema=schema.SERVING_RUNTIME),
        Kind(resource=kinds.INFERENCE_GRAPHS, validate=graph_admission.validate, schema=schema.INFERENCE_GRAPH),
    ),
    controllers=lambda deps: (reconciler.controller(deps), graphs.controller(deps)),
)

__all__ = ["SERVING", "ClusterGateway", "Entry", "Fetching", "ServingDeps", "Site", "bootstrap", "storage_initializer",
           "with_entry", "ENTRYPOINT_NAME"]
