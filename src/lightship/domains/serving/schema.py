"""Structural schemas of this room's kinds: upstream's fields, types, limits and defaults. Pure data.

Pod-shaped parts are kept as they come: the API server judges them where they become Pods, and upstream's own schemas
of them take megabytes. ``kubectl explain`` tells of the rest, and a value of a wrong type is refused with its path.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

OPEN: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
STRINGS: Schema = {"type": "object", "additionalProperties": TEXT}
FLAG: Schema = {"type": "boolean"}
QUANTITY: Schema = {"x-kubernetes-int-or-string": True}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "format": "int32"}
LONG: Schema = {"type": "integer", "format": "int64"}


def object_of(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    made: Schema = {"type": "object", "properties": properties}
    return made | {"required": list(required)} if required else made


def open_of(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object of known fields that keeps others as they come: those of a Pod or a container."""
    return object_of(required, **properties) | {"x-kubernetes-preserve-unknown-fields": True}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def choice(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def told(schema: Schema, description: str) -> Schema:
    return schema | {"description": description}


def of_kind(spec: Schema, status: Schema | None = None) -> Schema:
    """The schema of a whole kind."""
    whole = {"apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"}, "spec": spec}
    return object_of(**(whole if status is None else whole | {"status": status}))


# ---- parts that several kinds share

CONTAINER = told(OPEN, "A container of core/v1.")
CONTAINERS = list_of(CONTAINER)
STORAGE = object_of(key=TEXT, parameters=STRINGS, path=TEXT, schemaPath=TEXT)
CONDITION = object_of(("status", "type"), lastTransitionTime=TEXT, message=TEXT, reason=TEXT, severity=TEXT,
                      status=TEXT, type=TEXT)
ADDRESS = object_of(CACerts=TEXT, audience=TEXT, name=TEXT, url=TEXT)

_POLICIES = object_of(policies=list_of(object_of(("periodSeconds", "type", "value"), periodSeconds=COUNT, type=TEXT,
                                                 value=COUNT)),
                      selectPolicy=TEXT, stabilizationWindowSeconds=COUNT, tolerance=QUANTITY)
_TARGET = object_of(averageUtilization=COUNT, averageValue=QUANTITY, value=QUANTITY,
                    type=choice("Utilization", "Value", "AverageValue"))
_EXTERNAL = object_of(("metric", "target"), target=_TARGET, authenticationRef=OPEN, metric=object_of(
    ("backend",), backend=choice("prometheus", "graphite"), namespace=TEXT, query=TEXT, serverAddress=TEXT))
_POD_METRIC = object_of(("metric", "target"), target=_TARGET, metric=object_of(
    ("backend",), backend=choice("opentelemetry"), metricNames=TEXTS, operationOverTime=TEXT, query=TEXT,
    serverAddress=TEXT))
_AUTOSCALING = object_of(
    behavior=object_of(scaleDown=_POLICIES, scaleUp=_POLICIES),
    metrics=list_of(object_of(
        ("type",), type=choice("Resource", "External", "PodMetric"), external=_EXTERNAL, podmetric=_POD_METRIC,
        resource=object_of(("name", "target"), name=choice("cpu", "memory"), target=_TARGET))))
_LOGGER = object_of(
    batchInterval=TEXT, batchSize=INTEGER, marshallerUrl=TEXT, metadataAnnotations=TEXTS, metadataHeaders=TEXTS,
    mode=choice("all", "request", "response"), url=TEXT,
    storage=object_of(key=TEXT, parameters=STRINGS, path=TEXT, serviceAccountName=TEXT))
_STORAGE_URIS = list_of(object_of(
    ("uri",), uri=TEXT | {"minLength": 1},
    mountPath=TEXT | {"default": "/mnt/models", "maxLength": 255, "pattern": "^/.*"})) | {
        "minItems": 1, "x-kubernetes-list-type": "atomic"}

EXTENSION: dict[str, Schema] = {
    "annotations": STRINGS, "labels": STRINGS, "autoScaling": _AUTOSCALING, "logger": _LOGGER,
    "batcher": told(object_of(maxBatchSize=INTEGER, maxLatency=INTEGER, timeout=INTEGER),
                    "Bounds of the batches that the model server makes. Nothing waits for a batch: what came in during "
                    "one predict is the next."),
    "canaryTrafficPercent": told(LONG, "What the latest revision gets; the rest stays with the one rolled out last."),
    "containerConcurrency": told(LONG, "Requests that one Pod gets at a time; others wait in the gateway."),
    "deploymentStrategy": object_of(type=TEXT, rollingUpdate=object_of(maxSurge=QUANTITY, maxUnavailable=QUANTITY)),
    "minReplicas": told(COUNT, "1 where nothing is said; 0 lets it go to zero while nobody asks."),
    "maxReplicas": COUNT, "scaleTarget": COUNT,
    "scaleMetric": choice("cpu", "memory", "concurrency", "rps"),
    "scaleMetricType": choice("Utilization", "Value", "AverageValue"),
    "timeout": told(LONG, "Seconds that a request may take."), "storageUris": _STORAGE_URIS,
    "containers": CONTAINERS, "initContainers": CONTAINERS,
}
"""What every component may say, beside the fields of a Pod."""

_FRAMEWORK: dict[str, Schema] = {
    "confidential": object_of(("enabled",), enabled=FLAG, resourceId=TEXT), "protocolVersion": TEXT,
    "runtimeVersion": TEXT, "storage": STORAGE,
    "storageUri": told(TEXT, "Where the model lies: s3://, gs://, pvc://, http(s)://, hf://, model-registry:// ..."),
}
FRAMEWORKS = ("huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow", "triton",
              "xgboost")


