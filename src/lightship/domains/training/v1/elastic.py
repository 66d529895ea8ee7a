"""``elasticPolicy``: how few and how many workers there may be, and the autoscaler that goes between. Pure.

PyTorchJob and PaddleJob have it; their modules call me.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.training import schema as s
from lightship.domains.training.v1 import names
from lightship.domains.training.v1.framework import Extra, Job
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import HORIZONTAL_POD_AUTOSCALERS

FIELDS = {"minReplicas": s.number(), "maxReplicas": s.number(), "maxRestarts": s.number(),
          "metrics": s.list_of(s.OPEN)}
SCHEMA = s.object_of((), **FIELDS)


def bounds(policy: Mapping[str, Any], workers: int) -> tuple[int, int]:
    """The fewest and the most workers: one bound stands for the other, and neither for the workers there are."""
    low, high = policy.get("minReplicas"), policy.get("maxReplicas")
    low = high if low is None else low
    high = low if high is None else high
    return (workers if low is None else int(low)), (workers if high is None else int(high))


def check(spec: Mapping[str, Any], specs: str) -> Iterable[FieldError]:
    """What is wrong with a policy, where there is one."""
    policy = spec.get("elasticPolicy")
    if policy is None:
        return
    if names.WORKER not in (spec.get(specs) or {}):
        yield FieldError(path=f"spec.{specs}[{names.WORKER}]",
                         message="Required value: must be configured if elastic policy is used")
    for name in ("minReplicas", "maxReplicas", "maxRestarts"):
        if (policy.get(name) or 0) < 0:
            yield FieldError(path=f"spec.elasticPolicy.{name}",
                             message=f"Invalid value: {policy[name]}: must be greater than or equal to 0")
    low, high = policy.get("minReplicas"), policy.get("maxReplicas")
    if low is not None and high is not None and low > high:
        yield FieldError(path="spec.elasticPolicy.minReplicas",
                         message=f"Invalid value: {low}: must be less than or equal to maxReplicas")


def autoscaler(job: Job, pods: Sequence[Object]) -> Sequence[Extra]:
    """The HorizontalPodAutoscaler, where the policy has metrics; none while the job is suspended."""
    policy = job.spec.get("elasticPolicy")
    if policy is None or policy.get("metrics") is None or names.WORKER not in job.replicas:
        return ()
    low, high = bounds(policy, job.replicas[names.WORKER].count)
    return (Extra(resource=HORIZONTAL_POD_AUTOSCALERS, wanted=not job.policy.suspend, obj={
        "apiVersion": HORIZONTAL_POD_AUTOSCALERS.api_version, "kind": HORIZONTAL_POD_AUTOSCALERS.kind,
        "metadata": {"name": job.name, "namespace": job.namespace,
                     "ownerReferences": [objects.owner_reference(job.obj)]},
        "spec": {"scaleTargetRef": {"apiVersion": job.framework.resource.api_version, "kind": job.kind,
                                    "name": job.name},
                 "minReplicas": low, "maxReplicas": high, "metrics": list(policy["metrics"])}}),)
