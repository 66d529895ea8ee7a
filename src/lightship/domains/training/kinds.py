"""The kinds of ``trainer.kubeflow.org`` as the API server, clients and informers name them. Pure data.

OptimizationJob has no controller upstream, and is not served.
"""

from __future__ import annotations

from lightship.kube.resources import Column, Resource

GROUP = "trainer.kubeflow.org"
_VERSION = "v1alpha1"

TRAIN_JOBS = Resource(
    group=GROUP, version=_VERSION, kind="TrainJob", plural="trainjobs", singular="trainjob",
    subresources=frozenset({"status"}),
    columns=(Column(name="State", path=".status.conditions[-1:].type"),
             Column(name="Age", path=".metadata.creationTimestamp", type="date")),
)
TRAINING_RUNTIMES = Resource(group=GROUP, version=_VERSION, kind="TrainingRuntime", plural="trainingruntimes",
                             singular="trainingruntime")
CLUSTER_TRAINING_RUNTIMES = Resource(group=GROUP, version=_VERSION, kind="ClusterTrainingRuntime",
                                     plural="clustertrainingruntimes", singular="clustertrainingruntime",
                                     namespaced=False)
RUNTIMES = {resource.kind: resource for resource in (TRAINING_RUNTIMES, CLUSTER_TRAINING_RUNTIMES)}
"""What a ``runtimeRef`` may name, by kind."""
