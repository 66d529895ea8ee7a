"""What a runtime must be to be accepted: the same in the embedded server and as a webhook. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lightship.domains.furniture import FieldError
from lightship.domains.serving import fields, shapes
from lightship.domains.serving.serving_runtime import types
from lightship.kube.objects import Object


def validate(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a runtime."""
    try:
        spec = types.parse(obj)
        shapes.check_pod(obj.get("spec"))
    except msgspec.ValidationError as problem:
        return (fields.error_of(problem, "spec"),)
    found: list[FieldError] = []
    if not spec.containers:
        found.append(FieldError(path="spec.containers", message="at least one container is required"))
    for place, container in enumerate(spec.containers):
        if not container.get("name"):
            found.append(FieldError(path=f"spec.containers[{place}].name", message="a container needs a name"))
    priorities: dict[str, int] = {}
    for place, supported in enumerate(spec.supported_model_formats):
        path = f"spec.supportedModelFormats[{place}].priority"
        if supported.priority is None:
            continue
        if supported.priority < 1:
            found.append(FieldError(path=path, message="a priority is 1 or more"))
        elif supported.auto_select and priorities.setdefault(supported.name, supported.priority) != supported.priority:
            # Upstream's rule: the priority is the runtime's for a format, not a version's.
            found.append(FieldError(path=path, message=f'all versions of format "{supported.name}" must have the '
                                                       "same priority in one runtime"))
    return found
