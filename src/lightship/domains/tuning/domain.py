"""What a server composes of this room: the kinds with their admission, and the two controllers.

``composition`` composes ``TUNING``, calls ``bootstrap`` once the API answers, and gives ``metrics_collector`` to the
node as the entrypoint of the image of that name.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from lightship.domains.furniture import Domain, Kind
from lightship.domains.tuning import kinds
from lightship.domains.tuning.bootstrap import bootstrap
from lightship.domains.tuning.collectors import injection
from lightship.domains.tuning.collectors.injection import ENTRYPOINT_NAME
from lightship.domains.tuning.collectors.sidecar import collect as metrics_collector
from lightship.domains.tuning.deps import TuningDeps
from lightship.domains.tuning.experiment import admission, defaults
from lightship.domains.tuning.experiment import reconciler as experiments
from lightship.domains.tuning.experiment import schema as experiment_schema
from lightship.domains.tuning.suggestion import schema as suggestion_schema
from lightship.domains.tuning.trial import pods as trial_pods
from lightship.domains.tuning.trial import reconciler as trials
from lightship.domains.tuning.trial import schema as trial_schema
from lightship.domains.tuning.trial.runs import Runs
from lightship.kube.objects import Key
from lightship.runtime.controller import Controller


def controllers(deps: TuningDeps) -> Sequence[Controller]:
    """The two controllers, which share what they know of runs."""

    def wake(key: Key) -> None:
        deps.wake(trials.NAME, key)

    runs = Runs(deps.client, deps.informer, wake, functools.partial(injection.amend, own=deps.sidecar))
    return experiments.controller(deps, runs), trials.controller(deps, runs)


TUNING = Domain(
    name="tuning",
    kinds=(
        Kind(resource=kinds.EXPERIMENTS, default=defaults.default, validate=admission.validate,
             schema=experiment_schema.SCHEMA, related=admission.related, validate_with=admission.validate_with),
        Kind(resource=kinds.SUGGESTIONS, schema=suggestion_schema.SCHEMA),
        Kind(resource=kinds.TRIALS, schema=trial_schema.SCHEMA, pod_of=trial_pods.trial_of,
             amend_pod=trial_pods.amend),
    ),
    controllers=controllers,
)

__all__ = ["TUNING", "TuningDeps", "bootstrap", "metrics_collector", "ENTRYPOINT_NAME"]
