"""The steps of a strategy, each of which passes or fails.

A person writes those that come between the verification of a release and its route: `{traffic: 10}`,
`{mirror: 100}`, `{hold: 5 minutes}`, `{analyse: {...}}`, `{watch: {...}}`, `{approve: {...}}`.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar

from pydantic import Field, field_validator

from cd4ml import settings
from cd4ml.contracts.deployment import Answered, Held
from cd4ml.contracts.release import Verification
from cd4ml.contracts.verdict import Outcome, Verdict, worst
from cd4ml.deployment import analysis, decided, step_log, verify, waiting, watched
from cd4ml.deployment.ab_test import Design
from cd4ml.deployment.bandit import Bandit
from cd4ml.deployment.compared import UnreadableError
from cd4ml.deployment.rollout_limits import Limits
from cd4ml.deployment.targets import Release, Split, Target
from cd4ml.deployment.watched import Watched
from cd4ml.errors import DeploymentError
from cd4ml.names import nearest, shown
from cd4ml.registry import models
from cd4ml.settings import OneOf, Span, Strict, Whole

READY_SECONDS = 60
"""How long a server may take to answer that its target holds for ready: the cluster's Services may lag behind."""
LIVES_SECONDS = 15
"""How long it may take to answer later, when it is asked whether it still does."""
LOOK_SECONDS = 5
LATE_SECONDS = 15
"""How much later than a request its answer may be captured: those that are slow come last, and would be missing."""
LATE_COPY_SECONDS = 60
"""Likewise of a copy, which waits up to 30 seconds for others that hang, and then for its own answer."""
AWAY_SECONDS = 600
"""How long what was captured may not be readable, as where the store is away."""
NOBODY = "nothing was served before"
Found = TypeVar("Found")

log = logging.getLogger(__name__)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass
class Rollout:
    """A release on its way, as its steps find and leave it."""

    target: Target
    release: Release
    url: str = ""
    """Its own address, where it alone answers; empty before it is raised."""
    endpoint: str = ""
    """The address that callers ask; empty before they get this release there."""
    verification: Verification | None = None
    """What it answered, when it was verified last."""
    steps: tuple["Step", ...] = ()
    """All of them."""
    split: Split | None = None
    """How requests are divided or copied; None where one server alone gets them."""
    split_at: datetime | None = None
    """Since when."""
    approvals: int = 0
    """How many people have to approve the version, and to promote it."""
    answered: dict[str, Answered] = field(default_factory=dict)
    """How both answered, as the step that is taken has seen it last."""
    held: Held = field(init=False)
    """The event that says that it holds, from when it does."""


class Step(Protocol):
    """A step of a strategy."""

    @property
    def name(self) -> str:
        """What the history calls it."""

    def take(self, rollout: Rollout) -> str:
        """Takes the step; what came of it, for people.

        Raises:
            DeploymentError: It failed, which undoes the rollout.
        """


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
        rollout.split = rollout.target.share(rollout.release, self.traffic / 100, features(rollout))
        rollout.split_at = now()
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
        rollout.split = rollout.target.mirror(rollout.release, self.mirror / 100, features(rollout))
        rollout.split_at = now()
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
        wait(rollout, self.hold.total_seconds())
        return f"waited {self.hold}"


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
        if isinstance(before, Mirror) and self.analyse.reward:
            raise ValueError("reward: nobody sees what a mirror answers; ask for it after a traffic, not a mirror")
        if not isinstance(before, Mirror) and self.analyse.prediction_difference:
            raise ValueError(
                "prediction_difference: takes requests that both answered; write {mirror: 100}, not a traffic, before"
            )

    def take(self, rollout: Rollout) -> str:
        """Takes the step; by what it passed."""
        if rollout.split is None:
            return f"{NOBODY}, so there is nothing to compare with"
        classes = None
        if self.analyse.of_labels:
            classes = models.contract(rollout.target.store, rollout.release.version).classes
        look = partial(self._look, rollout, rollout.split, classes)
        return _judged(rollout, look, span=self.analyse.within, whole=False)

    def _look(self, rollout: Rollout, split: Split, classes: Sequence[str] | None) -> Verdict:
        from cd4ml.deployment import divided, paired

        read, late = (paired.read, LATE_COPY_SECONDS) if split.mirrored else (divided.read, LATE_SECONDS)
        found = read(
            split.capture,
            champion=split.champion,
            challenger=split.challenger,
            since=rollout.split_at,
            until=now() - timedelta(seconds=late),
        )
        rollout.answered = found.answered()
        about = {"champion": split.champion, "challenger": split.challenger}
        return analysis.analyse(
            found,
            self.analyse,
            about=about,
            looks=_looks(rollout),
            classes=classes,
        )


