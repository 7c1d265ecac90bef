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

from cd4ml.contracts.sweep import Trial
from cd4ml.training.search import Range, Search

DRAWN = 10
"""Trials that are drawn at random, before others follow from them."""
COMPARED, FIRST_EPOCHS = 5, 3
"""A trial is ended early once so many have ended in rounds before, and not in its first epochs."""
UNKNOWN = 1e9
"""By how much a constraint is broken of which nobody knows."""
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
        self._distributions = {name: _distribution(tried) for name, tried in sorted(search.ranges.items())}
        self._search = search
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.create_study(
                direction="maximize" if better == "higher" else "minimize",
                sampler=optuna.samplers.TPESampler(seed=search.seed + len(before), n_startup_trials=DRAWN),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=COMPARED, n_warmup_steps=FIRST_EPOCHS),
            )
            study.add_trials([self._known(one, bounds) for one in before])
            asked = [study.ask(self._distributions) for _ in range(number - len(before) + 1)]
        self._trial, self._told = asked[-1], 0
        self.settings = {name: self._value(name, found) for name, found in self._trial.params.items()}

    def is_worse(self, values: Sequence[tuple[int, float]]) -> bool:
        """Whether a trial is no better by now than half of those before it were.

        Args:
            values: The objective after each epoch so far, with the epoch's number.
        """
        for epoch, value in values[self._told :]:
            self._trial.report(value, epoch)
        self._told = len(values)
        return bool(self._trial.should_prune())

    def _value(self, name: str, found: Any) -> Any:
        tried = self._search.ranges[name]
        return found if isinstance(tried, Range) else tried[found]

    def _known(self, trial: Trial, bounds: Mapping[str, float]) -> FrozenTrial:
        measured = {name: trial.measured.get(name) for name in bounds}
        broken = {name: UNKNOWN if value is None else value - bounds[name] for name, value in measured.items()}
        return create_trial(
            state=_STATES[trial.state],
            value=trial.value,
            params={name: self._place(name, value) for name, value in sorted(trial.settings.items())},
            distributions={name: self._distributions[name] for name in sorted(trial.settings)},
            intermediate_values=dict(trial.values),
            constraints=broken if trial.state == "ended" else None,
        )

    def _place(self, name: str, value: Any) -> Any:
        tried = self._search.ranges[name]
        return value if isinstance(tried, Range) else tried.index(value)


def _distribution(tried: Range | list[Any]) -> BaseDistribution:
    """What Optuna calls a range; of choices, which may be lists, it knows the places."""
    if not isinstance(tried, Range):
        return CategoricalDistribution(range(len(tried)))
    kind = IntDistribution if tried.whole else FloatDistribution
    return kind(*tried.ends, log=tried.log)
