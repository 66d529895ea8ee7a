"""The kinds of ``serving.kserve.io`` as the API server, clients and informers name them. Pure data.

What other clusters have in the gateway's place is here too.
"""

from __future__ import annotations

from lightship.kube.resources import Column, Resource

GROUP = "serving.kserve.io"

_TRAFFIC = ".status.components.predictor.traffic"
_AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")

INFERENCE_SERVICES = Resource(
    group=GROUP, version="v1beta1", kind="InferenceService", plural="inferenceservices", singular="inferenceservice",
    short_names=("isvc",), subresources=frozenset({"status"}),
    columns=(
        Column(name="URL", path=".status.url"),
        Column(name="Ready", path=".status.conditions[?(@.type=='Ready')].status"),
        Column(name="Prev", path=_TRAFFIC + "[?(@.tag=='prev')].percent", type="integer"),
        Column(name="Latest", path=_TRAFFIC + "[?(@.latestRevision==true)].percent", type="integer"),
        Column(name="PrevRolledoutRevision", path=_TRAFFIC + "[?(@.tag=='prev')].revisionName"),
        Column(name="LatestReadyRevision", path=_TRAFFIC + "[?(@.latestRevision==true)].revisionName"),
        _AGE,
    ),
)

_RUNTIME_COLUMNS = (
    Column(name="Disabled", path=".spec.disabled", type="boolean"),
    Column(name="ModelType", path=".spec.supportedModelFormats[*].name"),
    Column(name="Containers", path=".spec.containers[*].name"),
    _AGE,
)

SERVING_RUNTIMES = Resource(
    group=GROUP, version="v1alpha1", kind="ServingRuntime", plural="servingruntimes", singular="servingruntime",
    columns=_RUNTIME_COLUMNS)

CLUSTER_SERVING_RUNTIMES = Resource(
    group=GROUP, version="v1alpha1", kind="ClusterServingRuntime", plural="clusterservingruntimes",
    singular="clusterservingruntime", namespaced=False, columns=_RUNTIME_COLUMNS)

_URL_AND_READY = (Column(name="URL", path=".status.url"),
                  Column(name="Ready", path=".status.conditions[?(@.type=='Ready')].status"), _AGE)

INFERENCE_GRAPHS = Resource(
    group=GROUP, version="v1alpha1", kind="InferenceGraph", plural="inferencegraphs", singular="inferencegraph",
    short_names=("ig",), subresources=frozenset({"status"}), columns=_URL_AND_READY)

TRAINED_MODELS = Resource(
    group=GROUP, version="v1alpha1", kind="TrainedModel", plural="trainedmodels", singular="trainedmodel",
    short_names=("tm",), subresources=frozenset({"status"}), columns=_URL_AND_READY)

# What other clusters may have, where the embedded one has the gateway.
HTTP_ROUTES = Resource(group="gateway.networking.k8s.io", version="v1", kind="HTTPRoute", plural="httproutes",
                       singular="httproute", subresources=frozenset({"status"}))
INGRESSES = Resource(group="networking.k8s.io", version="v1", kind="Ingress", plural="ingresses", short_names=("ing",),
                     subresources=frozenset({"status"}))
SCALED_OBJECTS = Resource(group="keda.sh", version="v1alpha1", kind="ScaledObject", plural="scaledobjects",
                          singular="scaledobject", subresources=frozenset({"status"}))
