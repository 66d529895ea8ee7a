"""A TrainJob and its runtime as a JobSet, and the snapshot of the runtime that it goes by. Pure; ``decide`` calls me.

I call ``patching`` for what the user patches and ``policies`` for what the framework wants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lightship.domains.training import names
from lightship.domains.training.errors import BadSnapshot
from lightship.domains.training.site import OTHER, Site
from lightship.domains.training.train_job import gangs, local_sources, mpi, patching, policies, reporting
from lightship.domains.training.train_job.draft import Draft, Step, upsert
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import JOB_SETS
from lightship.runtime import apply

SNAPSHOT_KEY = "runtime"


def make_job_set(job: Object, runtime: Object, site: Site = OTHER) -> Object:
    """The JobSet, marked with the digest of all that it says."""
    template = objects.spec(runtime).get("template") or {}
    spec = _draft(job, runtime, site).spec() | {"suspend": suspended(job)}
    over = [template, *patching.templates(job)]
    labels, annotations = _merged(over, "labels"), _merged(over, "annotations")
    digest = apply.digest([spec, labels, annotations])
    return {
        "apiVersion": JOB_SETS.api_version, "kind": JOB_SETS.kind,
        "metadata": {"name": objects.name(job), "namespace": objects.namespace(job), "labels": labels,
                     "annotations": annotations | {names.APPLIED_ANNOTATION: digest},
                     "ownerReferences": [objects.owner_reference(job)]},
        "spec": spec,
    }


def make_hosts(job: Object, runtime: Object) -> Object | None:
    """The ConfigMap with the hosts of an MPI training; none for any other."""
    policy = mpi.of(objects.spec(runtime).get("mlPolicy"))
    if policy is None:
        return None
    draft = _draft(job, runtime, OTHER)
    return mpi.make_hosts(draft, job, policy, policies.resources_of_node(draft, job))


def pods(job: Object, runtime: Object) -> int:
    """How many Pods it makes."""
    return sum(gangs.pods_of(step) for step in _draft(job, runtime, OTHER).steps)


def make_pod_group(job: Object, runtime: Object, site: Site) -> Object | None:
    """The group of all Pods that are to be admitted together, where there is to be one."""
    return gangs.make(_draft(job, runtime, site), job, runtime, site)


def make_snapshot(job: Object, runtime: Object) -> Object:
    """The ConfigMap that keeps the runtime, so that a change of it does not reach a TrainJob that goes on."""
    kept = {"apiVersion": runtime["apiVersion"], "kind": runtime["kind"],
            "metadata": {key: value for key, value in objects.meta(runtime).items() if key != "managedFields"},
            "spec": objects.spec(runtime)}
    return {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": names.snapshot(objects.name(job)), "namespace": objects.namespace(job),
                     "ownerReferences": [objects.owner_reference(job)]},
        # JSON, which is YAML to whoever reads upstream's snapshots as that.
        "data": {SNAPSHOT_KEY: json.dumps(kept, indent=1, sort_keys=True)},
    }


def read_snapshot(job: Object, config_map: Object) -> Object:
    """The runtime in a snapshot. Raises ``BadSnapshot`` where it is not this TrainJob's."""
    place = f'ConfigMap "{objects.key(config_map)}"'
    owner = objects.controller_of(config_map)
    if owner is None or owner.get("uid") != objects.uid(job):
        raise BadSnapshot(f"{place} is not this TrainJob's: it belongs to another object",
                          remedy="Delete or rename it; the TrainJob keeps its runtime under that name")
    try:
        runtime = json.loads((config_map.get("data") or {})[SNAPSHOT_KEY])
    except (KeyError, ValueError) as problem:
        raise BadSnapshot(f"{place} holds no runtime: {problem}", remedy="Delete it; it is made anew") from problem
    reference = objects.spec(job)["runtimeRef"]
    if not isinstance(runtime, dict) or (runtime.get("kind"), objects.name(runtime)) != (
            reference.get("kind"), reference.get("name")):
        raise BadSnapshot(f"{place} holds another runtime than {reference.get('kind')} \"{reference.get('name')}\"",
                          remedy="Delete it; it is made anew")
    return runtime


def suspended(job: Object) -> bool:
    return bool(objects.spec(job).get("suspend"))


def _draft(job: Object, runtime: Object, site: Site) -> Draft:
    """The runtime's template with everything that the TrainJob says of it."""
    policy = objects.spec(runtime).get("mlPolicy")
    template = objects.spec(runtime).get("template") or {}
    draft = Draft(patching.patched(dict(objects.spec(template)), job), policy)
    for step in draft.steps:
        _size(step, job, policy)
    policies.enforce(draft, job, policy or {})
    for step in draft.steps:
        _trainer(step, job)
        _initializer(step, job)
    if site.progress:
        reporting.enforce(draft, job)
        reporting.keep_last_words(draft)
        local_sources.enforce(draft)
    gangs.mark(draft, job, runtime, site)
    return draft


def _merged(templates: list[dict[str, Any]], field: str) -> dict[str, str]:
    result: dict[str, str] = {}
    for template in templates:
        result |= objects.meta(template).get(field) or {}
    return result


def _size(step: Step, job: Object, policy: Mapping[str, Any] | None) -> None:
    """The TrainJob's resources for the container of a training node."""
    wanted = (objects.spec(job).get("trainer") or {}).get("resourcesPerNode")
    node = step.container(names.NODE)
    meant = step.kind == names.TRAINER or mpi.sized(step, policy)
    if wanted is not None and node is not None and policy is not None and meant:
        node.body["resources"] = patching.merged_resources(node.body.get("resources"), wanted)


def _trainer(step: Step, job: Object) -> None:
    """The TrainJob's own image, command and arguments."""
    if step.kind != names.TRAINER:
        return
    step.body["replicas"] = 1
    node = step.container(names.NODE)
    trainer = objects.spec(job).get("trainer") or {}
    if node is not None:
        node.body |= {field: trainer[field] for field in ("image", "command", "args")
                      if trainer.get(field) is not None}


def _initializer(step: Step, job: Object) -> None:
    """What the TrainJob says of the step that brings its dataset or model."""
    part = next((part for part, kind in names.INITIALIZERS.items() if kind == step.kind), None)
    if part is None:
        return
    step.body["replicas"] = 1
    wanted = (objects.spec(job).get("initializer") or {}).get(part)
    container = step.container(step.kind)
    if wanted is None or container is None:
        return
    if wanted.get("storageUri") is not None:
        container.env = upsert(container.env, [{"name": names.STORAGE_URI, "value": wanted["storageUri"]}])
    container.env = upsert(container.env, wanted.get("env") or ())
    if wanted.get("secretRef") is not None:
        sources = container.body.get("envFrom") or []
        container.body["envFrom"] = [*sources, {"secretRef": {"name": wanted["secretRef"].get("name", "")}}]
