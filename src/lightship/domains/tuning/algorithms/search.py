"""What a search is asked and what it answers: the words between an Experiment and its algorithm.

Pure data, no library. The Suggestion's reconciler makes a ``Search`` of an Experiment and ``Told`` of its Trials, and
gets a ``Reply`` from ``worker.Suggesters``; admission gives the same ``Search`` to ``checks.check``. Assignments are
texts everywhere, as in Katib.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ParameterType = Literal["double", "int", "discrete", "categorical"]
Goal = Literal["maximize", "minimize"]
State = Literal["succeeded", "failed", "early-stopped", "metrics-unavailable", "running"]

#: States of Trials that have ended, by whatever end.
ENDED: frozenset[State] = frozenset(("succeeded", "failed", "early-stopped", "metrics-unavailable"))


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One dimension, in the CRD's texts: empty is unset; ``distribution`` is uniform, logUniform, normal, logNormal."""

    name: str
    type: ParameterType
    min: str = ""
    max: str = ""
    step: str = ""
    list: tuple[str, ...] = ()
    distribution: str = ""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric and where it should go. Several objectives in one search are our extension; the first one leads."""

    metric: str
    goal_type: Goal


@dataclass(frozen=True, kw_only=True)
class Search:
    """One Experiment, as its algorithm sees it.

    ``experiment`` is the key of its study, unique on this server and never used again (with the uid), ``settings`` are
    the Experiment's own and ``max_trials`` None where it has no maxTrialCount. ``seed`` counts where the settings name
    none; ``nas_config`` is the CRD's ``nasConfig`` as it came.
    """

    experiment: str
    parameters: tuple[Parameter, ...]
    objectives: tuple[Objective, ...]
    algorithm: str
    settings: Mapping[str, str] = field(default_factory=dict)
    max_trials: int | None = None
    parallel_trials: int = 3
    seed: int = 0
    nas_config: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """One Trial as it stands; ``values`` are metrics by name, of the strategy that the objective asks for.

    A list of these is in the order of completion, the running ones last in the order of their creation. A Trial that
    was early-stopped has what it reached. Values may be NaN or infinite, or lack an objective.
    """

    name: str
    assignments: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    state: State = "running"
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """An early stopping rule: the Trial ends when ``name`` is ``comparison`` than ``value`` from ``start_step`` on."""

    name: str
    value: str
    comparison: Literal["less", "greater", "equal"]
    start_step: int = 0


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One Trial to make. ``name`` is empty where the caller may choose it; ``labels`` go onto the Trial."""

    assignments: Mapping[str, str]
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a search proposes: at most as many as were asked for.

    ``settings`` are what to keep in ``Suggestion.status.algorithmSettings`` and to hand over next time. With
    ``exhausted`` no further Trial will ever come; fewer proposals without it mean that running Trials must end first.
    """

    proposals: tuple[Proposal, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    exhausted: bool = False
