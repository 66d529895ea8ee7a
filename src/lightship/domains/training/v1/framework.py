"""What a framework is to the engine, and a job as the engine and the frameworks read it. Pure types.

A module of ``frameworks`` builds one ``Framework``; ``kinds`` lists them. Everything that the v1 jobs have in common
(Pods, Services, restarts, ends, cleaning up) is in this folder, and asks the framework only what is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lightship.client.client import Selection
from lightship.domains.furniture import FieldError
from lightship.domains.training.v1 import names
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

Variable = dict[str, Any]
PodSpec = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """The replicas of one type: ``type`` as ``Worker``, ``template`` as the job has it."""

    type: str
    count: int
    restart_policy: str
    template: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunPolicy:
    """``spec.runPolicy``, defaults filled in."""

    clean_pods: str
    suspend: bool
    managed_by: str
    ttl_seconds: float | None
    deadline_seconds: float | None
    backoff_limit: int | None
    scheduling: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job. ``replicas`` is in the order of the framework's types."""

    obj: Object
    framework: Framework
    replicas: Mapping[str, Replicas]
    policy: RunPolicy

    @property
    def name(self) -> str:
        return objects.name(self.obj)

    @property
    def namespace(self) -> str:
        return objects.namespace(self.obj)

    @property
    def kind(self) -> str:
        return self.framework.resource.kind

    @cached_property
    def spec(self) -> dict[str, Any]:
        return objects.spec(self.obj)

    @cached_property
    def total(self) -> int:
        """How many replicas there are to be, of all types."""
        return sum(one.count for one in self.replicas.values())

    def host(self, type: str, index: int) -> str:
        """The host name of a replica within the job's namespace."""
        return self.framework.replica_name(self.name, type, index)

    def port(self, type: str) -> int:
        """The port on which replicas of a type meet: of the main container, by the framework's name for it."""
        replicas = self.replicas.get(type)
        for container in (objects.spec(replicas.template).get("containers") or ()) if replicas else ():
            if container.get("name") == self.framework.container:
                for port in container.get("ports") or ():
                    if port.get("name") == self.framework.port_name:
                        return int(port["containerPort"])
        return self.framework.port


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many Pods of a type there are by phase."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The Pods of a job as a success rule sees them. ``done`` are the replicas that ended with exit code 0."""

    counts: Mapping[str, Counts]
    done: frozenset[tuple[str, int]]

    def all_succeeded(self, job: Job, type: str) -> bool:
        return job.replicas[type].count == self.counts.get(type, Counts()).succeeded


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a job's conditions say; ``failed`` and ``restarting`` have places for ``{count}`` and ``{type}``."""

    running: str
    succeeded: str
    restarting: str
    failed: str


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An object of a job's own beside Pods and Services; ``wanted`` false: it must not be there (now)."""

    resource: Resource
    obj: Object
    wanted: bool = True


def by_name(job: Job) -> Words:
    """The words where a leader decides."""
    said = f"{job.kind} {job.name}"
    return Words(running=f"{said} is running.", succeeded=f"{said} is successfully completed.",
                 restarting=f"{said} is restarting because {{count}} {{type}} replica(s) failed.",
                 failed=f"{said} is failed because {{count}} {{type}} replica(s) failed.")


def by_path(job: Job) -> Words:
    """The words where the workers decide."""
    said = f"{job.kind} {job.namespace}/{job.name}"
    named = by_name(job)
    return Words(running=f"{said} is running.", succeeded=f"{said} successfully completed.",
                 restarting=named.restarting, failed=named.failed)


def master_or_worker(job: Job) -> str:
    """Who decides the fate of most jobs: the master where there is one."""
    return names.MASTER if names.MASTER in job.replicas else names.WORKER


def master_only(job: Job, type: str, index: int) -> bool:
    return type == names.MASTER


def led(job: Job, tally: Tally) -> bool:
    """The plain success rule: all replicas of the leading type."""
    return tally.all_succeeded(job, job.framework.leader(job))


def words_of_leader(job: Job) -> Words:
    return by_name(job) if job.framework.leader(job) == names.MASTER else by_path(job)


