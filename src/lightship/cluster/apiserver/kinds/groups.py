"""PodGroups (``scheduling.x-k8s.io/v1alpha1``, of scheduler-plugins): validation by the rules of upstream's schema.

Pure; ``kinds.workload_table`` puts me into the registry. The scheduler obeys them, ``builtin.podgroups`` keeps status.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightship import errors
from lightship.cluster.apiserver.registry import FieldFault
from lightship.kube import objects, pod_requests
from lightship.kube.objects import Object

_LARGEST = 2**31 - 1


def validate_pod_group(obj: Object, old: Object | None) -> Sequence[FieldFault]:
    """Everything wrong with a PodGroup."""
    return list(_faults(obj))


def _faults(obj: Object) -> Iterator[FieldFault]:
    spec = objects.spec(obj)
    for field, least in (("minMember", 1), ("scheduleTimeoutSeconds", -_LARGEST)):
        value = spec.get(field)
        if value is None:
            continue
        if type(value) is not int:
            yield FieldFault(f"spec.{field}", f'Invalid value: "{type(value).__name__}": must be of type integer')
        elif not least <= value <= _LARGEST:
            yield FieldFault(f"spec.{field}", f"Invalid value: {value}: should be greater than or equal to {least}")
    resources = spec.get("minResources")
    if resources is not None and not isinstance(resources, dict):
        yield FieldFault("spec.minResources", "Invalid value: must be of type object")
        return
    try:
        pod_requests.amounts(resources)
    except errors.InvalidInput as problem:
        yield FieldFault("spec.minResources", f"Invalid value: {problem.message}")
