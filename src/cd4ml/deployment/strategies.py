"""How a release gets into production: a strategy is a list of steps, of which the first verifies and the last routes.

A strategy is named, or written as the steps between these two.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, RootModel, model_validator

from cd4ml import settings
from cd4ml.deployment import targets, waiting
from cd4ml.deployment.evidence.limits import Limits
from cd4ml.deployment.steps import Step
from cd4ml.deployment.steps.written import (
    WRITTEN,
    AbTest,
    Analyse,
    AnyStep,
    Approve,
    ByBandit,
    Dividing,
    Route,
    Verify,
    Waiting,
    Watch,
)
from cd4ml.errors import DeploymentError
from cd4ml.names import nearest, shown
from cd4ml.plugins import PluginPoint
from cd4ml.settings import OneOf

LONGEST = timedelta(days=24)
"""How long people and callers may be waited for in a cluster, where a task has an end."""


class _Steps(RootModel[Annotated[tuple[AnyStep, ...], Field(strict=False, min_length=1)]]):
    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _follow_each_other(self) -> Self:
        before: Dividing | None = None
        for number, step in enumerate(self.root):
            if isinstance(step, Approve):
                continue
            try:
                step.check_follows(before)
            except ValueError as error:
                raise ValueError(f"{number}: {error}") from error
            before = step if isinstance(step, Dividing) else before
        deciding = [step.name for step in self.root if isinstance(step, AbTest | ByBandit)]
        if len(deciding) > 1:
            raise ValueError(
                f"has more than one {' or '.join(dict.fromkeys(deciding))}; write one, for the first already decides"
            )
        return self


@dataclass(frozen=True)
class Strategy:
    """A way into production, by name."""

    name: str
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, name: str, written: Sequence[Any]) -> Self:
        """Verifies the release, takes the steps that a person wrote, and gives it all requests.

        Raises:
            DeploymentError: A step is not as it should be.
        """
        steps = settings.parse(_Steps, content=list(written), name=f"strategy {name}", error=DeploymentError)
        return cls(name, (Verify(), *steps.root, Route()))

    @property
    def splits(self) -> bool:
        """Whether requests are divided between the release and what was served before, or copied."""
        return any(isinstance(step, Dividing) for step in self.steps)

    @property
    def features(self) -> list[str]:
        """Those that its steps need the values of."""
        return sorted({column for step in self._judging for column in step.columns})

    @property
    def limits(self) -> list[Limits]:
        """What a release must keep against what was served before."""
        return [step.limits for step in self._judging if step.limits]

    @property
    def _judging(self) -> list[Analyse | AbTest | ByBandit]:
        return [step for step in self.steps if isinstance(step, Analyse | AbTest | ByBandit)]

    @property
    def persons(self) -> int:
        """How many people it asks to approve a release."""
        return max((step.approve.approvals for step in self.steps if isinstance(step, Approve)), default=0)

    @property
    def longest(self) -> timedelta:
        """How long its steps may wait, all together."""
        return sum((step.longest for step in self.steps if isinstance(step, Waiting)), timedelta())

    @property
    def looks(self) -> int:
        """The steps among which the error of a rollout is divided."""
        return sum(isinstance(step, Analyse | Watch) for step in self.steps)


REPLACE = Strategy("replace", (Verify(), Route()))
"""The release is verified beside what is served, and takes its place."""
_KEPT = {"error_rate": {"max_increase": 0.02}, "latency_p95": {"max_ratio": 1.5}, "within": "6 hours"}
CANARY = Strategy.of("canary", [{"traffic": 10}, {"analyse": _KEPT}, {"traffic": 50}, {"analyse": _KEPT}])
"""The release gets some of the requests, and more once it is known that it does as well."""
SHADOW = Strategy.of("shadow", [{"mirror": 100}, {"analyse": {**_KEPT, "prediction_difference": {"max_mean": 0.1}}}])
"""The release gets copies of all requests, and answers nobody until it is known to do as well and much the same."""
BLUE_GREEN = Strategy.of(
    "blue-green",
    [
        {"traffic": 100},
        {"watch": {"error_rate": {"max": 0.02}, "latency_p95": {"max": 500}, "for": "30 minutes"}},
    ],
)
"""The release gets all requests at once; what was served before stays beside it, warm, until it has been watched."""
MANUAL = Strategy.of("manual", [{"approve": {}}])
"""The release is raised and verified, and waits for a person."""
STRATEGIES: PluginPoint[Strategy] = PluginPoint(
    kind="strategy",
    group="cd4ml.strategies",
    of=Strategy,
    built_in={
        "replace": f"{__name__}:REPLACE",
        "canary": f"{__name__}:CANARY",
        "shadow": f"{__name__}:SHADOW",
        "blue-green": f"{__name__}:BLUE_GREEN",
        "manual": f"{__name__}:MANUAL",
    },
)


def parse(strategy: str | Sequence[Any]) -> Strategy:
    """A strategy as a person names or writes it, or as JSON has it.

    Raises:
        DeploymentError: There is no such strategy, or a step is not as it should be.
    """
    if isinstance(strategy, str) and not strategy.startswith("["):
        if strategy in WRITTEN:
            raise DeploymentError(f"{strategy!r} is a step, and no strategy; write a list of steps (docs/comparing.md)")
        if strategy not in STRATEGIES.names:
            raise DeploymentError(f"{strategy!r} is no strategy; {nearest(strategy, STRATEGIES.names)}")
        return STRATEGIES.load(strategy)
    try:
        steps = json.loads(strategy) if isinstance(strategy, str) else strategy
    except (ValueError, RecursionError) as error:
        raise DeploymentError(f"strategy: {shown(strategy)} is no JSON ({error}); write a name, or steps") from error
    return _of_steps(settings.parse(_Steps, content=steps, name="strategy", error=DeploymentError))


def _of_steps(steps: _Steps) -> Strategy:
    return Strategy(", ".join(step.name for step in steps.root), (Verify(), *steps.root, Route()))


def _checked(strategy: Any) -> Any:
    if isinstance(strategy, list):
        _of_steps(settings.within(_Steps, strategy))
    elif isinstance(strategy, str):
        parse(strategy)
    else:
        raise ValueError(f"write a name or a list of steps, not {shown(strategy)}")
    return strategy


AnyStrategy = Annotated[Any, OneOf(_checked, lambda: [str, list[AnyStep]])]
"""A strategy as a person writes it, as a part of other settings."""


def check_together(strategy: Strategy, target: str, *, approvals: int) -> None:
    """Makes sure that a target can follow a strategy.

    Args:
        strategy: The strategy.
        target: The target's name.
        approvals: How many people are waited for before.

    Raises:
        DeploymentError: It cannot, or not in the time that a task of a cluster has.
    """
    if strategy.splits and not targets.TARGETS.load(target).splits:
        raise DeploymentError(
            f"strategy {strategy.name!r}: the target {target!r} gives all requests to one version; write `replace`"
        )
    longest = strategy.longest + (waiting.LONGEST if approvals else timedelta())
    if target in targets.IN_A_CLUSTER and longest > LONGEST:
        before = f", and people before it {_days(waiting.LONGEST)}" if approvals else ""
        raise DeploymentError(
            f"strategy {strategy.name!r}: its steps may take {_days(strategy.longest)}{before}; a task of KFP deploys "
            f"for {_days(LONGEST)} at most, so write shorter spans (`hold`, `within`, `for`)"
        )


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.3g} days"
