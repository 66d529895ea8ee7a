"""What tuning needs from ``composition``, and the seams to its algorithms and collectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lightship.client.client import Client, Selection
from lightship.domains.tuning.algorithms.search import Reply, Rule, Search, Told
from lightship.domains.tuning.collectors.injection import EMBEDDED, Sidecar
from lightship.kube.objects import Key, Object
from lightship.kube.resources import Resource
from lightship.lib.clock import Clock
from lightship.runtime.events import Recorder
from lightship.runtime.informer import Informer

Observed = Sequence[Mapping[str, Any]]
"""The metrics of an observation, as ``Trial.status.observation.metrics`` has them."""


class Suggesting(Protocol):
    """Where assignments come from: ``algorithms.worker``. A reply is a function of what it is asked."""

    async def prepare(self, search: Search) -> None:
        """Have ready what the first question needs."""
        ...

    async def suggest(self, search: Search, told: Sequence[Told], count: int) -> Reply:
        """Raises ``errors.LightshipError`` with the remedy; ``errors.Unavailable`` where to try again helps."""
        ...

    async def forget(self, experiment: str) -> None:
        """Drop the study of an Experiment that has ended or gone, by its uid."""
        ...


class Collecting(Protocol):
    """Where observations come from: ``collectors.gather``."""

    async def collect(self, trial: Object) -> Observed | None:
        """What a Trial whose run has ended has measured; None where the objective is not among it."""
        ...

    def follow(self, trial: Object) -> None:
        """Read a running Trial's metrics as they come, and wake the Trial once one of its rules is met."""
        ...

    def met(self, trial: Object) -> Rule | None:
        """The early stopping rule that a followed Trial has met."""
        ...

    async def forget(self, trial: Object) -> None:
        """Delete a Trial's observations, and stop following it."""
        ...


class Stopping(Protocol):
    """Where early stopping rules come from."""

    async def rules(self, experiment: Object, succeeded: Sequence[str]) -> Sequence[Rule]:
        """The rules for the next Trials, given those that have succeeded."""
        ...


@dataclass(frozen=True, kw_only=True)
class TuningDeps:
    """``informer`` and ``wake`` are the Manager's; ``client`` acts as the tuning controller; ``sidecar`` is what reads
    trials' files where Pods run."""

    client: Client
    informer: Callable[[Resource, Selection], Informer]
    wake: Callable[[str, Key], None]
    recorder: Recorder
    clock: Clock
    suggesting: Suggesting
    collecting: Collecting
    stopping: Stopping
    sidecar: Sidecar = EMBEDDED
