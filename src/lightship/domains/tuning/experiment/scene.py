"""What one pass over an Experiment sees and decides. Pure; ``reconciler`` fills it from informers and acts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from lightship.domains.tuning import marks, names
from lightship.domains.tuning.experiment import status
from lightship.domains.tuning.marks import Status
from lightship.domains.tuning.suggestion import book as books
from lightship.domains.tuning.suggestion.book import Assignment, Book, Budget
from lightship.domains.tuning.trial.view import View
from lightship.kube import objects, times
from lightship.kube.objects import Object
from lightship.lib.backoff import Backoff

FREE_FAILURES = 10
"""So many Trials in a row may fail before the next ones wait."""
FAILING = Backoff(initial_seconds=1, maximum_seconds=300, jitter=0.0)


@dataclass(frozen=True)
class Scene:
    """An Experiment, its Suggestion's book and its Trials."""

    experiment: Object
    book: Book
    views: Sequence[View]

    @cached_property
    def ended(self) -> list[View]:
        """The Trials that have ended, in the order of completion."""
        return sorted((view for view in self.views if view.ended), key=lambda view: view.place)

    @cached_property
    def active(self) -> list[View]:
        """The others, by name."""
        return sorted((view for view in self.views if not view.ended), key=lambda view: view.name)

    @cached_property
    def by_name(self) -> Mapping[str, View]:
        return {view.name: view for view in self.views}

    @property
    def budget(self) -> Budget:
        return Budget.of(objects.spec(self.experiment))

    def missing(self, book: Book) -> list[Assignment]:
        """What was given out and has no Trial: none of it was made yet, or a user has deleted it."""
        return [one for one in book.assignments if one.name not in self.by_name]

    def orphans(self, book: Book) -> list[View]:
        """Trials that run and were taken back: the pass that did so came no further."""
        given = {one.name for one in book.assignments}
        return [view for view in self.active if view.name not in given and not view.deleting]

    def excess(self, book: Book) -> list[str]:
        """What is to be taken back where fewer Trials may run than do: the youngest."""
        running = [one.name for one in book.assignments
                   if one.name not in self.by_name or not self.by_name[one.name].ended]
        most = self.budget.parallel
        return running[most:] if len(running) > most else []

    def summary(self, before: Status, now: datetime) -> Status:
        """The status as the Trials make it, and its end where that has come."""
        if status.restarts(self.experiment):
            before = status.mark_restarting(before, now)
        marked = status.propagate_trials(status.mark_created(before, now), self.experiment, [*self.ended, *self.active])
        if marks.is_true(marked, names.SUCCEEDED) or marks.is_true(marked, names.FAILED):
            return marked
        return status.mark_end(marked, self.experiment, self.ended, now)

    def pause_seconds(self, now: datetime) -> float:
        """How long to wait before more Trials begin, where no budget bounds them and one after another has failed."""
        if objects.spec(self.experiment).get("maxTrialCount") is not None or not self.ended:
            return 0.0
        failed = 0
        for one in reversed(self.ended):
            if one.state not in (names.FAILED, names.METRICS_UNAVAILABLE):
                break
            failed += 1
        if failed <= FREE_FAILURES:
            return 0.0
        since = (now - times.parse(self.ended[-1].completed)).total_seconds()
        return max(0.0, FAILING.delay_seconds(failed - FREE_FAILURES, lambda: 0.5) - since)

    def note(self) -> str:
        """What a user should know of how it runs."""
        wanted = int(objects.spec(self.experiment).get("parallelTrialCount") or 1)
        if wanted <= books.LIMIT_PARALLEL_TRIALS:
            return ""
        return f"{books.LIMIT_PARALLEL_TRIALS} of {wanted} Trials run at a time, the most that one Experiment may have"


def is_over(marked: Status) -> bool:
    return marks.is_true(marked, names.SUCCEEDED) or marks.is_true(marked, names.FAILED)
