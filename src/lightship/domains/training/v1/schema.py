"""The schemas of the v1 jobs: what all have in common, with each framework's own fields. Pure data."""

from __future__ import annotations

from lightship.domains.training import schema as s
from lightship.domains.training.v1.framework import Framework

_REPLICAS = s.object_of((), replicas=s.number(), restartPolicy=s.text(),
                        template=s.object_of((), metadata=s.OPEN, spec=s.OPEN))
_RUN_POLICY = s.object_of(
    (), activeDeadlineSeconds=s.number("int64"), backoffLimit=s.number(), cleanPodPolicy=s.text(), managedBy=s.text(),
    schedulingPolicy=s.object_of(
        (), minAvailable=s.number(), priorityClass=s.text(), scheduleTimeoutSeconds=s.number(),
        minResources={"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}},
        queue=s.ruled(s.text(), {"rule": "self == oldSelf",
                                 "message": "spec.runPolicy.schedulingPolicy.queue is immutable"})),
    suspend={"type": "boolean", "default": False}, ttlSecondsAfterFinished=s.number())
_TIME = s.text(format="date-time")
_CONDITION = s.object_of(("status", "type"), lastTransitionTime=_TIME, lastUpdateTime=_TIME, message=s.text(),
                         reason=s.text(), status=s.text(), type=s.text())
_EXPRESSION = s.object_of(("key", "operator"), key=s.text(), operator=s.text(), values=s.list_of(s.text()))
_REPLICA_STATUS = s.object_of(
    (), active=s.number(), failed=s.number(), succeeded=s.number(), selector=s.text(),
    labelSelector=s.object_of((), matchExpressions=s.list_of(_EXPRESSION), matchLabels=s.STRINGS))
_STATUS = s.object_of(
    (), completionTime=_TIME, conditions=s.list_of(_CONDITION), lastReconcileTime=_TIME,
    replicaStatuses={"type": "object", "additionalProperties": _REPLICA_STATUS}, startTime=_TIME)


def of(framework: Framework) -> s.Schema:
    """The schema of a framework's kind."""
    replicas: s.Schema = {"type": "object", "additionalProperties": _REPLICAS}
    return s.of_kind(s.object_of((framework.specs,), **{
        "runPolicy": _RUN_POLICY, framework.specs: replicas, **framework.fields}), _STATUS)
