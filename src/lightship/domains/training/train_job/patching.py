"""A runtime's template with the TrainJob's patches laid over it, in their order: strategic merges. Pure; ``lower``
calls me. I know how the lists of a JobSet's and a Pod's specification merge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.kube import objects, strategic
from lightship.kube.objects import Object

_KEYS: Mapping[str, str] = {
    "replicatedJobs": "name", "containers": "name", "initContainers": "name", "env": "name", "volumes": "name",
    "imagePullSecrets": "name", "schedulingGates": "name", "volumeMounts": "mountPath", "claims": "name",
}


class _Lists:
    """The lists that merge by a key; no two types under a JobSet use one name differently."""

    def key(self, field: str) -> str | None:
        return _KEYS.get(field)

    def below(self, field: str) -> strategic.Lists:
        return self


LISTS: strategic.Lists = _Lists()


def templates(job: Object) -> list[dict[str, Any]]:
    """What the TrainJob's patches say of the JobSet, in their order."""
    patches = objects.spec(job).get("runtimePatches") or ()
    return [(patch.get("trainingRuntimeSpec") or {}).get("template") or {} for patch in patches]


def patched(spec: dict[str, Any], job: Object) -> dict[str, Any]:
    """The JobSet's specification with the patches; replicated Jobs keep the runtime's order, which is that of start."""
    order = {replicated["name"]: place for place, replicated in enumerate(spec.get("replicatedJobs") or ())}
    for template in templates(job):
        if template.get("spec"):
            spec = strategic.merge(spec, template["spec"], lists=LISTS)
    merged = sorted(spec.get("replicatedJobs") or (), key=lambda one: order.get(one["name"], len(order)))
    return spec | {"replicatedJobs": merged}


def merged_resources(base: Mapping[str, Any] | None, over: Mapping[str, Any]) -> dict[str, Any]:
    """Resources of a container with the TrainJob's: by resource, and claims by name."""
    return dict(strategic.merge(dict(base or {}), dict(over), lists=LISTS))
