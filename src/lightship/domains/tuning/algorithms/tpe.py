"""Tree-structured Parzen estimators, by Optuna: ``tpe`` an axis at a time, ``multivariate-tpe`` over all at once.

Runs in the worker (it imports Optuna and numpy); ``engines`` makes me. Optuna's sampler is given a storage that holds
just what was told: ended Trials in the order of their completion, then the running ones, which it takes for bad until
they have ended (its constant liar). So the study after a restart is the study before it. Several objectives are
Optuna's multi-objective TPE.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Container, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lightship.domains.tuning.algorithms import telling
from lightship.domains.tuning.algorithms.search import ENDED, Proposal, Reply, Search, Told
from lightship.domains.tuning.algorithms.space import Axis, axes, seed_of

optuna.logging.set_verbosity(optuna.logging.ERROR)

_LIMIT_GOOD = 25  # hyperopt's: at most so many Trials count as the good ones
_LIMIT_STEPS = 1_000_000


class Tpe:
    """One study. ``search.algorithm`` says which of the two."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._seed = telling.seed(search)
        self._space = axes(search.parameters)
        self._distributions = {axis.name: _distribution(axis) for axis in self._space}
        self._ledger = _Ledger()
        self._study = optuna.create_study(
            storage=self._ledger, study_name="search",
            directions=[StudyDirection.MINIMIZE] * len(search.objectives), sampler=self._sampler(0))

    def propose(self, told: Sequence[Told], count: int) -> Reply:
        ledger = self._ledger
        ended = telling.ended(told)
        ledger.ended += [self._ended(one, number) for number, one in enumerate(ended) if number >= len(ledger.ended)]
        ledger.running = [self._frozen(one, len(ended) + number, TrialState.RUNNING, None)
                          for number, one in enumerate(one for one in told if one.state not in ENDED)]
        return Reply(proposals=tuple(self._one() for _ in range(count)))

    def _one(self) -> Proposal:
        ledger = self._ledger
        number = len(ledger.ended) + len(ledger.running)
        self._study.sampler = self._sampler(number)
        values = self._study.ask(fixed_distributions=self._distributions).params
        return Proposal(assignments={axis.name: _text(axis, values[axis.name]) for axis in self._space})

    def _sampler(self, number: int) -> TPESampler:
        settings = self._search.settings
        candidates = settings.get("n_ei_candidates", settings.get("n_EI_candidates"))
        words: dict[str, Any] = {}
        if "gamma" in settings:
            words["gamma"] = _gamma(float(settings["gamma"]))
        if "prior_weight" in settings:
            words["prior_weight"] = float(settings["prior_weight"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # gamma and prior_weight: hyperopt's settings, kept until 6
            return _FixedSpace(
                self._distributions, multivariate=self._search.algorithm == "multivariate-tpe", constant_liar=True,
                seed=seed_of(self._seed, "tpe", number), n_ei_candidates=max(int(candidates or 24), 1),
                n_startup_trials=int(settings.get("n_startup_trials", 10)), **words)

    def _ended(self, told: Told, number: int) -> FrozenTrial:
        losses = telling.losses(self._search, told)
        if losses is None or (len(losses) > 1 and not all(map(math.isfinite, losses))):
            return self._frozen(told, number, TrialState.FAIL, None)
        return self._frozen(told, number, TrialState.COMPLETE, losses)

    def _frozen(self, told: Told, number: int, state: TrialState, values: Sequence[float] | None) -> FrozenTrial:
        try:
            params = {axis.name: _value(axis, told.assignments[axis.name]) for axis in self._space}
        except (KeyError, ValueError):  # not of this space: it says nothing
            state, values, params = TrialState.FAIL, None, {}
        return FrozenTrial(number=number, trial_id=number, state=state, value=None, values=values, datetime_start=None,
                           datetime_complete=None, params=params, user_attrs={}, system_attrs={},
                           intermediate_values={}, distributions=self._distributions if params else {})


class _FixedSpace(TPESampler):
    """A sampler that is told its space, where Optuna looks through every trial to find what they have in common."""

    def __init__(self, distributions: dict[str, BaseDistribution], **words: Any) -> None:
        super().__init__(**words)
        self._fixed = {name: one for name, one in distributions.items() if not one.single()}
        self._together = bool(words["multivariate"])

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._fixed if self._together else {}


class _Ledger(InMemoryStorage):
    """A storage whose trials are what was told, and behind them the one that is being asked for.

    What a new trial is told of itself goes through the parent's code; once its parameters are all known it is a running
    one like the others, until the next telling says what became of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[FrozenTrial] = []
        self.running: list[FrozenTrial] = []

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = len(self.ended) + len(self.running)
        self.running.append(optuna.trial.FrozenTrial(
            number=number, trial_id=number, state=TrialState.RUNNING, value=None, datetime_start=None,
            datetime_complete=None, params={}, distributions={}, user_attrs={}, system_attrs={},
            intermediate_values={}))
        return number

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._at(trial_id)

    def set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float,
                        distribution: BaseDistribution) -> None:
        trial = self._at(trial_id)
        trial.params = trial.params | {param_name: distribution.to_external_repr(param_value_internal)}
        trial.distributions = trial.distributions | {param_name: distribution}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._at(trial_id).system_attrs[key] = value

    def get_all_trials(self, study_id: int, deepcopy: bool = True,
                       states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        trials = self.ended + self.running
        return trials if states is None else [trial for trial in trials if trial.state in states]

    def _at(self, trial_id: int) -> FrozenTrial:
        behind = trial_id - len(self.ended)
        return self.running[behind] if behind >= 0 else self.ended[trial_id]


def _gamma(share: float) -> Callable[[int], int]:
    """Hyperopt's: of n Trials the best ``share`` times the root of n are the good ones."""
    return lambda count: min(math.ceil(share * math.sqrt(count)), _LIMIT_GOOD)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    return IntDistribution(0, axis.steps or 0) if _few(axis) else FloatDistribution(0.0, 1.0)


def _few(axis: Axis) -> bool:
    """Whether its steps are sampled as such: of many, as of uneven ones, the place between the bounds is."""
    return axis.steps is not None and axis.steps <= _LIMIT_STEPS and axis.even


def _value(axis: Axis, text: str) -> str | int | float:
    if axis.choices:
        axis.index(text)  # of this space, or a ValueError
        return text
    return axis.index(text) if _few(axis) else axis.unit(text)


def _text(axis: Axis, value: Any) -> str:
    if axis.choices:
        return str(value)
    return axis.at(int(value)) if _few(axis) else axis.text(float(value))
