"""KFP's pipeline IR as frozen types: what a compiled pipeline says, after parsing and before any run.

I am pure data. ``parse`` builds me from YAML or JSON, ``validate`` checks me as a whole, ``dag`` unfolds me into tasks.
Names follow the IR (``component``, ``task``, ``executor``); a task's *upstream* is ``dependentTasks`` plus every
producer that its inputs name, because compiled files do not always repeat the latter in the former.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightship.kube.objects import Object

NUMBER_DOUBLE = "NUMBER_DOUBLE"
NUMBER_INTEGER = "NUMBER_INTEGER"
STRING = "STRING"
BOOLEAN = "BOOLEAN"
LIST = "LIST"
STRUCT = "STRUCT"
TASK_FINAL_STATUS = "TASK_FINAL_STATUS"
TASK_CONFIG = "TASK_CONFIG"

PARAMETER_TYPES = frozenset({NUMBER_DOUBLE, NUMBER_INTEGER, STRING, BOOLEAN, LIST, STRUCT, TASK_FINAL_STATUS,
                             TASK_CONFIG})

RESOURCES = "RESOURCES"
ENV = "ENV"
AFFINITY = "KUBERNETES_AFFINITY"
TOLERATIONS = "KUBERNETES_TOLERATIONS"
NODE_SELECTOR = "KUBERNETES_NODE_SELECTOR"
VOLUMES = "KUBERNETES_VOLUMES"

PASSTHROUGHS = frozenset({RESOURCES, ENV, AFFINITY, TOLERATIONS, NODE_SELECTOR, VOLUMES})
"""What of a task's configuration its component may take as a value, a TASK_CONFIG."""


@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """A declared parameter. ``default`` is None both for no default and for a null one; KFP means the same by them."""

    type: str
    default: Any = None
    optional: bool = False
    literals: tuple[Any, ...] = ()
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ArtifactSpec:
    """A declared artifact or list of artifacts; ``metadata`` is what an output has from the start."""

    title: str = "system.Artifact"
    version: str = "0.0.1"
    is_list: bool = False
    optional: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What a component takes, or what it gives."""

    parameters: Mapping[str, ParameterSpec] = field(default_factory=dict)
    artifacts: Mapping[str, ArtifactSpec] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TaskOutput:
    """The output ``key`` of the sibling task ``producer``."""

    producer: str
    key: str


@dataclass(frozen=True, kw_only=True)
class ComponentInput:
    """An input of the component whose DAG the task is in."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A value in the spec; strings may hold placeholders such as ``{{$.pipeline_job_name}}``."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class FinalStatus:
    """How the sibling task ``producer`` ended."""

    producer: str


ParameterSource = TaskOutput | ComponentInput | Constant | FinalStatus
ArtifactSource = TaskOutput | ComponentInput


@dataclass(frozen=True, kw_only=True)
class ParameterInput:
    """Where a task's parameter comes from; ``selector`` is a CEL expression over the value, or empty."""

    source: ParameterSource
    selector: str = ""


@dataclass(frozen=True, kw_only=True)
class Iterator:
    """A loop. Over ``raw`` (a JSON list) or over the input named ``input``; ``over`` is parameter or artifact."""

    over: str
    item_input: str
    raw: tuple[Any, ...] | None = None
    input: str = ""
    parallelism: int = 0
    """Iterations at once; 0 is no limit of the pipeline's own."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """``max_count`` further attempts; the n-th waits ``backoff_seconds * factor ** (n-1)``, at most the maximum."""

    max_count: int
    backoff_seconds: float = 0.0
    factor: float = 2.0
    max_seconds: float = 3600.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a DAG."""

    name: str
    display_name: str
    component: str
    parameters: Mapping[str, ParameterInput] = field(default_factory=dict)
    artifacts: Mapping[str, ArtifactSource] = field(default_factory=dict)
    upstream: tuple[str, ...] = ()
    condition: str = ""
    run_always: bool = False
    """ALL_UPSTREAM_TASKS_COMPLETED: exit tasks and tasks that ignore upstream failures."""
    iterator: Iterator | None = None
    retry: Retry | None = None
    cache: bool = False
    cache_key: str = ""


@dataclass(frozen=True, kw_only=True)
class Dag:
    """Tasks and where outputs come from. Several selectors mean OneOf: the first producer that gave a value."""

    tasks: Mapping[str, Task]
    parameters: Mapping[str, tuple[TaskOutput, ...]] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[TaskOutput, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Component:
    """Either a DAG or something an executor runs."""

    name: str
    inputs: Interface = field(default_factory=Interface)
    outputs: Interface = field(default_factory=Interface)
    dag: Dag | None = None
    executor: str = ""
    passthroughs: Mapping[str, bool] = field(default_factory=dict)
    """The parts of the task's configuration that the component takes, and whether each applies to the task too."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Kubernetes quantities, or placeholders that resolve to them; empty where not set."""

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    accelerator_type: str = ""
    accelerator_count: str = ""


@dataclass(frozen=True, kw_only=True)
class Container:
    image: str
    command: tuple[Any, ...] = ()
    args: tuple[Any, ...] = ()
    """Strings, or JSON placeholders (``Concat``, ``IfPresent``) already decoded to dicts."""
    env: tuple[tuple[str, str], ...] = ()
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, kw_only=True)
class Importer:
    """``uri`` is a Constant, or the component input that holds it."""

    uri: Constant | ComponentInput
    title: str = "system.Artifact"
    version: str = "0.0.1"
    reimport: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    download_to_workspace: bool = False


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A volume that all steps of a run may share. ``claim`` is laid over the spec of its PersistentVolumeClaim."""

    size: str
    claim: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TimeToLive:
    """Seconds after a run's end at which its Pods and its workspace go; 0 for never. The first two win over the last.
    """

    success: int = 0
    failure: int = 0
    completion: int = 0


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A whole compiled pipeline. ``kubernetes`` is the platform config of executors by label, as JSON data."""

    name: str
    display_name: str = ""
    description: str = ""
    components: Mapping[str, Component]
    executors: Mapping[str, Container | Importer]
    root: Component
    default_root: str = ""
    kubernetes: Mapping[str, Object] = field(default_factory=dict)
    deadline_seconds: int = 0
    workspace: Workspace | None = None
    time_to_live: TimeToLive = field(default_factory=TimeToLive)
    schema_version: str = ""
    sdk_version: str = ""

    def component_of(self, task: Task) -> Component:
        return self.components[task.component]
