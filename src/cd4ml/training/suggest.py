"""What a sweep tries next: a function of its seed and of the rounds before, whoever asks and whenever."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState, create_trial

from cd4ml.contracts.sweep import Sweep, Trial
from cd4ml.training.search import AnyRange, Range, Search

DRAWN = 10
"""Trials that are drawn at random, before others follow from them."""
COMPARED, FIRST_EPOCHS = 5, 3
"""A trial is ended early once so many have ended in rounds before, and after more than so many of its epochs."""
UNKNOWN = 1e9
"""By how much a constraint is broken of which nobody knows."""
_DIRECTIONS = {"higher": "maximize", "lower": "minimize"}
_STATES = {"ended": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Suggestion:
    """What one trial is to try."""

    def __init__(
        self,
        search: Search,
        *,
        number: int,
        before: Sequence[Trial],
        bounds: Mapping[str, float],
        better: Literal["higher", "lower"],
    ) -> None:
        """Finds it.

        Args:
            search: The sweep.
            number: The trial's.
            before: All trials of the rounds before, in their order.
            bounds: By name the most that is allowed.
            better: Which values of the objective are.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ranges = search.ranges
        distributions = _distributions(search.ranges)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.create_study(
                direction=_DIRECTIONS[better],
                sampler=optuna.samplers.TPESampler(seed=search.seed + len(before), n_startup_trials=DRAWN),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=COMPARED, n_warmup_steps=FIRST_EPOCHS),
            )
            study.add_trials([_known(one, search.ranges, bounds) for one in before])
            asked = [study.ask(distributions) for _ in range(number - len(before) + 1)]
        self._trial, self._told = asked[-1], 0
        self.settings = {name: self._value(name, found) for name, found in self._trial.params.items()}

    def is_worse(self, values: Sequence[tuple[int, float]]) -> bool:
        """Whether a trial is no better by now than half of those before it were.

        Args:
            values: The objective after each epoch so far, with the epoch's number.
        """
        for step, (_, value) in list(enumerate(values))[self._told :]:
            self._trial.report(value, step)
        self._told = len(values)
        return bool(self._trial.should_prune())

    def _value(self, name: str, found: Any) -> Any:
        tried = self._ranges[name]
        return found if isinstance(tried, Range) else tried[found]


def importance(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, float]:
    """How much each setting tells the better trials from the others, from 0 to 1; none where too few have ended."""
    ended = [one for one in trials if one.state == "ended"]
    if len(ended) < DRAWN:
        return {}
    ranges = {name: Range(**tried) if isinstance(tried, Mapping) else tried for name, tried in sweep.ranges.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction=_DIRECTIONS[sweep.better])
        study.add_trials([_known(one, ranges, {}) for one in ended])
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _known(trial: Trial, ranges: Mapping[str, AnyRange], bounds: Mapping[str, float]) -> FrozenTrial:
    """A trial as Optuna knows it."""
    measured = {name: trial.measured.get(name) for name in bounds}
    broken = {name: UNKNOWN if value is None else value - bounds[name] for name, value in measured.items()}
    distributions = _distributions({name: ranges[name] for name in trial.settings})
    return create_trial(
        state=_STATES[trial.state],
        value=trial.value,
        params={name: _place(ranges[name], trial.settings[name]) for name in distributions},
        distributions=distributions,
        intermediate_values={step: value for step, (_, value) in enumerate(trial.values)},
        constraints=broken if trial.state == "ended" else None,
    )


def _place(tried: AnyRange, value: Any) -> Any:
    return value if isinstance(tried, Range) else tried.index(value)


def _distributions(ranges: Mapping[str, AnyRange]) -> dict[str, BaseDistribution]:
    return {name: _distribution(tried) for name, tried in sorted(ranges.items())}


def _distribution(tried: AnyRange) -> BaseDistribution:
    """What Optuna calls a range; of choices, which may be lists, it knows the places."""
    if not isinstance(tried, Range):
        return CategoricalDistribution(range(len(tried)))
    kind = IntDistribution if tried.whole else FloatDistribution
    return kind(*tried.ends, log=tried.log)
