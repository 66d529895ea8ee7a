"""Population-based training (Jaderberg et al., 2017): generations of Trials that go on from each other's checkpoints.

Pure, standard library; ``engines`` makes me. A generation has ``n_population`` members; when all have ended the next is
made: the worst of them (``truncation_threshold``) give way to copies of the best, checkpoint included, and the others
go on from their own with each parameter perturbed by a fifth, or drawn anew by ``resample_probability``. A member that
failed is tried again, and at last gives way, too. Everything is read from the Trials' labels: ``parent`` names the
Trial whose checkpoint is to be copied before the child starts.

Two things differ from Katib's: a copy takes the checkpoint of the Trial whose parameters it takes (Katib's takes the
loser's), and no Trial is added outside of the generations, so a slot may idle until the last member has ended.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lightship.domains.tuning.algorithms import telling
from lightship.domains.tuning.algorithms.search import ENDED, Proposal, Reply, Search, Told
from lightship.domains.tuning.algorithms.space import Axis, axes, drawn, seed_of

_PREFIX = "pbt.suggestion.katib.kubeflow.org"
GENERATION = f"{_PREFIX}/generation"
MEMBER = f"{_PREFIX}/member"
PARENT = f"{_PREFIX}/parent"

LIMIT_ATTEMPTS = 3
"""How often one member of a generation is tried before it counts as its worst."""

_FACTORS = (0.8, 1.2)


@dataclass(frozen=True, kw_only=True)
class _Member:
    """What a member is to be: its parameters, and the Trial that it goes on from, empty in the beginning."""

    assignments: Mapping[str, str]
    parent: str = ""


class Population:
    """One population. Generations before the current one are over, so what they came to is kept."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._space = axes(search.parameters)
        self._seed = telling.seed(search)
        self._size = int(search.settings["n_population"])
        self._truncated = min(int(self._size * float(search.settings["truncation_threshold"])), self._size // 2)
        resample = search.settings.get("resample_probability")
        self._resample = None if resample is None else float(resample)
        self._members: list[Sequence[_Member]] = [[
            _Member(assignments=drawn(self._space, seed_of(self._seed, "pbt", 0, member)))
            for member in range(self._size)]]

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        attempts = _by_member(told)
        generation = len(self._members) - 1
        while (ended := self._ended(generation, attempts)) is not None:
            generation += 1
            self._members.append(self._next(generation, ended))
        found = tuple(self._wanted(generation, attempts))
        return Reply(proposals=found[:count], settings={"generation": str(generation)})

    def _wanted(self, generation: int, attempts: Mapping[tuple[int, int], Sequence[Told]]) -> Iterator[Proposal]:
        for number, member in enumerate(self._members[generation]):
            tried = attempts.get((generation, number), ())
            if any(one.state not in ENDED or self._loss(one) is not None for one in tried):
                continue
            if len(tried) < LIMIT_ATTEMPTS:
                labels = {GENERATION: str(generation), MEMBER: str(number)}
                yield Proposal(assignments=member.assignments,
                               labels=labels | ({PARENT: member.parent} if member.parent else {}))

    def _ended(self, generation: int, attempts: Mapping[tuple[int, int], Sequence[Told]]) -> list[Told | None] | None:
        """Each member's Trial, or None where none came to anything; None at all while the generation goes on."""
        found: list[Told | None] = []
        for number in range(self._size):
            tried = attempts.get((generation, number), ())
            if any(one.state not in ENDED for one in tried):
                return None
            good = next((one for one in tried if self._loss(one) is not None), None)
            if good is None and len(tried) < LIMIT_ATTEMPTS:
                return None
            found.append(good)
        return found

    def _loss(self, told: Told) -> float | None:
        return telling.loss(self._search.objectives[0], told)

    def _next(self, generation: int, ended: Sequence[Told | None]) -> Sequence[_Member]:
        """The generation after ``ended``: who stays goes on a little changed, who gives way copies one of the best."""
        chance = random.Random(seed_of(self._seed, "pbt", generation))
        scored = [(math.inf if one is None or (value := self._loss(one)) is None else value, number, one)
                  for number, one in enumerate(ended)]
        ranked = sorted(scored, key=lambda entry: entry[:2])
        best = [one for value, _, one in ranked[:max(self._truncated, 1)] if one is not None and math.isfinite(value)]
        losers = {number for _, number, _ in ranked[self._size - self._truncated:]}
        losers |= {number for value, number, _ in ranked if not math.isfinite(value)}
        found: list[_Member] = []
        for number, one in enumerate(ended):
            if one is not None and number not in losers:
                found.append(_Member(assignments=self._explored(one.assignments, chance), parent=one.name))
            elif best:
                better = chance.choice(best)
                found.append(_Member(assignments=dict(better.assignments), parent=better.name))
            else:  # nobody came to anything: begin anew
                found.append(_Member(assignments=drawn(self._space, seed_of(self._seed, "pbt", generation, number))))
        return found

    def _explored(self, assignments: Mapping[str, str], chance: random.Random) -> Mapping[str, str]:
        if self._resample is None:
            return {axis.name: perturbed(axis, assignments[axis.name], chance) for axis in self._space}
        return {axis.name: axis.text(chance.random()) if chance.random() < self._resample else assignments[axis.name]
                for axis in self._space}


def perturbed(axis: Axis, text: str, chance: random.Random) -> str:
    """A number by a fifth up or down, a step at the least; a choice of a list its neighbour, as if it were a ring."""
    if axis.choices:
        return axis.at((axis.index(text) + chance.choice((-1, 1))) % len(axis.choices))
    factor = chance.choice(_FACTORS)
    value = float(text) * factor
    steps = axis.steps
    if steps is None:
        return repr(min(max(value, float(axis.low)), float(axis.high)))
    before, after = axis.index(text), axis.index(repr(value))
    if after == before:
        upwards = (factor > 1) == (float(text) >= 0)
        after = min(max(before + (1 if upwards else -1), 0), steps)
    return axis.at(after)


def _by_member(told: Sequence[Told]) -> Mapping[tuple[int, int], Sequence[Told]]:
    found: dict[tuple[int, int], list[Told]] = defaultdict(list)
    for one in told:
        generation, member = one.labels.get(GENERATION, ""), one.labels.get(MEMBER, "")
        if generation.isdecimal() and member.isdecimal():
            found[int(generation), int(member)].append(one)
    return found
