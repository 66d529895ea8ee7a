"""Experiments for the tests of tuning, and stand-ins for its algorithms and collectors that are functions of their
arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightship import errors
from lightship.domains.tuning import kinds, names
from lightship.domains.tuning.algorithms.search import Proposal, Reply, Rule, Search, Told
from lightship.domains.tuning.deps import TuningDeps
from lightship.domains.tuning.experiment import defaults
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import JOBS
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock

CREATED = "2026-01-01T00:00:00Z"
TRUE = {"status": "True", "lastTransitionTime": CREATED}


def experiment(name: str = "sweep", *, status: Any = None, template: Mapping[str, Any] | None = None,
               **spec: Any) -> Object:
    """An Experiment over one parameter, as it is after its defaults."""
    whole = {
        "objective": {"type": "minimize", "objectiveMetricName": "loss"},
        "algorithm": {"algorithmName": "random"}, "parallelTrialCount": 3, "maxTrialCount": 12,
        "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}],
        "trialTemplate": {
            "primaryContainerName": "main", "trialParameters": [{"name": "rate", "reference": "lr"}],
            "trialSpec": job("${trialParameters.rate}")} | dict(template or {})} | spec
    made = defaults.default({
        "apiVersion": kinds.EXPERIMENTS.api_version, "kind": "Experiment", "spec": whole,
        "metadata": {"name": name, "namespace": "default", "uid": f"{name}-uid", "creationTimestamp": CREATED}})
    return made | ({"status": status} if status else {})


def job(rate: str) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "main", "image": "python:3.12",
                                                  "command": ["train", f"--lr={rate}"]}]}}}}


def rate_of(run: Object) -> str:
    """The parameter that a run was given."""
    command: str = run["spec"]["template"]["spec"]["containers"][0]["command"][1]
    return command.partition("=")[2]


def rate_after(told: Sequence[Told], number: int) -> str:
    """What the stand-in proposes: of the names and values that it was told, in their order, and of the number."""
    said = [(one.name, one.state, sorted(one.values.items())) for one in told if one.state != "running"]
    others = sorted(one.name for one in told if one.state == "running")
    digest = hashlib.sha256(f"{said} {others} {number}".encode()).digest()
    return str(int.from_bytes(digest[:4]) / 2**32)


@dataclass
class Algorithm:
    """Proposes at most ``most`` assignments in all; ``short`` of what is asked for; or raises ``problem``."""

    most: int = 10_000
    short: int = 0
    problem: errors.LightshipError | None = None
    asked: list[int] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    async def prepare(self, search: Search) -> None:
        return None

    async def suggest(self, search: Search, told: Sequence[Told], count: int) -> Reply:
        if self.problem is not None:
            raise self.problem
        self.asked.append(count)
        given = min(count - self.short, self.most - len(told))
        return Reply(proposals=tuple(Proposal(assignments={"lr": rate_after(told, number)}) for number in range(given)),
                     exhausted=len(told) + count > self.most)

    async def forget(self, experiment: str) -> None:
        self.forgotten.append(experiment)


@dataclass
class Measurements:
    """What Trials measure: their own parameter, or what ``told`` says by name."""

    told: dict[str, str | None] = field(default_factory=dict)
    stops: dict[str, Rule] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)

    async def collect(self, trial: Object) -> list[dict[str, Any]] | None:
        value = self.told.get(objects.name(trial), rate_of(objects.spec(trial)["runSpec"]))
        if value is None:
            return None
        return [{"name": "loss", "latest": value, "min": value, "max": value}]

    def follow(self, trial: Object) -> None:
        return None

    def met(self, trial: Object) -> Rule | None:
        return self.stops.get(objects.name(trial))

    async def forget(self, trial: Object) -> None:
        self.forgotten.append(objects.name(trial))


@dataclass
class Rules:
    """Early stopping by one rule."""

    async def rules(self, experiment: Object, succeeded: Sequence[str]) -> Sequence[Rule]:
        return (Rule(name="loss", value="0.5", comparison="greater", start_step=2),)


def deps(manager: Manager, clock: FakeClock, algorithm: Algorithm, measurements: Measurements) -> TuningDeps:
    client = manager.client_for("tuning")
    return TuningDeps(client=client, informer=manager.informer, wake=manager.wake, clock=clock,
                      recorder=Recorder(client, "tuning", clock), suggesting=algorithm, collecting=measurements,
                      stopping=Rules())


def ended(type: str = "Complete", **more: str) -> Object:
    """A Job's status at its end."""
    return {"conditions": [{"type": type, **TRUE, **more}]}


def state_of(obj: Object) -> dict[str, str]:
    """The conditions of an object that are true, with their reasons."""
    return {one["type"]: one["reason"] for one in (obj.get("status") or {}).get("conditions") or ()
            if one["status"] == "True"}


KINDS = (kinds.EXPERIMENTS, kinds.SUGGESTIONS, kinds.TRIALS, JOBS)
FINALIZER = names.METRICS_FINALIZER
