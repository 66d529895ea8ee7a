"""Labels, annotations, reasons and the names of children: each once. Pure."""

from __future__ import annotations

# Upstream's labels, which users' selectors and dashboards know.
INFERENCE_SERVICE_LABEL = "serving.kserve.io/inferenceservice"
APP_LABEL = "app"
COMPONENT_LABEL = "component"
STOP_ANNOTATION = "serving.kserve.io/stop"
DEPLOYMENT_MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
AUTOSCALER_ANNOTATION = "serving.kserve.io/autoscalerClass"
KNATIVE_CLASS_ANNOTATION = "autoscaling.knative.dev/class"
INITIAL_SCALE_ANNOTATION = "autoscaling.knative.dev/initial-scale"
MODEL_FORMAT_ANNOTATION = "modelFormat"
DISABLE_AUTO_UPDATE_ANNOTATION = "serving.kserve.io/disable-auto-update"
TAG_ROUTING_ANNOTATION = "serving.kserve.io/enable-tag-routing"
STORAGE_READ_ONLY_ANNOTATION = "storage.kserve.io/readonly"

# Ours. The revision is a digest of the Pod's template; what the status calls a revision is the ControllerRevision.
REVISION_LABEL = "lightship.dev/revision"
GATEWAY_ROUTE_LABEL = "lightship.dev/gateway-route"
SHIPPED_LABEL = "lightship.dev/shipped"
ROUTE_KEY = "route.json"

PREDICTOR = "predictor"
TRANSFORMER = "transformer"
EXPLAINER = "explainer"
CANARY = "canary"
PREVIOUS_TAG = "prev"
LATEST_TAG = "latest"
CONTAINER = "kserve-container"
STORAGE_INITIALIZER = "storage-initializer"
MODEL_VOLUME = "kserve-provision-location"
PVC_VOLUME = "kserve-pvc-source"
MODEL_DIRECTORY = "/mnt/models"
HTTP_PORT = 8080
SERVICE_PORT = 80
DEFAULT_TIMEOUT_SECONDS = 60

STANDARD_MODE = "Standard"
KNATIVE_MODE = "Knative"
MODES = {"Standard": STANDARD_MODE, "RawDeployment": STANDARD_MODE, "Knative": KNATIVE_MODE, "Serverless": KNATIVE_MODE}
"""What the deployment mode may be called, and what it is: upstream has renamed both."""

# Conditions.
PREDICTOR_READY = "PredictorReady"
CANARY_READY = "CanaryPredictorReady"
COMPONENT_READY = {PREDICTOR: PREDICTOR_READY, TRANSFORMER: "TransformerReady", EXPLAINER: "ExplainerReady"}
ROUTE_READY = {PREDICTOR: "PredictorRouteReady", TRANSFORMER: "TransformerRouteReady",
               EXPLAINER: "ExplainerRoutesReady"}
CONFIGURATION_READY = {PREDICTOR: "PredictorConfigurationReady", TRANSFORMER: "TransformerConfigurationReady",
                       EXPLAINER: "ExplainerConfigurationReady"}
ROUTES_READY = "RoutesReady"
LATEST_DEPLOYMENT_READY = "LatestDeploymentReady"
INGRESS_READY = "IngressReady"
READY = "Ready"
STOPPED = "Stopped"

# Reasons of ``modelStatus.lastFailureInfo``: upstream's enumeration.
MODEL_LOAD_FAILED = "ModelLoadFailed"
RUNTIME_UNHEALTHY = "RuntimeUnhealthy"
RUNTIME_DISABLED = "RuntimeDisabled"
NO_SUPPORTING_RUNTIME = "NoSupportingRuntime"
RUNTIME_NOT_RECOGNIZED = "RuntimeNotRecognized"
INVALID_PREDICTOR_SPEC = "InvalidPredictorSpec"


def component(service: str, component: str, track: str = "") -> str:
    """The Deployment and the Service of a component; ``track`` is upstream's ``predictor.name``."""
    return f"{service}-{track}-{component}" if track else f"{service}-{component}"


def predictor(service: str, track: str = "") -> str:
    """The Deployment and the Service of an InferenceService's predictor."""
    return component(service, PREDICTOR, track)


def canary(deployment: str) -> str:
    """The Deployment of a new revision that gets a part of the traffic beside ``deployment``, which has the rest."""
    return f"{deployment}-{CANARY}"


def app(deployment: str) -> str:
    """The value of the ``app`` label that selects a Deployment's Pods."""
    return f"isvc.{deployment}"


def revision(deployment: str, number: int) -> str:
    """A revision's ControllerRevision, numbered as Knative numbers them."""
    return f"{deployment}-{number:05d}"


def route(service: str) -> str:
    """The ConfigMap that tells the gateway of an InferenceService."""
    return f"{service}-route"


def host(service: str, namespace: str, domain: str) -> str:
    """The host name under which the gateway serves an InferenceService, or one of its components."""
    return f"{service}-{namespace}.{domain}"


def prefix(service: str, namespace: str) -> str:
    """The path prefix under which the gateway serves an InferenceService."""
    return f"/serving/{namespace}/{service}"


def cluster_host(deployment: str, namespace: str) -> str:
    """The name under which Pods of the cluster reach a component's Service."""
    return f"{deployment}.{namespace}.svc.cluster.local"
