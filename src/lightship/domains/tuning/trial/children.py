"""The run of a Trial: the object that its template makes, with the Trial's labels on it and on all its Pods. Pure.

Upstream labels Pods by a webhook that looks for their owner's owner. Here whoever makes the run says so in it: every
Pod template inside has the labels, and the primary container the Trial's name, on any cluster and without a webhook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightship.domains.tuning import kinds, names
from lightship.domains.tuning.trial import checkpoints
from lightship.kube import objects
from lightship.kube.objects import Object

TRAIN_JOB = ("trainer.kubeflow.org", "TrainJob")
_PATCHES_MANAGER = "lightship.dev/tuning"
LIMIT_DEPTH = 20

Amend = Callable[[Object, Object], Object]
"""What else a Trial's primary Pod needs: ``(trial, pod template)`` to the template; a collector's, for one."""


def group_kind(run: Mapping[str, Any]) -> tuple[str, str]:
    group, _, version = str(run.get("apiVersion") or "").rpartition("/")
    return (group if version else "", str(run.get("kind") or ""))


def make_run(trial: Object, owner: Object, replicated_jobs: tuple[str, ...] = (), amend: Amend | None = None) -> Object:
    """The run of a Trial. ``replicated_jobs`` are those of a TrainJob's runtime, whose Pods its patches reach."""
    run = objects.spec(trial)["runSpec"]
    labels = labels_of(trial)
    metadata = dict(objects.meta(run))
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    metadata["ownerReferences"] = [owner]
    made = dict(run) | {"metadata": metadata}
    if group_kind(run) == TRAIN_JOB:
        made["spec"] = _train_job(trial, dict(run.get("spec") or {}), replicated_jobs, amend)
    elif "spec" in run:
        made["spec"] = _labelled(run["spec"], trial, amend, 0)
    return made


def labels_of(trial: Object) -> dict[str, str]:
    """What every object of a Trial bears."""
    found = {names.TRIAL_LABEL: objects.name(trial)}
    if experiment := objects.labels(trial).get(names.EXPERIMENT_LABEL):
        found[names.EXPERIMENT_LABEL] = experiment
    return found


def owner(trial: Object) -> Object:
    return {"apiVersion": kinds.TRIALS.api_version, "kind": kinds.TRIALS.kind, "name": objects.name(trial),
            "uid": objects.uid(trial), "controller": True, "blockOwnerDeletion": True}


def _labelled(value: Any, trial: Object, amend: Amend | None, depth: int) -> Any:
    """``value`` with each Pod template in it labelled, wherever a kind keeps them."""
    if depth > LIMIT_DEPTH:
        return value
    if isinstance(value, list):
        return [_labelled(one, trial, amend, depth + 1) for one in value]
    if not isinstance(value, Mapping):
        return value
    spec = value.get("spec")
    if isinstance(spec, Mapping) and isinstance(spec.get("containers"), list):
        return _pod(dict(value), trial, amend)
    return {key: _labelled(inner, trial, amend, depth + 1) for key, inner in value.items()}


def _pod(pod: Object, trial: Object, amend: Amend | None) -> Object:
    metadata, spec = pod.get("metadata") or {}, dict(pod["spec"])
    labels = metadata.get("labels") or {} if isinstance(metadata, Mapping) else None
    if not isinstance(labels, Mapping) or not all(isinstance(one, Mapping) for one in spec["containers"]):
        return pod  # no Pod can be made of it, and whoever is asked to will say so
    metadata = dict(metadata) | {"labels": {**labels, **labels_of(trial)}}
    primary = objects.spec(trial).get("primaryContainerName")
    spec["containers"] = [_named(container, trial) if container.get("name") == primary else container
                          for container in spec["containers"]]
    made = pod | {"metadata": metadata, "spec": spec}
    if not any(one.get("name") == primary for one in spec["containers"]):
        return made
    made = checkpoints.amend(trial, made)
    return amend(trial, made) if amend is not None else made


def _named(container: Mapping[str, Any], trial: Object) -> Object:
    given = container.get("env") or ()
    if not isinstance(given, list | tuple):
        return dict(container)
    env = [one for one in given if not (
        isinstance(one, Mapping) and one.get("name") == names.TRIAL_NAME_VARIABLE)]
    return dict(container) | {"env": [*env, {"name": names.TRIAL_NAME_VARIABLE, "value": objects.name(trial)}]}


def _metadata_of(trial: Object, pod: Object, primary: str, amend: Amend | None) -> Object:
    """What a patch may say of a Pod: a TrainJob's may add no container to its runtime's, so ``pods`` does the rest."""
    with_primary = pod | {"spec": {"containers": [{"name": primary}]}}
    return {"metadata": (amend(trial, with_primary) if amend is not None else with_primary)["metadata"]}


def _train_job(trial: Object, spec: Object, replicated_jobs: tuple[str, ...], amend: Amend | None) -> Object:
    """A TrainJob has no Pod template of its own: its runtime's are patched."""
    if not replicated_jobs:
        return spec
    primary = str(objects.spec(trial).get("primaryContainerName") or "")
    jobs = []
    for name in replicated_jobs:
        pod: Object = {"metadata": {"labels": labels_of(trial)}}
        if name == primary:
            pod = _metadata_of(trial, pod, primary, amend)
        jobs.append({"name": name, "template": {"spec": {"template": pod}}})
    patch = {"manager": _PATCHES_MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}}}
    others = [one for one in spec.get("runtimePatches") or () if one.get("manager") != _PATCHES_MANAGER]
    made = spec | {"runtimePatches": [*others, patch]}
    if isinstance(trainer := spec.get("trainer"), Mapping):  # one that is not there must stay so: it changes the env
        made["trainer"] = dict(trainer) | {"env": _named({"env": trainer.get("env")}, trial)["env"]}
    return made
