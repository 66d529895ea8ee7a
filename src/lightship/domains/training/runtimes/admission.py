"""What a runtime must be to be accepted: the same in the embedded server and as a webhook. Pure.

Upstream checks a runtime when it is made, not when it changes; so do I.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.training import names
from lightship.kube import objects
from lightship.kube.objects import Object

_JOBS = "spec.template.spec.replicatedJobs"
_LATER_POLICIES = {"flux": "Flux"}


def validate(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a new runtime."""
    if old is not None:
        return ()
    template = objects.spec(obj).get("template") or {}
    found = [fault for place, job in enumerate(objects.spec(template).get("replicatedJobs") or ())
             for fault in _job_faults(f"{_JOBS}[{place}]", job)]
    policy = objects.spec(obj).get("mlPolicy") or {}
    found += [FieldError(path=f"spec.mlPolicy.{field}", message=f"{title} is not served by this version")
              for field, title in _LATER_POLICIES.items() if policy.get(field) is not None]
    return found


def _job_faults(path: str, job: Mapping[str, Any]) -> Iterator[FieldError]:
    template = job.get("template") or {}
    step = objects.labels(template).get(names.ANCESTOR_LABEL, "")
    wanted = names.CONTAINER_OF_STEP.get(step)
    if wanted is None:
        return
    if job.get("replicas", 1) != 1:
        yield FieldError(path=f"{path}.replicas", message="always must be 1")
    pod = objects.spec(objects.spec(template).get("template") or {})
    if not any(container.get("name") == wanted for container in pod.get("containers") or ()):
        yield FieldError(path=f"{path}.template.spec.template.spec.containers",
                         message=f"must contain the required container for the ancestor: {wanted}")
