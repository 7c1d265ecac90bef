"""The steps of a strategy, as they are written; what takes longer to load than to read is loaded when it is taken.

A person writes those that come between the verification of a release and its route: `{traffic: 10}`,
`{mirror: 100}`, `{hold: 5 minutes}`, `{analyse: {...}}`, `{watch: {...}}`, `{approve: {...}}`.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

from pydantic import Field, field_validator

from cd4ml import settings
from cd4ml.deployment import decided, steps, verify, waiting
from cd4ml.deployment.evidence.designs import Bandit, Design
from cd4ml.deployment.evidence.limits import Limits
from cd4ml.deployment.evidence.own_limits import OwnLimits
from cd4ml.deployment.steps import NOBODY, Rollout
from cd4ml.names import lasting, nearest, shown
from cd4ml.settings import OneOf, Span, Strict, Whole

READY_SECONDS = 60
"""How long a server may take to answer that its target holds for ready: the cluster's Services may lag behind."""


@dataclass(frozen=True)
class Verify:
    """Holds what the release answers against what evaluation got."""

    name = "verify"

    def take(self, rollout: Rollout) -> str:
        """Takes the step; how many rows were held against the evaluation."""
        verify.wait_until_ready(rollout.url, READY_SECONDS, alive=lambda: True)
        rollout.verification = verify.verify_version(rollout.target.store, rollout.release.version, rollout.url)
        return rollout.verification.headline


@dataclass(frozen=True)
class Route:
    """Gives the release all requests."""

    name = "route"

    def take(self, rollout: Rollout) -> str:
        """Takes the step; where callers reach it."""
        rollout.endpoint = rollout.target.route(rollout.release)
        return f"all requests to {rollout.endpoint}"


class Traffic(Strict):
    """Gives the release a part of the requests, by chance."""

    traffic: Annotated[float, Field(gt=0, le=100)]
    """Percent; of 100, what was served before stays beside it, warm, and gets none."""

    @property
    def name(self) -> str:
        """What the history calls it."""
        return f"traffic {self.traffic:g}"

    @property
    def whole(self) -> bool:
        """Whether the release gets all."""
        return self.traffic == 100

    def check_follows(self, before: "Dividing | None") -> None:
        """Makes sure that requests can still be divided after a step.

        Raises:
            ValueError: They cannot.
        """
        _check_not_whole(before, "traffic")

    def take(self, rollout: Rollout) -> str:
        """Takes the step; who gets how much."""
        rollout.split = rollout.target.share(rollout.release, self.traffic / 100, rollout.features)
        rollout.split_at = steps.now()
        if rollout.split is None:
            return f"{NOBODY}, so there is nothing to divide"
        return f"{self.traffic:g}% of the requests to version {rollout.release.version.version}"


class Mirror(Strict):
    """Gives the release copies of a part of the requests; callers are answered by what was served before."""

    mirror: Annotated[float, Field(gt=0, le=100)]
    """Percent."""

    @property
    def name(self) -> str:
        """What the history calls it."""
        return f"mirror {self.mirror:g}"

    def check_follows(self, before: "Dividing | None") -> None:
        """Makes sure that requests can still be copied after a step.

        Raises:
            ValueError: They cannot.
        """
        _check_not_whole(before, "mirror")

    def take(self, rollout: Rollout) -> str:
        """Takes the step; who gets copies of how much."""
        rollout.split = rollout.target.mirror(rollout.release, self.mirror / 100, rollout.features)
        rollout.split_at = steps.now()
        if rollout.split is None:
            return f"{NOBODY}, so there is nothing to copy"
        return f"copies of {self.mirror:g}% of the requests to version {rollout.release.version.version}"


class Hold(Strict):
    """Waits."""

    hold: Span

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "hold"

    @property
    def longest(self) -> timedelta:
        """How long it may take."""
        return self.hold

    def check_follows(self, before: "Dividing | None") -> None:
        """Makes sure that the release answers by then, or has copies.

        Raises:
            ValueError: It does not.
        """
        if before is None:
            raise ValueError("hold comes before any traffic; write {traffic: 10} or {mirror: 100} before it")

    def take(self, rollout: Rollout) -> str:
        """Takes the step; how long it waited."""
        if rollout.split is None:
            return f"{NOBODY}, so there is nothing to wait for"
        steps.wait(rollout, self.hold.total_seconds())
        return f"waited {lasting(self.hold)}"


class Analysed(Limits):
    """What the release must keep against what was served before, and how long it may take to tell."""

    within: Span = timedelta(hours=1)
    """After which what cannot be told has failed."""


class Analyse(Strict):
    """Waits until the requests since the last `traffic` or `mirror` tell whether the release keeps limits."""

    analyse: Analysed

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "analyse"

    @property
    def longest(self) -> timedelta:
        """How long it may take."""
        return self.analyse.within

    @property
    def limits(self) -> Limits:
        """What the release must keep."""
        return self.analyse

    @property
    def columns(self) -> set[str]:
        """The features that its limits need."""
        return {column for held in self.analyse.each() for column in held.columns}

    def check_follows(self, before: "Dividing | None") -> None:
        """Makes sure that the requests after a step can tell of its limits.

        Args:
            before: The last that gives the release some; None where none does.

        Raises:
            ValueError: They cannot.
        """
        if before is None:
            raise ValueError("analyse comes before any traffic; write {traffic: 10} or {mirror: 100} before it")
        if isinstance(before, Traffic) and before.whole:
            raise ValueError(
                "analyse has nothing to compare with after {traffic: 100}; write it before, or {watch: ...} here"
            )
        if isinstance(before, ByBandit):
            raise ValueError(
                "analyse comes after a bandit, whose shares follow what comes of requests; write `limits` within it"
            )
        if isinstance(before, Mirror) and self.analyse.reward:
            raise ValueError("reward: nobody sees what a mirror answers; ask for it after a traffic, not a mirror")
        if not isinstance(before, Mirror) and self.analyse.prediction_difference:
            raise ValueError(
                "prediction_difference: takes requests that both answered; write {mirror: 100}, not a traffic, before"
            )

    def take(self, rollout: Rollout) -> str:
        """Takes the step; by what it passed."""
        from cd4ml.deployment.steps import judging

        return judging.analyse(rollout, self.analyse, within=self.analyse.within)


