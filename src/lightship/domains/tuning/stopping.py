"""Early stopping rules for the next Trials, from what the succeeded ones have logged. An edge: I read the records.

The Experiment's reconciler calls me. What one Trial adds never changes, so it is read once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from lightship.domains.tuning import early_stopping
from lightship.domains.tuning.algorithms.search import Rule
from lightship.domains.tuning.collectors import observe
from lightship.domains.tuning.experiment import search
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.records import observations
from lightship.records.database import Database

LIMIT_KEPT_AVERAGES = 20_000


class MedianStop:
    """``stopping`` of ``TuningDeps``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._averages: OrderedDict[tuple[str, str], float | None] = OrderedDict()
        """By the Experiment's uid and the Trial's name; None of one that has logged nothing."""

    async def rules(self, experiment: Object, succeeded: Sequence[str]) -> Sequence[Rule]:
        """The rules of an Experiment's ``earlyStopping``."""
        spec = objects.spec(experiment)
        settings = search.settings((spec.get("earlyStopping") or {}).get("algorithmSettings"))
        objective = search.objectives(spec.get("objective") or {})[0]
        found = []
        for trial in succeeded:
            place = (objects.uid(experiment), trial)
            if place not in self._averages:
                values = await self._values(objects.namespace(experiment), trial, objective.metric)
                self._averages[place] = early_stopping.average(values, settings)
                if len(self._averages) > LIMIT_KEPT_AVERAGES:
                    self._averages.popitem(last=False)
            average = self._averages[place]
            if average is not None:
                found.append(average)
        return early_stopping.rules(settings, objective, found)

    async def _values(self, namespace: str, trial: str, metric: str) -> list[float]:
        log = await self._database.read(
            lambda connection: observations.log(connection, namespace, trial, observations.Range(metric=metric)))
        return [value for reading in log if (value := observe.number(reading.value)) is not None]
