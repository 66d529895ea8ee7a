"""What the REST side reads of pipelines, experiments and runs: one frozen row a thing. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lightship.kube.objects import Object

AVAILABLE = "AVAILABLE"
ARCHIVED = "ARCHIVED"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A named group of runs."""

    id: str
    namespace: str
    name: str
    description: str = ""
    storage_state: str = AVAILABLE
    created_at: datetime
    last_run_created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A named pipeline, which has versions."""

    id: str
    namespace: str
    name: str
    display_name: str
    description: str = ""
    tags: Mapping[str, str] | None = None
    created_at: datetime
    object_name: str = ""
    """The Kubernetes object that this is the index of; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class PipelineVersion:
    """One uploaded specification of a pipeline; ``spec`` is empty in lists that did not ask for it."""

    id: str
    namespace: str
    pipeline_id: str
    name: str
    display_name: str
    description: str = ""
    code_source_url: str = ""
    package_url: str = ""
    tags: Mapping[str, str] | None = None
    spec: Object = field(default_factory=dict)
    created_at: datetime
    object_name: str = ""


@dataclass(frozen=True, kw_only=True)
class RecurringRun:
    """A schedule and what it makes runs of. ``trigger`` is as REST has it; ``spec`` is empty in lists.

    Times up to ``counted_from`` have had their runs, or never get any; ``last_index`` runs were made so far.
    """

    id: str
    namespace: str
    experiment_id: str
    display_name: str
    description: str = ""
    pipeline_id: str = ""
    pipeline_version_id: str = ""
    spec: Object = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pipeline_root: str = ""
    service_account: str = ""
    trigger: Object
    max_concurrency: int = 1
    no_catchup: bool = False
    enabled: bool = True
    last_index: int = 0
    counted_from: datetime
    next_at: datetime | None = None
    error: str = ""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run as its user sees it; the engine reads ``pipeline_rows.RunRow`` of the same table instead.

    ``state_history`` holds ``{"state", "update_time" (RFC 3339)}``, oldest first. ``spec`` is empty in lists.
    """

    id: str
    namespace: str
    experiment_id: str
    display_name: str
    description: str = ""
    pipeline_id: str = ""
    pipeline_version_id: str = ""
    pipeline_name: str = ""
    recurring_run_id: str = ""
    spec: Object = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pipeline_root: str = ""
    service_account: str = ""
    state: str
    state_history: tuple[Mapping[str, str], ...] = ()
    error: str = ""
    storage_state: str = AVAILABLE
    created_at: datetime
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
