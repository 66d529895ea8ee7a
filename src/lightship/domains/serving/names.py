"""Labels, annotations, reasons and the names of children: each once. Pure."""

from __future__ import annotations

# Upstream's labels, which users' selectors and dashboards know.
INFERENCE_SERVICE_LABEL = "serving.kserve.io/inferenceservice"
APP_LABEL = "app"
COMPONENT_LABEL = "component"
STOP_ANNOTATION = "serving.kserve.io/stop"
DEPLOYMENT_MODE_ANNOTATION = "serving.kserve.io/deploymentMode"

# Ours.
REVISION_LABEL = "lightship.dev/revision"
GATEWAY_ROUTE_LABEL = "lightship.dev/gateway-route"
SHIPPED_LABEL = "lightship.dev/shipped"
ROUTE_KEY = "route.json"

PREDICTOR = "predictor"
CONTAINER = "kserve-container"
STORAGE_INITIALIZER = "storage-initializer"
MODEL_VOLUME = "kserve-provision-location"
PVC_VOLUME = "kserve-pvc-source"
MODEL_DIRECTORY = "/mnt/models"
HTTP_PORT = 8080
DEFAULT_TIMEOUT_SECONDS = 60

STANDARD_MODE = "Standard"

# Conditions.
PREDICTOR_READY = "PredictorReady"
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


def predictor(service: str) -> str:
    """The Deployment and the Service of an InferenceService's predictor."""
    return f"{service}-{PREDICTOR}"


def app(service: str) -> str:
    """The value of the ``app`` label that selects the predictor's Pods."""
    return f"isvc.{predictor(service)}"


def route(service: str) -> str:
    """The ConfigMap that tells the gateway of an InferenceService."""
    return f"{service}-route"


def host(service: str, namespace: str, domain: str) -> str:
    """The host name under which the gateway serves an InferenceService."""
    return f"{service}-{namespace}.{domain}"


def prefix(service: str, namespace: str) -> str:
    """The path prefix under which the gateway serves an InferenceService."""
    return f"/serving/{namespace}/{service}"
