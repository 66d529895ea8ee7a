"""The schema of a TrainJob: upstream's limits, defaults and rules. Pure data; ``training`` puts me into its kind."""

from __future__ import annotations

from lightship.domains.training import names
from lightship.domains.training import schema as s

_ENV = s.named(128, value=s.text())
_INITIALIZER = s.object_of(
    storageUri=s.ruled(s.text(maxLength=2048), {
        "rule": "self == '' || self.matches('^[A-Za-z][A-Za-z0-9+.-]*://.+$')",
        "message": "storageUri may be empty, or it must be a valid URI (scheme://...)"}),
    env=_ENV, secretRef=s.object_of(name=s.text(default="")) | {"x-kubernetes-map-type": "atomic"})
_QUANTITIES: s.Schema = {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}}
_TRAINER = s.object_of(
    image=s.text(maxLength=500),
    command=s.list_of(s.text(maxLength=1048576), 128, atomic=True),
    args=s.list_of(s.text(maxLength=1048576), 128, atomic=True),
    env=_ENV, numNodes=s.number(minimum=0),
    numProcPerNode=s.ruled(s.number(), {
        "rule": "self >= 1", "message": "numProcPerNode must be greater than or equal to 1"}),
    resourcesPerNode=s.object_of(
        claims=s.list_of(s.object_of(("name",), name=s.text(), request=s.text()), key="name"),
        limits=_QUANTITIES, requests=_QUANTITIES))

_CONTAINERS = s.ruled(s.list_of(s.object_of(
    ("name",), name=s.text(minLength=1, maxLength=253), env=_ENV, securityContext=s.OPEN,
    volumeMounts=s.list_of(s.OPEN | {"properties": {"mountPath": s.text()}, "required": ["mountPath"]}, 128,
                           key="mountPath")), 64, key="name"), s.IMMUTABLE)
_POD = s.object_of(
    affinity=s.OPEN, containers=_CONTAINERS, initContainers=_CONTAINERS,
    imagePullSecrets=s.ruled(s.named(64), s.IMMUTABLE), nodeSelector=s.STRINGS, schedulingGates=s.named(16),
    securityContext=s.ruled(s.OPEN, s.IMMUTABLE), serviceAccountName=s.ruled(s.text(maxLength=253), s.IMMUTABLE),
    terminationGracePeriodSeconds=s.ruled(s.number("int64", minimum=0), s.IMMUTABLE),
    tolerations=s.list_of(s.OPEN, 128, atomic=True), volumes=s.ruled(s.named(128), s.IMMUTABLE))
_POD_TEMPLATE = s.object_of(metadata=s.METADATA, spec=_POD)
_JOB_TEMPLATE = s.object_of(metadata=s.METADATA, spec=s.object_of(template=_POD_TEMPLATE))
_REPLICATED = s.object_of(("name",), name=s.text(minLength=1, maxLength=253), template=_JOB_TEMPLATE)
_PATCH = s.object_of(
    ("manager",), manager=s.ruled(s.text(minLength=1, maxLength=253), s.IMMUTABLE), time=s.text(format="date-time"),
    trainingRuntimeSpec=s.object_of(template=s.object_of(
        metadata=s.METADATA, spec=s.object_of(replicatedJobs=s.list_of(_REPLICATED, 100, key="name")))))

_SPEC = s.object_of(
    ("runtimeRef",),
    activeDeadlineSeconds=s.ruled(s.number("int64", minimum=1), s.IMMUTABLE),
    initializer=s.ruled(s.object_of(dataset=_INITIALIZER, model=_INITIALIZER), s.IMMUTABLE),
    managedBy=s.ruled(s.text(default=names.MANAGER, maxLength=253), {
        "rule": f"self in ['{names.MANAGER}', '{names.OTHER_MANAGER}']",
        "message": f"ManagedBy must be {names.MANAGER} or {names.OTHER_MANAGER} if set"}, s.IMMUTABLE),
    runtimePatches=s.list_of(_PATCH, 16, key="manager"),
    runtimeRef=s.ruled(s.object_of(
        ("name",), name=s.text(minLength=1, maxLength=253), apiGroup=s.text(default="trainer.kubeflow.org",
                                                                           maxLength=253),
        kind=s.text(default="ClusterTrainingRuntime", maxLength=253)), s.IMMUTABLE),
    suspend={"type": "boolean", "default": False},
    trainer=s.ruled(_TRAINER, s.IMMUTABLE))

_CONDITION = s.object_of(
    ("lastTransitionTime", "message", "reason", "status", "type"),
    lastTransitionTime=s.text(format="date-time"), message=s.text(maxLength=32768),
    observedGeneration=s.number("int64", minimum=0),
    reason=s.text(minLength=1, maxLength=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
    status=s.text(enum=["True", "False", "Unknown"]), type=s.text(maxLength=316))
_COUNT = s.number(minimum=0)
_COUNTS = ("name", "ready", "succeeded", "failed", "active", "suspended")
_JOB_STATUS = s.object_of(_COUNTS, name=s.text(minLength=1, maxLength=253), ready=_COUNT, succeeded=_COUNT,
                          failed=_COUNT, active=_COUNT, suspended=_COUNT)
_METRIC = s.object_of(("name", "value"), name=s.text(minLength=1, maxLength=64), value=s.text(minLength=1,
                                                                                             maxLength=64))
_STATUS = s.object_of(
    conditions=s.list_of(_CONDITION, 8, key="type"), jobsStatus=s.list_of(_JOB_STATUS, 100, key="name"),
    trainerStatus=s.ruled(s.object_of(
        progressPercentage=s.number(minimum=0, maximum=100), estimatedRemainingSeconds=_COUNT,
        lastUpdatedTime=s.text(format="date-time"), metrics=s.list_of(_METRIC, 256, atomic=True)), {
            "rule": "has(self.lastUpdatedTime)",
            "message": "lastUpdatedTime is required when trainerStatus is present"}))

SCHEMA = s.of_kind(_SPEC, _STATUS)
