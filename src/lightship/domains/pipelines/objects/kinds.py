"""The kinds of ``pipelines.kubeflow.org`` as the API server, clients and informers name them. Pure data."""

from __future__ import annotations

from lightship.kube.resources import Column, Resource

GROUP = "pipelines.kubeflow.org"
_AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")

PIPELINES = Resource(group=GROUP, version="v2beta1", kind="Pipeline", plural="pipelines", singular="pipeline",
                     columns=(Column(name="Display name", path=".spec.displayName"), _AGE))
PIPELINE_VERSIONS = Resource(
    group=GROUP, version="v2beta1", kind="PipelineVersion", plural="pipelineversions", singular="pipelineversion",
    subresources=frozenset({"status"}),
    columns=(Column(name="Pipeline", path=".spec.pipelineName"),
             Column(name="Status", path=".status.conditions[?(@.type=='PipelineVersionStatus')].reason"), _AGE))