@dataclass(frozen=True, kw_only=True)
class Framework:
    """All that the engine asks. Functions are pure and get a job whose defaults are filled in."""

    resource: Resource
    specs: str
    """The field of the replicas' specifications, as ``pytorchReplicaSpecs``."""
    types: tuple[str, ...]
    """The types of replicas, in the order in which they are made and judged."""
    container: str
    """The main container; its ports are the Service's, its exit code decides about restarts."""
    port_name: str
    port: int
    restart_policy: str
    shape: Callable[[PodSpec, Job, str, int], PodSpec]
    """What a replica's Pod has of the framework: variables (see ``with_variables``), init containers, volumes."""
    leader: Callable[[Job], str] = master_or_worker
    """The type whose Pods say whether the job runs."""
    succeeded: Callable[[Job, Tally], bool] = led
    master_role: Callable[[Job, str, int], bool] = master_only
    """Which replicas bear the label ``job-role: master``."""
    tolerates: Callable[[Job, str], bool] = lambda job, type: False
    """Whether failed replicas of a type leave the job running."""
    words: Callable[[Job], Words] = words_of_leader
    replica_name: Callable[[str, str, int], str] = names.replica
    """The name of a replica of a job: of its Pod, and of its Service."""
    services: bool = True
    """Whether each replica has a headless Service of its name."""
    main_container: bool = True
    """Whether each replica must have a container of the name ``container``."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Schemas of what ``spec`` has beyond the replicas and ``runPolicy``."""
    default: Callable[[dict[str, Any]], dict[str, Any]] = lambda spec: spec
    """Further defaults of a specification."""
    check: Callable[[Mapping[str, Any]], Iterable[FieldError]] = lambda spec: ()
    """Further faults of a specification with defaults."""
    extras: Callable[[Job, Sequence[Object]], Sequence[Extra]] = lambda job, pods: ()
    """Further objects, from the job and the Pods that it has; made before Pods, in this order."""
    extra_kinds: tuple[tuple[Resource, Selection], ...] = ()
    """Their kinds, and what an informer of each is to hold."""


def with_variables(spec: PodSpec, variables: Sequence[Variable], only: str = "") -> PodSpec:
    """``spec`` with ``variables`` after those that its containers have; ``only`` names the one that gets them."""
    return spec | {"containers": [
        container | {"env": [*(container.get("env") or ()), *variables]}
        if only in ("", container.get("name")) else container
        for container in spec.get("containers") or ()]}


def plain(name: str, value: object) -> Variable:
    return {"name": name, "value": str(value)}


def read(framework: Framework, obj: Object) -> Job:
    """A job from its object, which has passed admission."""
    spec = objects.spec(obj)
    given = spec.get(framework.specs) or {}
    replicas = {type: _replicas(framework, type, given[type]) for type in framework.types if given.get(type)}
    return Job(obj=obj, framework=framework, replicas=replicas, policy=_policy(spec.get("runPolicy") or {}))


def _replicas(framework: Framework, type: str, given: Mapping[str, Any]) -> Replicas:
    count = given.get("replicas")
    return Replicas(type=type, count=1 if count is None else int(count),
                    restart_policy=str(given.get("restartPolicy") or framework.restart_policy),
                    template=_with_port(framework, given.get("template") or {}))


def _with_port(framework: Framework, template: Mapping[str, Any]) -> Mapping[str, Any]:
    """The template, whose main container has the port by which replicas meet."""
    containers = objects.spec(template).get("containers") or ()
    if not framework.port_name or not any(one.get("name") == framework.container for one in containers):
        return template
    port = {"name": framework.port_name, "containerPort": framework.port}
    return {**template, "spec": objects.spec(template) | {"containers": [
        one if one.get("name") != framework.container or _has_port(framework, one)
        else one | {"ports": [*(one.get("ports") or ()), port]} for one in containers]}}


def _has_port(framework: Framework, container: Mapping[str, Any]) -> bool:
    return any(port.get("name") == framework.port_name for port in container.get("ports") or ())


def _policy(given: Mapping[str, Any]) -> RunPolicy:
    return RunPolicy(
        clean_pods=str(given.get("cleanPodPolicy") or names.CLEAN_NONE), suspend=bool(given.get("suspend")),
        managed_by=str(given.get("managedBy") or names.MANAGER), ttl_seconds=given.get("ttlSecondsAfterFinished"),
        deadline_seconds=given.get("activeDeadlineSeconds"), backoff_limit=given.get("backoffLimit"),
        scheduling=given.get("schedulingPolicy") or {})