def predictor() -> Schema:
    """A predictor: a model, a framework by its old key, or containers."""
    return open_of(
        **EXTENSION, **{name: open_of(**_FRAMEWORK) for name in FRAMEWORKS},
        model=open_of(("modelFormat",), **_FRAMEWORK, runtime=TEXT,
                      modelFormat=object_of(("name",), name=TEXT, version=TEXT)),
        name=TEXT | {"pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"}, storageContainerName=TEXT, workerSpec=OPEN)


# ---- the kinds

_FAILURE = object_of(
    exitCode=COUNT, location=TEXT, message=TEXT, modelRevisionName=TEXT, time=TEXT | {"format": "date-time"},
    reason=choice("ModelLoadFailed", "RuntimeUnhealthy", "RuntimeDisabled", "NoSupportingRuntime",
                  "RuntimeNotRecognized", "InvalidPredictorSpec"))
_STATES = ("", "Pending", "Standby", "Loading", "Loaded", "FailedToLoad")
_MODEL_STATUS = object_of(
    copies=object_of(failedCopies=INTEGER, totalCopies=INTEGER), lastFailureInfo=_FAILURE,
    states=object_of(activeModelState=choice(*_STATES), targetModelState=choice(*_STATES)),
    transitionStatus=choice("", "UpToDate", "InProgress", "BlockedByFailedLoad", "InvalidSpec"))
_COMPONENT_STATUS = object_of(
    address=ADDRESS, grpcUrl=TEXT, latestCreatedRevision=TEXT, latestReadyRevision=TEXT, latestRolledoutRevision=TEXT,
    previousRolledoutRevision=TEXT, restUrl=TEXT, url=TEXT,
    traffic=list_of(object_of(configurationName=TEXT, latestRevision=FLAG, percent=LONG, revisionName=TEXT, tag=TEXT,
                              url=TEXT)))

INFERENCE_SERVICE = of_kind(
    object_of(
        ("predictor",), predictor=predictor(),
        transformer=open_of(**EXTENSION),
        explainer=open_of(**EXTENSION, art=open_of(config=STRINGS, runtimeVersion=TEXT, storage=STORAGE,
                                                   storageUri=TEXT, type=TEXT)),
        canary=list_of(object_of(("predictor", "trafficPercent"), predictor=predictor(),
                                 trafficPercent=COUNT | {"minimum": 0, "maximum": 100})) | {
                                     "x-kubernetes-list-type": "atomic"}),
    open_of(
        address=ADDRESS, annotations=STRINGS, clusterServingRuntimeName=TEXT, servingRuntimeName=TEXT,
        components={"type": "object", "additionalProperties": _COMPONENT_STATUS}, conditions=list_of(CONDITION),
        deploymentMode=TEXT, modelStatus=_MODEL_STATUS, observedGeneration=LONG, url=TEXT,
        canaryStatuses=list_of(object_of(("name", "ready", "trafficPercent"), name=TEXT, ready=FLAG,
                                         trafficPercent=COUNT, modelStatus=_MODEL_STATUS))))

SERVING_RUNTIME = of_kind(
    open_of(
        ("containers",), containers=CONTAINERS, affinity=OPEN, annotations=STRINGS, labels=STRINGS, builtInAdapter=OPEN,
        disabled=FLAG, grpcDataEndpoint=TEXT, grpcEndpoint=TEXT, hostIPC=FLAG, httpDataEndpoint=TEXT,
        imagePullSecrets=list_of(OPEN), multiModel=FLAG, nodeSelector=STRINGS, protocolVersions=TEXTS,
        replicas=INTEGER, schedulerName=TEXT, storageHelper=object_of(disabled=FLAG), tolerations=list_of(OPEN),
        volumes=list_of(OPEN), workerSpec=OPEN,
        supportedModelFormats=list_of(object_of(
            ("name",), name=TEXT, version=TEXT, autoSelect=FLAG, priority=COUNT | {"minimum": 1}))),
    OPEN)

_STEP = object_of(
    condition=TEXT, data=TEXT, dependency=choice("Soft", "Hard"), mapPredictionsToInstances=FLAG, name=TEXT,
    nodeName=TEXT, serviceName=TEXT, serviceUrl=TEXT, weight=LONG)

INFERENCE_GRAPH = of_kind(
    object_of(
        ("nodes",), affinity=OPEN, maxReplicas=COUNT, minReplicas=COUNT, nodeName=TEXT, nodeSelector=STRINGS,
        nodes={"type": "object", "additionalProperties": object_of(
            ("routerType",), routerType=choice("Sequence", "Splitter", "Ensemble", "Switch"), steps=list_of(_STEP))},
        resources=OPEN, routerTimeouts=object_of(serverIdle=LONG, serverRead=LONG, serverWrite=LONG,
                                                 serviceClient=LONG),
        scaleMetric=choice("cpu", "memory", "concurrency", "rps"), scaleTarget=COUNT, serviceAccountName=TEXT,
        timeout=LONG, tolerations=list_of(OPEN)),
    object_of(annotations=STRINGS, conditions=list_of(CONDITION), deploymentMode=TEXT, observedGeneration=LONG,
              url=TEXT))

TRAINED_MODEL = of_kind(
    object_of(
        ("inferenceService", "model"), inferenceService=TEXT,
        model=object_of(("framework", "memory", "storageUri"), framework=TEXT, memory=QUANTITY, storageUri=TEXT)),
    object_of(address=ADDRESS, annotations=STRINGS, conditions=list_of(CONDITION), observedGeneration=LONG, url=TEXT))
