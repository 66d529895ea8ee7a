"""What a Suggestion has given out, and what to ask for next. Pure; the Experiment's reconciler keeps it in the status.

The next assignments are a function of the ended Trials in the order in which they ended, one after another: where two
ended since the last pass, the algorithm is asked after the first with what was known then, and then after the second.
So a slow pass, a crash or a restart changes no suggestion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightship.domains.tuning import names
from lightship.domains.tuning.algorithms.search import Proposal, Reply, Rule, Told
from lightship.domains.tuning.trial.view import View
from lightship.kube import objects
from lightship.kube.objects import Object

LIMIT_ASKED_AT_ONCE = 100
"""Assignments of one reply."""
LIMIT_PARALLEL_TRIALS = 500
"""Trials of one Experiment that run at once, whatever it asks for."""
LIMIT_TRIALS = 10_000
"""Trials of one Experiment, whatever it asks for: their names stand in its status."""
LIMIT_LISTED_ASSIGNMENTS = 100
"""Ended ones in a Suggestion's status, which is written whole for each Trial: those of Trials that ended first go."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One Trial to make, or made."""

    name: str
    assignments: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Book:
    """``told`` ended Trials were known at the last question; ``issued`` names were given out, ``count`` are counted."""

    assignments: tuple[Assignment, ...] = ()
    told: int = 0
    issued: int = 0
    count: int = 0
    exhausted: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Ask for ``count`` assignments with the first ``told`` ended Trials known."""

    told: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many Trials may run at once, and how many in all."""

    parallel: int
    most: int

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Budget:
        most = spec.get("maxTrialCount")
        return cls(parallel=min(int(spec.get("parallelTrialCount") or 1), LIMIT_PARALLEL_TRIALS),
                   most=LIMIT_TRIALS if most is None else min(int(most), LIMIT_TRIALS))

    def room(self, issued: int, ended: int) -> int:
        """How many more Trials may begin."""
        return min(self.parallel, self.most - ended) - (issued - ended)


def read(suggestion: Object | None) -> Book:
    """The book of a Suggestion; empty where there is none yet."""
    if suggestion is None:
        return Book()
    status = objects.status(suggestion)
    progress = status.get("progress") or {}
    listed = tuple(_read_assignment(one) for one in status.get("suggestions") or ())
    count = int(status.get("suggestionCount") or len(listed))
    return Book(assignments=listed, told=int(progress.get("told") or 0), issued=int(progress.get("issued") or count),
                count=count, exhausted=bool(progress.get("exhausted")),
                settings={str(one["name"]): str(one["value"]) for one in status.get("algorithmSettings") or ()})


def recovered(views: Sequence[View], experiment: str, uid: str) -> Book:
    """The book of a Suggestion that somebody deleted: all Trials there are, and names beyond theirs."""
    given = tuple(Assignment(name=view.name, assignments=view.assignments, labels=view.labels)
                  for view in sorted(views, key=lambda view: (not view.ended, view.place)))
    known = {view.name for view in views}
    numbers = [number for number in range(2 * len(views) + LIMIT_PARALLEL_TRIALS)
               if names.trial(experiment, uid, number) in known]
    return Book(assignments=given, issued=max(numbers, default=-1) + 1, count=len(given))


def recounted(book: Book, ended: Sequence[View]) -> Book:
    """The book without what left its list long ago and whose Trial has been deleted since: that does not count."""
    listed = {one.name for one in book.assignments}
    count = len(listed) + sum(view.name not in listed for view in ended)
    return book if count == book.count else dataclasses.replace(book, count=count)


def written(book: Book) -> dict[str, Any]:
    """The part of a Suggestion's status that a book is."""
    status: dict[str, Any] = {
        "suggestionCount": book.count, "suggestions": [_written_assignment(one) for one in book.assignments],
        "progress": {"told": book.told, "issued": book.issued, "exhausted": book.exhausted}}
    if book.settings:
        status["algorithmSettings"] = [{"name": name, "value": value} for name, value in book.settings.items()]
    return status


