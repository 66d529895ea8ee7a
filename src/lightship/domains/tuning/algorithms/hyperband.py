"""Hyperband: many short Trials, of which the best go on with more of a resource (Li et al., 2018).

Pure, standard library; ``engines`` makes me. Where Katib counts on all Trials of a rung being asked for and ending
together, I read where everything stands from the labels of the Trials themselves: any number may run at once, any may
fail, and after a crash nothing but the Trials is needed. A slot that a rung leaves idle goes to the next bracket.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from lightship.domains.tuning.algorithms import telling
from lightship.domains.tuning.algorithms.search import ENDED, Proposal, Reply, Search, Told
from lightship.domains.tuning.algorithms.space import axes, drawn, seed_of

_PREFIX = "hyperband.suggestion.katib.kubeflow.org"
BRACKET = f"{_PREFIX}/bracket"
RUNG = f"{_PREFIX}/rung"
PARENT = f"{_PREFIX}/parent"

_DEFAULT_ETA = 3.0

Rungs = Mapping[tuple[int, int], Sequence[Told]]


def plan(settings: Mapping[str, str]) -> tuple[float, float, int]:
    """Of an Experiment's settings: eta, the largest resource and the first bracket's number, as upstream counts it."""
    largest = float(settings["r_l"])
    eta = float(settings.get("eta", _DEFAULT_ETA))
    eta = eta if eta > 0 else _DEFAULT_ETA
    return eta, largest, int(math.log(largest) / math.log(eta))


class Hyperband:
    """The brackets from the widest to the single full run; each has its rungs, each rung its Trials."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._space = axes(search.parameters)
        self._seed = telling.seed(search)
        self._resource = search.settings["resource_name"]
        self._whole = all(one.type != "double" for one in search.parameters if one.name == self._resource)
        self._eta, self._largest, self._widest = plan(search.settings)

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        rungs = _by_rung(told)
        found: list[Proposal] = []
        waiting = False
        place = (0, 0)
        for bracket in range(self._widest, -1, -1):
            for rung in range(bracket + 1):
                missing = self._missing(bracket, rung, rungs)
                if missing is None:
                    waiting = True
                    break  # the rung before has not ended: see what the next bracket has
                for proposal in missing:
                    if len(found) == count:
                        return Reply(proposals=tuple(found), settings=self._shown(place, rungs))
                    found.append(proposal)
                    place = (bracket, rung)
        return Reply(proposals=tuple(found), settings=self._shown(place, rungs), exhausted=not waiting)

    def _missing(self, bracket: int, rung: int, rungs: Rungs) -> Iterator[Proposal] | None:
        """What a rung still lacks; None while nobody can say."""
        if rung == 0:
            return self._fresh(bracket, len(rungs.get((bracket, 0), ())))
        best = self._promoted(bracket, rung, rungs)
        return None if best is None else self._continued(bracket, rung, best, rungs)

    def _fresh(self, bracket: int, present: int) -> Iterator[Proposal]:
        for member in range(present, self._size(bracket, 0)):
            assignments = drawn(self._space, seed_of(self._seed, "hyperband", bracket, member))
            yield Proposal(assignments=assignments | {self._resource: self._amount(bracket, 0)},
                           labels={BRACKET: str(bracket), RUNG: "0"})

    def _continued(self, bracket: int, rung: int, best: Sequence[Told], rungs: Rungs) -> Iterator[Proposal]:
        there = {one.labels.get(PARENT) for one in rungs.get((bracket, rung), ())}
        for one in best:
            if one.name not in there:
                yield Proposal(assignments=dict(one.assignments) | {self._resource: self._amount(bracket, rung)},
                               labels={BRACKET: str(bracket), RUNG: str(rung), PARENT: one.name})

    def _promoted(self, bracket: int, rung: int, rungs: Rungs) -> Sequence[Told] | None:
        """The best of the rung before, or None while that has not ended."""
        before = rungs.get((bracket, rung - 1), ())
        expected = self._size(bracket, 0)
        if rung > 1:
            earlier = self._promoted(bracket, rung - 1, rungs)
            if earlier is None:
                return None
            expected = len(earlier)
        if len(before) < expected or any(one.state not in ENDED for one in before):
            return None
        ranked = [(value, order, one) for order, one in enumerate(before)
                  if (value := telling.loss(self._search.objectives[0], one)) is not None and math.isfinite(value)]
        ranked.sort(key=lambda entry: entry[:2])
        return [one for _, _, one in ranked[:self._size(bracket, rung)]]

    def _size(self, bracket: int, rung: int) -> int:
        """How many Trials a rung has, if enough of the rung before have succeeded."""
        size = math.ceil((self._widest + 1) * self._eta**bracket / (bracket + 1))
        if rung == 0:
            return size
        return math.ceil(math.ceil(size * self._eta ** (1 - rung)) / self._eta)

    def _amount(self, bracket: int, rung: int) -> str:
        """The resource of a rung's Trials, written as the parameter's type is."""
        amount = self._largest * self._eta ** (rung - bracket)
        return str(max(int(amount + 1e-9), 1)) if self._whole else repr(amount)

    def _shown(self, place: tuple[int, int], rungs: Rungs) -> Mapping[str, str]:
        """For the reader of the Suggestion, under upstream's names: what was proposed last."""
        bracket, rung = place if place != (0, 0) else min(rungs, key=lambda key: (key[0], -key[1]), default=place)
        return {
            "eta": f"{self._eta:g}", "s_max": str(self._widest), "r_l": f"{self._largest:g}",
            "b_l": f"{(self._widest + 1) * self._largest:g}", "r": self._amount(bracket, rung),
            "n": str(self._size(bracket, 0)), "current_s": str(bracket), "current_i": str(rung),
            "resource_name": self._resource,
            "evaluating_trials": str(self._size(bracket, rung) if rung < bracket else 0),
        }


def _by_rung(told: Sequence[Told]) -> Rungs:
    found: dict[tuple[int, int], list[Told]] = defaultdict(list)
    for one in told:
        bracket, rung = one.labels.get(BRACKET, ""), one.labels.get(RUNG, "")
        if bracket.isdecimal() and rung.isdecimal():
            found[int(bracket), int(rung)].append(one)
    return found
