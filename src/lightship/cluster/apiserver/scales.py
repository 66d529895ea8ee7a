"""An object as a ``Scale``, and a ``Scale`` put back into it. Pure; ``subresources`` calls me.

Built-in kinds have their numbers where a Deployment has them; a custom kind's definition says where.
"""

from __future__ import annotations

from typing import Any

from lightship.cluster.apiserver.errors import Cause, Invalid
from lightship.cluster.apiserver.registry import Served
from lightship.kube import objects, selectors
from lightship.kube.objects import Object
from lightship.kube.resources import Column, Resource

SERVED = Served(resource=Resource(
    group="autoscaling", version="v1", kind="Scale", plural="scales", columns=(
        Column(name="Desired", path=".spec.replicas", type="integer"),
        Column(name="Available", path=".status.replicas", type="integer"),
        Column(name="Age", path=".metadata.creationTimestamp", type="date"))))
"""How a Scale prints; nobody can ask for it but as a part of another kind."""
_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scaled(old: Object, wanted: Any, served: Served) -> Object:
    """``old`` with the replicas of the Scale ``wanted``. Raises ``Invalid``."""
    spec = (wanted.get("spec") or {}) if isinstance(wanted, dict) else None
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else None
    if not isinstance(replicas, int) or isinstance(replicas, bool) or not 0 <= replicas < 2**31:
        raise Invalid(f'Scale "{objects.name(old)}"',
                      [Cause("spec.replicas", "Invalid value: must be greater than or equal to 0")])
    given = wanted.get("metadata")
    version = given.get("resourceVersion") if isinstance(given, dict) else None
    metadata = old["metadata"] | ({"resourceVersion": str(version)} if version else {})
    return _put(old, _steps(served.scale.spec_replicas if served.scale else ".spec.replicas"), replicas) | {
        "metadata": metadata}


def shown(obj: Object, served: Served) -> Object:
    """The Scale of an object."""
    metadata, status = obj["metadata"], objects.status(obj)
    scale: Object = {"kind": "Scale", "apiVersion": "autoscaling/v1",
                     "metadata": {key: metadata[key] for key in _KEPT if key in metadata}}
    if served.scale:
        return scale | {"spec": {"replicas": _number(obj, served.scale.spec_replicas)},
                        "status": _custom_status(obj, served)}
    spec = objects.spec(obj)
    scale |= {"spec": {"replicas": spec.get("replicas", 1)}, "status": {"replicas": status.get("replicas") or 0}}
    selector = spec.get("selector")
    if isinstance(selector, dict):
        plain = obj["kind"] == "ReplicationController"
        text = selectors.render(selectors.from_object({"matchLabels": selector} if plain else selector))
        scale["status"]["selector"] = text
    return scale


def _custom_status(obj: Object, served: Served) -> Object:
    assert served.scale is not None
    status: Object = {"replicas": _number(obj, served.scale.status_replicas)}
    selector = _get(obj, _steps(served.scale.selector)) if served.scale.selector else None
    return status | ({"selector": selector} if isinstance(selector, str) and selector else {})


def _steps(path: str) -> list[str]:
    return path.removeprefix(".").split(".")


def _get(obj: Any, steps: list[str]) -> Any:
    for step in steps:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def _number(obj: Object, path: str) -> int:
    value = _get(obj, _steps(path))
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _put(obj: Any, steps: list[str], value: Any) -> Object:
    inner = obj if isinstance(obj, dict) else {}
    return inner | {steps[0]: _put(inner.get(steps[0]), steps[1:], value) if steps[1:] else value}
