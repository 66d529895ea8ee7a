"""The searches that learn nothing from their Trials: random, grid, and DARTS, whose one Trial does the searching.

Pure, standard library; ``engines`` makes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from lightship.domains.tuning.algorithms import telling
from lightship.domains.tuning.algorithms.search import Proposal, Reply, Search, Told
from lightship.domains.tuning.algorithms.space import Axis, axes, drawn, seed_of

# Upstream's defaults, in its order: a Trial reads them from the assignment.
_DARTS_SETTINGS: dict[str, object] = {
    "num_epochs": 50, "w_lr": 0.025, "w_lr_min": 0.001, "w_momentum": 0.9, "w_weight_decay": 3e-4, "w_grad_clip": 5.0,
    "alpha_lr": 3e-4, "alpha_weight_decay": 1e-3, "batch_size": 128, "num_workers": 4, "init_channels": 16,
    "print_step": 50, "num_nodes": 4, "stem_multiplier": 3,
}


class RandomSearch:
    """Each Trial by itself, by the distributions; the n-th is the same whatever else has happened."""

    def __init__(self, search: Search) -> None:
        self._space = axes(search.parameters)
        self._seed = telling.seed(search)

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        begin = len(told)
        return Reply(proposals=tuple(
            Proposal(assignments=drawn(self._space, seed_of(self._seed, "random", number)))
            for number in range(begin, begin + count)))


class GridSearch:
    """Every combination once: the last parameter goes round first, or in an order of chance with ``random_state``."""

    def __init__(self, search: Search) -> None:
        self._space = axes(search.parameters)
        self._total = combinations(self._space)
        self._stride, self._offset = 1, 0
        self._begin = 0
        self._keys: dict[str, tuple[int, ...] | None] = {}
        if "random_state" in search.settings:
            self._stride, self._offset = _shuffle(self._total, telling.seed(search))

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        given = {self._key(one) for one in told}
        while self._begin < self._total and self._point(self._begin) in given:
            self._begin += 1  # so that a call's time does not grow with the Trials
        found: list[Proposal] = []
        exhausted = True
        for turn in range(self._begin, self._total):
            point = self._point(turn)
            if point in given:
                continue
            if len(found) == count:
                exhausted = False
                break
            found.append(Proposal(assignments={
                axis.name: axis.at(index) for axis, index in zip(self._space, point, strict=True)}))
        return Reply(proposals=tuple(found), exhausted=exhausted)

    def _point(self, turn: int) -> tuple[int, ...]:
        """The steps of the point that comes in a turn."""
        return _digits((turn * self._stride + self._offset) % self._total, self._space)

    def _key(self, told: Told) -> tuple[int, ...] | None:
        """The steps of a Trial's point; None where it is not of this space."""
        if told.name not in self._keys:
            try:
                self._keys[told.name] = tuple(axis.index(told.assignments[axis.name]) for axis in self._space)
            except (KeyError, ValueError):
                self._keys[told.name] = None
        return self._keys[told.name]


def combinations(space: Sequence[Axis]) -> int:
    """How many points a grid has; every axis must have steps."""
    return math.prod((axis.steps or 0) + 1 for axis in space)


def _digits(number: int, space: Sequence[Axis]) -> tuple[int, ...]:
    found = []
    for axis in reversed(space):
        number, index = divmod(number, (axis.steps or 0) + 1)
        found.append(index)
    return tuple(reversed(found))


def _shuffle(total: int, seed: int) -> tuple[int, int]:
    """A stride without a divisor in common with the total, so that a walk in its steps meets every point once."""
    stride = seed_of(seed, "grid", "stride") % total or 1
    while math.gcd(stride, total) != 1:
        stride = stride % total + 1
    return stride, seed_of(seed, "grid", "offset") % total


class Darts:
    """Differentiable architecture search: hands the settings and the operations to the Trial, as upstream writes them.

    Texts are JSON with single quotes, since Trials put them on a command line in double ones.
    """

    def __init__(self, search: Search) -> None:
        config = search.nas_config or {}
        settings = _DARTS_SETTINGS | {
            name: None if value == "None" else value for name, value in search.settings.items()}
        self._assignments = {
            "algorithm-settings": json.dumps(settings).replace('"', "'"),
            "search-space": json.dumps(list(_operations(config.get("operations", ())))).replace('"', "'"),
            "num-layers": str(config.get("graphConfig", {}).get("numLayers", 0)),
        }

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        return Reply(proposals=(Proposal(assignments=self._assignments),) * count)


def _operations(operations: Sequence[dict[str, object]]) -> Iterator[str]:
    for operation in operations:
        kind = str(operation.get("operationType"))
        if kind == "skip_connection":
            yield kind
            continue
        parameters = operation.get("parameters")
        first = parameters[0] if isinstance(parameters, list) and parameters else {}
        for size in first.get("feasibleSpace", {}).get("list", ()):  # the filter's size
            yield f"{kind}_{size}x{size}"
