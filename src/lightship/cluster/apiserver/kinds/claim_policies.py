"""What a JobSet's ``volumeClaimPolicies`` must be: upstream's checks and words. Pure; ``batch`` calls me."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightship.cluster.apiserver.registry import FieldFault
from lightship.kube import objects

LIMIT_CLAIM_NAME_CHARACTERS = 253
_KEPT = ("Delete", "Retain")


def faults(job_set: str, spec: Mapping[str, Any]) -> Iterator[FieldFault]:
    """Everything wrong with the policies, given the Jobs' templates."""
    taken: set[str] = set()
    for number, policy in enumerate(spec.get("volumeClaimPolicies") or ()):
        place = f"spec.volumeClaimPolicies[{number}]"
        kept = (policy.get("retentionPolicy") or {}).get("whenDeleted", "Delete")
        if kept not in _KEPT:
            yield FieldFault(f"{place}.retentionPolicy.whenDeleted", f'Unsupported value: "{kept}": supported values: '
                                                                     + ", ".join(f'"{one}"' for one in _KEPT))
        for which, template in enumerate(policy.get("templates") or ()):
            yield from _template(f"{place}.template[{which}]", job_set, template, spec)
            name = objects.name(template)
            if name in taken:
                yield FieldFault(f"{place}.template[{which}].name", f'Invalid value: "{name}": names must be unique '
                                                                    "for VolumeClaimPolicies template")
            taken.add(name)


def mounted(job: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """A Job's specification with the volumes that it will have by the policies, so that its mounts can be judged."""
    templates = [template for policy in spec.get("volumeClaimPolicies") or ()
                 for template in policy.get("templates") or ()]
    if not templates:
        return dict(job)
    template = job.get("template") or {}
    pod = objects.spec(template)
    more = [{"name": objects.name(one), "persistentVolumeClaim": {"claimName": objects.name(one) or "claim"}}
            for one in templates]
    return dict(job) | {"template": template | {"spec": pod | {"volumes": [*(pod.get("volumes") or ()), *more]}}}


def _template(place: str, job_set: str, template: objects.Object, spec: Mapping[str, Any]) -> Iterator[FieldFault]:
    name = objects.name(template)
    if objects.namespace(template):
        yield FieldFault(place, "Invalid value: namespace cannot be set for VolumeClaimPolicies templates")
    if not name or len(f"{name}-{job_set}") > LIMIT_CLAIM_NAME_CHARACTERS:
        yield FieldFault(f"{place}.name", f'Invalid value: "{name}": VolumeClaimPolicies template name is '
                                          + ("too long" if name else "missing"))
    mounted = False
    for number, job in enumerate(spec.get("replicatedJobs") or ()):
        pod = objects.spec(objects.spec(job.get("template") or {}).get("template") or {})
        for which, volume in enumerate(pod.get("volumes") or ()):
            if volume.get("name") == name:
                yield FieldFault(
                    f"spec.replicatedJobs[{number}].template.spec.template.spec.volumes[{which}].name",
                    f'Invalid value: "{name}": volume name conflicts with VolumeClaimPolicy template name: {name}')
        mounted = mounted or any(mount.get("name") == name for kind in ("containers", "initContainers")
                                 for container in pod.get(kind) or () for mount in container.get("volumeMounts") or ())
    if not mounted:
        yield FieldFault("spec.replicatedJobs", "Invalid value: replicatedJob containers don't have a matching "
                                                f"volumeMount: {name} from VolumeClaimPolicies")