def question(book: Book, budget: Budget, told: int) -> Question | None:
    """What to ask once ``told`` Trials have ended; None where nothing is wanted."""
    room = min(budget.room(book.count, told), LIMIT_ASKED_AT_ONCE)
    return Question(told=told, count=room) if room > 0 and not book.exhausted else None


def known(book: Book, ended: Sequence[View], others: Mapping[str, View], told: int) -> list[Told]:
    """What the algorithm is told: so many ended Trials in their order, then all others that it has proposed."""
    done = ended[:told]
    names_done = {view.name for view in done}
    views = {view.name: view for view in ended} | dict(others)
    rest = [Told(name=one.name, assignments=one.assignments, labels=views[one.name].labels if one.name in views
                 else one.labels) for one in book.assignments if one.name not in names_done]
    return [*(view.told() for view in done), *rest]


def requests(book: Book, budget: Budget, before: int) -> int:
    """``spec.requests``: what will be given out before long, so that not every assignment changes it."""
    rounds = -(-book.count // budget.parallel)
    ahead = max(book.count, min(rounds * budget.parallel, budget.most))
    return before if book.count <= before <= ahead else ahead


def taken(book: Book, asked: Question, reply: Reply, experiment: str, uid: str) -> Book:
    """The book after a reply: every proposal has a name, which is the same whenever the same question is asked."""
    new = [_named(proposal, names.trial(experiment, uid, book.issued + place))
           for place, proposal in enumerate(reply.proposals[:asked.count])]
    return dataclasses.replace(
        book, assignments=(*book.assignments, *new), told=max(book.told, asked.told), issued=book.issued + len(new),
        count=book.count + len(new), exhausted=book.exhausted or reply.exhausted,
        settings=dict(book.settings) | dict(reply.settings))


def without(book: Book, gone: Sequence[str]) -> Book:
    """The book without assignments that are taken back."""
    kept = tuple(one for one in book.assignments if one.name not in set(gone))
    return dataclasses.replace(book, assignments=kept, count=book.count - (len(book.assignments) - len(kept)))


def trimmed(book: Book, ended: Sequence[View]) -> Book:
    """The book without what ended first, where its list would be too long; the count stays."""
    listed = {one.name for one in book.assignments}
    done = [view.name for view in ended if view.name in listed]
    oldest = set(done[:max(0, len(done) - LIMIT_LISTED_ASSIGNMENTS)])
    if not oldest:
        return book
    return dataclasses.replace(book, assignments=tuple(one for one in book.assignments if one.name not in oldest))


def _named(proposal: Proposal, name: str) -> Assignment:
    return Assignment(name=name, assignments=proposal.assignments, labels=proposal.labels, rules=proposal.rules)


def _read_assignment(one: Mapping[str, Any]) -> Assignment:
    return Assignment(
        name=str(one.get("name")), labels=one.get("labels") or {},
        assignments={str(pair["name"]): str(pair["value"]) for pair in one.get("parameterAssignments") or ()},
        rules=tuple(Rule(name=str(rule["name"]), value=str(rule["value"]), comparison=rule["comparison"],
                         start_step=int(rule.get("startStep") or 0)) for rule in one.get("earlyStoppingRules") or ()))


def _written_assignment(one: Assignment) -> dict[str, Any]:
    made: dict[str, Any] = {"name": one.name, "parameterAssignments": [
        {"name": name, "value": value} for name, value in one.assignments.items()]}
    if one.labels:
        made["labels"] = dict(one.labels)
    if one.rules:
        made["earlyStoppingRules"] = rules(one.rules)
    return made


def rules(found: Sequence[Rule]) -> list[dict[str, Any]]:
    """Early stopping rules as the CRDs have them."""
    return [{"name": rule.name, "value": rule.value, "comparison": rule.comparison, "startStep": rule.start_step}
            for rule in found]