class Watch(Strict):
    """Looks for a time at what the release answers, which goes on where it is known by then that it keeps limits."""

    watch: Watched

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "watch"

    def check_follows(self, before: "Dividing | None") -> None:
        """Makes sure that the release answers callers after a step.

        Raises:
            ValueError: It does not.
        """
        if not isinstance(before, Traffic | AbTest | ByBandit):
            raise ValueError("watch comes where the release answers nobody; write {traffic: 100} before it")

    def take(self, rollout: Rollout) -> str:
        """Takes the step; what it kept."""
        if rollout.split is None:
            return f"{NOBODY}, so there is nothing to go back to"
        release = rollout.release
        log.warning(
            "%s version %d answers callers, and is watched for %s; %s",
            release.version.name,
            release.version.version,
            self.watch.span,
            decided.how(rollout.target.store, release.begun),
        )
        return _judged(rollout, partial(self._look, rollout, rollout.split), span=self.watch.span, whole=True)

    def _look(self, rollout: Rollout, split: Split) -> Verdict:
        return watched.judge(
            split.capture,
            self.watch,
            arm=split.challenger,
            since=rollout.split_at,
            until=now() - timedelta(seconds=LATE_SECONDS),
            looks=_looks(rollout),
        )


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

    def take(self, rollout: Rollout) -> str:
        """Takes the step; who let it go on, and why."""
        store, release = rollout.target.store, rollout.release
        approved = waiting.wait(
            store,
            release.version,
            self.approve.approvals,
            within=self.approve.within,
            anew=True,
            look=lambda: check_lives(rollout),
            otherwise=f"; {decided.how(store, release.begun)}",
        )
        return "; ".join(one.headline for one in approved)


def _check_not_whole(before: "Dividing | None", what: str) -> None:
    if isinstance(before, Traffic) and before.whole:
        raise ValueError(f"{what} comes after {{traffic: 100}}, which gives the release all; write it before")


def _judged(rollout: Rollout, look: Callable[[], Verdict], *, span: timedelta, whole: bool) -> str:
    """Looks until it is known that limits are kept; by what that is known.

    Args:
        rollout: The rollout.
        look: Holds what was captured against the limits.
        span: How long that may take.
        whole: Whether all of it is waited for.

    Raises:
        DeploymentError: A limit is broken, or it is not known by then whether all are kept.
    """
    end, before = time.monotonic() + span.total_seconds(), list[str]()
    while True:
        verdict = patiently(look, rollout)
        known = [check.reason for check in verdict.checks]
        if known != before:
            step_log.so_far(known)
        before, over = known, time.monotonic() > end
        _check_unbroken(verdict)
        if verdict.passed and (over or not whole):
            return "; ".join(known)
        if over:
            said = "; ".join(verdict.reasons)
            raise DeploymentError(f"after {span} it is not known whether limits are kept: {said}")
        check_lives(rollout)
        time.sleep(LOOK_SECONDS)


def patiently(look: Callable[[], Found], rollout: Rollout) -> Found:
    """What a look at the capture tells, which is asked again for a time where it cannot be read.

    Raises:
        UnreadableError: It still cannot be.
    """
    end = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            return look()
        except UnreadableError as error:
            if time.monotonic() > end:
                raise
            log.warning("%s; it is asked again", error)
        check_lives(rollout)
        time.sleep(LOOK_SECONDS)


def _check_unbroken(verdict: Verdict) -> None:
    outcome, said = worst(check.outcome for check in verdict.checks), "; ".join(verdict.reasons)
    if outcome is Outcome.ERROR:
        raise DeploymentError(f"the release cannot be judged: {said}")
    if outcome is Outcome.FAILED:
        raise DeploymentError(f"the release does not keep its limits: {said}")


class AbTest(Strict):
    """Divides the callers, and waits until it is known which of both does better, or as long as was planned."""

    design: Annotated[Design, Field(alias="ab-test")]

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "ab-test"

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
        from cd4ml.deployment import trial

        return trial.run(rollout, self.design)


class ByBandit(Strict):
    """Divides the requests anew, again and again, as it comes to be known which of both does better."""

    bandit: Bandit

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "bandit"

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
        from cd4ml.deployment import adapting

        return adapting.run(rollout, self.bandit)


def wait(rollout: Rollout, seconds: float) -> None:
    """Waits, as long as what was served before and the release live, and nobody decides otherwise.

    Raises:
        DeploymentError: One of them does not live, or people have the rollout undone.
        Promoted: People give the release all requests.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_lives(rollout)
        time.sleep(min(left, LOOK_SECONDS))


def check_lives(rollout: Rollout) -> None:
    """Heeds what people have decided, and makes sure that what was served before still answers, and the release too.

    Raises:
        DeploymentError: One of them does not, or people have the rollout undone.
        Promoted: People give the release all requests.
    """
    decided.heed(rollout.target.store, rollout.release.begun, _persons(rollout))
    if rollout.split and not rollout.target.divides():
        raise DeploymentError("what was served before has ended, or the router has")
    verify.wait_until_ready(rollout.url, LIVES_SECONDS, alive=lambda: True)


def _persons(rollout: Rollout) -> int:
    """How many it takes to promote a release: as many as have to approve it, before its rollout or in it."""
    return max([rollout.approvals, *(step.approve.approvals for step in rollout.steps if isinstance(step, Approve))])


Dividing: TypeAlias = Traffic | Mirror | AbTest | ByBandit
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


def features(rollout: Rollout) -> list[str]:
    """Those whose values the steps of a rollout need."""
    judging = (step for step in rollout.steps if isinstance(step, Analyse | AbTest | ByBandit))
    return sorted({column for step in judging for column in step.columns})


def _looks(rollout: Rollout) -> int:
    """The steps among which the error of a rollout is divided."""
    return sum(isinstance(step, Analyse | Watch) for step in rollout.steps)
