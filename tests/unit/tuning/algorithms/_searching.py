"""What the tests of the algorithms share: searches, and running them as an Experiment would."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightship.domains.tuning.algorithms.engines import ALGORITHMS
from lightship.domains.tuning.algorithms.search import Objective, Parameter, Proposal, Search, Told

MIXED = (
    Parameter(name="rate", type="double", min="0.0001", max="0.1", distribution="logUniform"),
    Parameter(name="dropout", type="double", min="0", max="0.5", step="0.05"),
    Parameter(name="layers", type="int", min="1", max="5"),
    Parameter(name="width", type="int", min="16", max="512", step="16", distribution="logUniform"),
    Parameter(name="momentum", type="double", min="0.5", max="0.99", distribution="normal"),
    Parameter(name="decay", type="double", min="1e-6", max="1e-2", distribution="logNormal"),
    Parameter(name="batch", type="discrete", list=("8", "16", "32", "64")),
    Parameter(name="optimizer", type="categorical", list=("sgd", "adam", "ftrl")),
)
STEPPED = (
    Parameter(name="x", type="double", min="0.1", max="0.5", step="0.1"),
    Parameter(name="n", type="int", min="1", max="3"),
    Parameter(name="kind", type="categorical", list=("a", "b")),
)
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "hyperband": {"r_l": "9", "eta": "3", "resource_name": "layers"},
    "pbt": {"suggestion_trial_dir": "/ckpt", "n_population": "5", "truncation_threshold": "0.2"},
    "bayesianoptimization": {"n_initial_points": "4", "acq_func": "EI"},
    "tpe": {"n_startup_trials": "4"},
    "multivariate-tpe": {"n_startup_trials": "4"},
}
NAS = {"graphConfig": {"numLayers": 8}, "operations": [
    {"operationType": "separable_convolution", "parameters": [
        {"name": "filter_size", "parameterType": "categorical", "feasibleSpace": {"list": ["3", "5"]}}]},
    {"operationType": "skip_connection", "parameters": [
        {"name": "filter_size", "parameterType": "categorical", "feasibleSpace": {"list": ["3"]}}]}]}


def search(algorithm: str, parameters: Sequence[Parameter] = MIXED, **words: Any) -> Search:
    words = {"settings": SETTINGS.get(algorithm, {}), "experiment": "e", "seed": 1,
             "nas_config": NAS if algorithm == "darts" else None,
             "objectives": (Objective(metric="loss", goal_type="minimize"),)} | words
    return Search(algorithm=algorithm, parameters=tuple(parameters), **words)


def told(proposal: Proposal, number: int, **words: Any) -> Told:
    return Told(name=f"t{number}", assignments=proposal.assignments, labels=proposal.labels, **words)


def bowl(assignments: Mapping[str, str]) -> float:
    """A loss for any space: how far from 0.3 each number is, and how long each word."""
    total = 0.0
    for value in assignments.values():
        try:
            total += (float(value) - 0.3) ** 2 / (1 + abs(float(value)))
        except ValueError:
            total += len(value)
    return total


class Experiment:
    """An Experiment on an engine: asks, ends Trials in the order it is told to, may forget its engine at any moment."""

    def __init__(self, search: Search, loss: Callable[[Mapping[str, str]], float] = bowl) -> None:
        self.search = search
        self.ended: list[Told] = []
        self.running: list[Told] = []
        self.exhausted = False
        self._loss = loss
        self._made = 0
        self._engine = ALGORITHMS[search.algorithm].make(search)

    def restart(self) -> None:
        self._engine = ALGORITHMS[self.search.algorithm].make(self.search)

    def ask(self, count: int = 1) -> Sequence[Proposal]:
        reply = self._engine.propose([*self.ended, *self.running], count)
        self.exhausted = reply.exhausted
        for proposal in reply.proposals:
            self.running.append(told(proposal, self._made))
            self._made += 1
        return reply.proposals

    def end(self, number: int = 0, state: str = "succeeded", value: float | None = None) -> Told:
        """End a running Trial: ``value`` is its loss, else the function's."""
        one = self.running.pop(number)
        found = self._loss(one.assignments) if value is None else value
        values = {"loss": found} if state in ("succeeded", "early-stopped") else {}
        self.ended.append(Told(name=one.name, assignments=one.assignments, labels=one.labels, state=state,  # type: ignore[arg-type]
                               values=values))
        return self.ended[-1]

    def run(self, trials: int, parallel: int = 1) -> float:
        """So many Trials, ``parallel`` at once; the least loss."""
        while len(self.ended) < trials:
            self.ask(min(parallel - len(self.running), trials - len(self.ended) - len(self.running)))
            if not self.running:
                break
            self.end()
        return min((one.values.get("loss", math.inf) for one in self.ended), default=math.inf)