class Watch(Strict):
    """Looks for a time at what the release answers, which goes on where it is known by then that it keeps limits."""

    watch: OwnLimits

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "watch"

    @property
    def longest(self) -> timedelta:
        """How long it may take."""
        return self.watch.span

    def check_follows(self, before: "Dividing | None") -> None:
        """Makes sure that the release answers callers after a step.

        Raises:
            ValueError: It does not.
        """
        if not isinstance(before, Traffic | AbTest | ByBandit):
            raise ValueError("watch comes where the release answers nobody; write {traffic: 100} before it")

    def take(self, rollout: Rollout) -> str:
        """Takes the step; what it kept."""
        from cd4ml.deployment.steps import judging

        return judging.watch(rollout, self.watch)


class Asked(Strict):
    """Who is to approve, and how long they are waited for."""

    approvals: Annotated[Whole, Field(ge=1, le=waiting.MOST)] = 1
    """Of so many different people."""
    within: Span = waiting.LONGEST

    @field_validator("within")
    @classmethod
    def _ends(cls, within: timedelta) -> timedelta:
        if within > waiting.LONGEST:
            raise ValueError("nobody is waited for longer than 3 days; write `3 days` or less")
        return within


class Approve(Strict):
    """Waits until people have seen the release, and let it go on."""

    approve: Asked

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "approve"

    @property
    def longest(self) -> timedelta:
        """How long it may take."""
        return self.approve.within

    def take(self, rollout: Rollout) -> str:
        """Takes the step; who let it go on, and why."""
        store, release = rollout.target.store, rollout.release
        approved = waiting.wait(
            store,
            release.version,
            self.approve.approvals,
            within=self.approve.within,
            anew=True,
            look=lambda: steps.check_lives(rollout),
            otherwise=f"; {decided.how(store, release.begun)}",
        )
        return "; ".join(one.headline for one in approved)


class AbTest(Strict):
    """Divides the callers, and waits until it is known which of both does better, or as long as was planned."""

    design: Annotated[Design, Field(alias="ab-test")]

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "ab-test"

    @property
    def longest(self) -> timedelta:
        """How long it may take."""
        return self.design.within

    @property
    def limits(self) -> Limits | None:
        """What the release must keep."""
        return self.design.limits

    @property
    def columns(self) -> set[str]:
        """The features whose values it needs."""
        return self.design.columns

    def check_follows(self, before: "Dividing | None") -> None:
        """Makes sure that requests can still be divided after a step.

        Raises:
            ValueError: They cannot.
        """
        _check_not_whole(before, "ab-test")

    def take(self, rollout: Rollout) -> str:
        """Takes the step; by what the release was found better."""
        from cd4ml.deployment.steps import trial

        return trial.run(rollout, self.design)


class ByBandit(Strict):
    """Divides the requests anew, again and again, as it comes to be known which of both does better."""

    bandit: Bandit

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "bandit"

    @property
    def longest(self) -> timedelta:
        """How long it may take."""
        return self.bandit.span

    @property
    def limits(self) -> Limits | None:
        """What the release must keep."""
        return self.bandit.limits

    @property
    def columns(self) -> set[str]:
        """The features whose values it needs."""
        return self.bandit.columns

    def check_follows(self, before: "Dividing | None") -> None:
        """Makes sure that requests can still be divided after a step.

        Raises:
            ValueError: They cannot.
        """
        _check_not_whole(before, "bandit")

    def take(self, rollout: Rollout) -> str:
        """Takes the step; by what the release was found better."""
        from cd4ml.deployment.steps import adapting

        return adapting.run(rollout, self.bandit)


def _check_not_whole(before: "Dividing | None", what: str) -> None:
    if isinstance(before, Traffic) and before.whole:
        raise ValueError(f"{what} comes after {{traffic: 100}}, which gives the release all; write it before")


Dividing: TypeAlias = Traffic | Mirror | AbTest | ByBandit
Waiting: TypeAlias = Hold | Analyse | Watch | Approve | AbTest | ByBandit
Written: TypeAlias = Traffic | Mirror | Hold | Analyse | Watch | Approve | AbTest | ByBandit
WRITTEN: dict[str, type[Written]] = {
    "traffic": Traffic,
    "mirror": Mirror,
    "hold": Hold,
    "analyse": Analyse,
    "watch": Watch,
    "approve": Approve,
    "ab-test": AbTest,
    "bandit": ByBandit,
}
"""Those that a person writes, by their one key."""


def _checked(content: Any) -> Written:
    if not isinstance(content, dict) or len(content) != 1:
        raise ValueError(f"write a step with one name, such as {{traffic: 10}}, not {shown(content)}")
    (name,) = content
    if name not in WRITTEN:
        raise ValueError(f"{name!r} is no step; {nearest(str(name), WRITTEN)}")
    return settings.within(WRITTEN[name], content)


AnyStep = Annotated[Written, OneOf(_checked, WRITTEN.values)]
