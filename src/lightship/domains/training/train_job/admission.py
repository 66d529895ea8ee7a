"""What a TrainJob must be to be accepted, beyond its schema: the same in the embedded server and as a webhook. Pure.

``validate`` judges it alone, ``validate_with`` together with the runtime that it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightship.domains.furniture import FieldError
from lightship.domains.training import kinds, names
from lightship.domains.training.train_job import lower, mpi, policies
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource

LIMIT_NAME_CHARACTERS = 63 - len(f"-{names.DATASET_INITIALIZER}-0-0")
"""The host names of a JobSet's Pods are labels: NAME-JOB-0-0."""
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_MANAGER = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/_.~!$&'()*+,;=:@-]+")
_TORCHTUNE = ["tune", "run"]
_PATCHES = "spec.runtimePatches"


def validate(obj: Object, old: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a TrainJob by itself."""
    return [*_metadata(obj), *_reference(obj), *_trainer(obj), *_patches(obj, old)]


def related(obj: Object) -> tuple[Resource, Key] | None:
    """The runtime that a TrainJob names."""
    reference = objects.spec(obj).get("runtimeRef") or {}
    resource = kinds.RUNTIMES.get(str(reference.get("kind")))
    if resource is None or reference.get("apiGroup") != kinds.GROUP:
        return None
    return resource, Key(objects.namespace(obj) if resource.namespaced else "", str(reference.get("name")))


def validate_with(obj: Object, old: Object | None, runtime: Object | None) -> Sequence[FieldError]:
    """Everything wrong with a new TrainJob for the runtime that it names."""
    if old is not None or related(obj) is None:
        return ()
    if runtime is None:
        reference = objects.spec(obj)["runtimeRef"]
        return (FieldError(path="spec.runtimeRef", message=f"{reference['kind']} \"{reference['name']}\" is not there; "
                           "the specified runtime must be created before the TrainJob is created"),)
    template = objects.spec(objects.spec(runtime).get("template") or {})
    jobs = {str(job["name"]): job for job in template.get("replicatedJobs") or ()}
    return [*_launcher(obj, runtime, jobs), *_reserved(obj, runtime), *_initializers(obj, jobs),
            *_patched_names(obj, jobs)]


def _metadata(obj: Object) -> Iterator[FieldError]:
    name = objects.name(obj)
    if name and not _NAME.fullmatch(name):
        yield FieldError(path="metadata.name", message=f'"{name}" must be lower case letters, digits and "-", '
                                                       "starting with a letter and ending with a letter or digit")
    if len(name) > LIMIT_NAME_CHARACTERS:
        yield FieldError(path="metadata.name", message=f"at most {LIMIT_NAME_CHARACTERS} characters, since its Pods' "
                                                       "host names begin with it")


def _reference(obj: Object) -> Iterator[FieldError]:
    reference = objects.spec(obj).get("runtimeRef") or {}
    if related(obj) is None:
        yield FieldError(path="spec.runtimeRef", message=f"unsupported runtime: {reference.get('kind')}."
                                                         f"{reference.get('apiGroup')}")


def _trainer(obj: Object) -> Iterator[FieldError]:
    trainer = objects.spec(obj).get("trainer") or {}
    if trainer.get("command") == _TORCHTUNE:
        yield FieldError(path="spec.trainer.command", message="torchtune's builtin trainer is not served by this "
                                                              "version; give a command of your own")


def _patches(obj: Object, old: Object | None) -> Iterator[FieldError]:
    patches = objects.spec(obj).get("runtimePatches") or []
    for place, patch in enumerate(patches):
        if not _MANAGER.fullmatch(str(patch.get("manager"))):
            yield FieldError(path=f"{_PATCHES}[{place}].manager",
                             message="must be a domain-prefixed path (such as \"acme.io/foo\")")
    if old is None or patches == (objects.spec(old).get("runtimePatches") or []):
        return
    if not lower.suspended(old) and not lower.suspended(obj):
        yield FieldError(path=_PATCHES, message="RuntimePatches can only be modified when the TrainJob is suspended "
                                                "before or after the update")
    active = [job["name"] for job in objects.status(old).get("jobsStatus") or () if job.get("active")]
    for name in active:
        yield FieldError(path=_PATCHES, message="RuntimePatches cannot be modified when the JobSet's ReplicatedJob "
                                                f"{name} is still active")


def _launcher(obj: Object, runtime: Object, jobs: Mapping[str, Any]) -> Iterator[FieldError]:
    nodes = (objects.spec(obj).get("trainer") or {}).get("numNodes") or 1
    whole = names.LAUNCHER in jobs and names.NODE in jobs
    if nodes >= 2 and mpi.launcher_is_node(objects.spec(runtime).get("mlPolicy")) and not whole:
        yield FieldError(path="spec.trainer.numNodes", message="must have 1 when MPI trainingRuntime with enabled "
                                                               "runLauncherAsNode does not have either launcher and "
                                                               "node")


def _reserved(obj: Object, runtime: Object) -> Iterator[FieldError]:
    policy = objects.spec(runtime).get("mlPolicy") or {}
    given = [variable["name"] for variable in (objects.spec(obj).get("trainer") or {}).get("env") or ()]
    for name, reserved in policies.RESERVED.items():
        found = sorted(reserved.intersection(given)) if policy.get(name) is not None else []
        if found:
            yield FieldError(path="spec.trainer.env", message="must not have reserved envs, invalid envs configured: "
                                                              f"{', '.join(found)}")


def _containers(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    pod = objects.spec(objects.spec(job.get("template") or {}).get("template") or {})
    return [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]


def _initializers(obj: Object, jobs: Mapping[str, Any]) -> Iterator[FieldError]:
    for part, step in names.INITIALIZERS.items():
        if (objects.spec(obj).get("initializer") or {}).get(part) is None:
            continue
        if step not in jobs:
            yield FieldError(path="spec.runtimeRef", message=f"must have {step} job when trainJob is configured with "
                                                             f"input {part}Config")
        elif not any(container["name"] == step for container in _containers(jobs[step])):
            yield FieldError(path="spec.runtimeRef", message=f"must have container with name - {step} in the {step} "
                                                             "job")


def _patched_names(obj: Object, jobs: Mapping[str, Any]) -> Iterator[FieldError]:
    owned = (names.DATASET_INITIALIZER, names.MODEL_INITIALIZER, names.NODE)
    for patch in objects.spec(obj).get("runtimePatches") or ():
        template = (patch.get("trainingRuntimeSpec") or {}).get("template") or {}
        for job in objects.spec(template).get("replicatedJobs") or ():
            if job["name"] not in jobs:
                yield FieldError(path=_PATCHES, message="must not have replicated job that doesn't exist in the "
                                                        f"runtime job template: {job['name']}")
                continue
            there = {container["name"] for container in _containers(jobs[job["name"]])}
            for container in _containers(job):
                if container["name"] not in there:
                    yield FieldError(path=_PATCHES, message=f"must not have container {container['name']} that doesn't "
                                                            f"exist in the runtime job {job['name']}")
                elif container.get("env") and container["name"] in owned:
                    yield FieldError(path=_PATCHES, message=f"must not have envs for the {', '.join(owned)} "
                                                            "containers; use spec.trainer.env or spec.initializer")
