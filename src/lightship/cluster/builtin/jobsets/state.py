"""A JobSet as it is seen in one pass, and what the pass comes to. Pure data; ``plan`` and ``failures`` work on me."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightship.cluster.builtin.jobsets import make, names
from lightship.kube import conditions, objects
from lightship.kube.conditions import Condition
from lightship.kube.objects import Object
from lightship.runtime.events import Announcement


@dataclass(frozen=True)
class Seen:
    """A JobSet with its Jobs, sorted out: those of earlier attempts apart."""

    job_set: Object
    jobs: Sequence[Object]
    previous: list[Object] = field(init=False, default_factory=list)
    active: list[Object] = field(init=False, default_factory=list)
    successful: list[Object] = field(init=False, default_factory=list)
    failed: list[Object] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        attempt = make.restarts(self.job_set)
        for job in self.jobs:
            if _number(job, names.RESTARTS, -1) < attempt or _number(job, names.JOB_RESTARTS, 0) < self._alone(job):
                self.previous.append(job)
            elif conditions.is_true(job, "Failed"):
                self.failed.append(job)
            elif conditions.is_true(job, "Complete"):
                self.successful.append(job)
            else:
                self.active.append(job)

    def _alone(self, job: Object) -> int:
        """How often the Job of this name was to be made anew while the others went on."""
        counts = make.job_restarts(self.job_set, objects.labels(job).get(names.REPLICATED_JOB, ""))
        index = _number(job, names.INDEX, 0)
        return counts[index] if index < len(counts) else 0


def _number(job: Object, label: str, otherwise: int) -> int:
    text = objects.labels(job).get(label, "")
    return int(text) if text.isdigit() else otherwise


@dataclass(frozen=True, kw_only=True)
class Alone:
    """One Job that is made anew while the others go on; ``counted`` towards the failure policy's ``maxRestarts``."""

    replicated: str
    index: int
    counted: bool


@dataclass(kw_only=True)
class Plan:
    """Jobs to make, to change and to delete, and what the status becomes."""

    service: bool = False
    claims: list[Object] = field(default_factory=list)
    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    suspend: list[Object] = field(default_factory=list)
    resume: list[Object] = field(default_factory=list)
    conditions: list[tuple[str, Condition]] = field(default_factory=list)
    """What is set, each with the type of the event that tells of it, if any."""
    status: dict[str, Any] = field(default_factory=dict)
    alone: Alone | None = None
    says: list[Announcement] = field(default_factory=list)
    remove: bool = False
    requeue_after_seconds: float | None = None
