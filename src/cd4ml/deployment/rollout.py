"""The one engine: takes a release through the steps of a strategy at a target, and undoes it when one fails.

What happens is told to the history (`cd4ml.registry.deployments`) as events. A deployment holds from the moment that
its event `held` is stored. Until then, whoever finds it without its process undoes it (`put_right`).
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cd4ml.cluster import logs
from cd4ml.contracts import deployment as events
from cd4ml.contracts.deployment import Begun, Event, Held, StepTaken, Stopped, Undone
from cd4ml.contracts.release import Deployment, Verification, Version
from cd4ml.deployment import decided, freezing, step_log, verify, waiting
from cd4ml.deployment.steps import Rollout, Step
from cd4ml.deployment.steps.written import Route
from cd4ml.deployment.strategies import Strategy
from cd4ml.deployment.targets import Release, Served, Target, Unfinished
from cd4ml.errors import Cd4mlError, DeploymentError
from cd4ml.registry import clock, deployments
from cd4ml.registry.deployments import Series

Counts = Literal["no", "perhaps", "yes"]
"""Whether the history says of a rollout that it holds, as far as its process knows."""

log = logging.getLogger(__name__)


def roll_out(
    target: Target, strategy: Strategy, *, version: Version, run: str, port: int, log_file: Path, approvals: int = 0
) -> tuple[Deployment, Verification]:
    """Puts a version into production.

    Args:
        target: Where.
        strategy: How.
        version: What the registry has of it.
        run: The run that deploys.
        port: Where a server of this machine listens.
        log_file: Takes what a server of this machine says.
        approvals: How many people have to have approved the version when the rollout has its turn, and to promote it.

    Returns:
        The deployment, which holds, and what the release answered.

    Raises:
        DeploymentError: A step failed; then what was served before is served again.
    """
    step_log.plan([step_log.RAISE, *(step.name for step in strategy.steps)])
    with rolling_out(
        target,
        strategy.name,
        version=version,
        run=run,
        port=port,
        log_file=log_file,
        approvals=approvals,
        asks=strategy.persons,
    ) as rollout:
        rollout.features, rollout.looks = strategy.features, strategy.looks
        if strategy.splits:
            log.info("%s: %s", target.model, decided.how(target.store, rollout.release.begun))
        _take(rollout, strategy.steps)
        if rollout.verification is None:
            raise DeploymentError(f"strategy {strategy.name}: no step of it verifies the release; add one")
    return events.deployment_of(rollout.release.begun, rollout.held), rollout.verification


@contextmanager
def rolling_out(
    target: Target,
    strategy: str,
    *,
    version: Version,
    run: str,
    port: int,
    log_file: Path,
    approvals: int = 0,
    asks: int = 0,
) -> Iterator[Rollout]:
    """Raises a release; it holds when the context ends well, and is undone when it does not.

    Args:
        target: Where.
        strategy: How, as the history calls it.
        version: What the registry has of it.
        run: The run that deploys.
        port: Where a server of this machine listens.
        log_file: Takes what a server of this machine says.
        approvals: How many people have to have approved the version by now.
        asks: How many a step asks later.

    Yields:
        The rollout, whose release is raised and answers at an address of its own; callers do not reach it yet.

    Raises:
        DeploymentError: The release did not come up, or the context failed with such an error; says what became of it.
    """
    target.check(version)
    with target.turn():
        said = put_right(target)
        if said:
            log.warning(said)
        waiting.check(target.store, version, approvals)
        persons = max(approvals, asks)
        let = freezing.check(target.store, version, persons)
        begun = deployments.begin(
            target.store, version, run=run, target=target.name, strategy=strategy, persons=persons
        )
        target.tell(begun, begun)
        rollout = Rollout(target, Release(version, begun, port=port, log_file=log_file))
        counts: Counts = "no"
        try:
            if let:
                log.info("freeze: %s", let)
                _note_step(rollout, "freeze", let)
            _say_of_the_one_before(target, begun)
            with step_log.step(step_log.RAISE) as told:
                rollout.url = target.raise_(rollout.release)
                told.append(f"version {version.version} answers at {rollout.url}")
            yield rollout
            _check_served(rollout)
            counts = "perhaps"
            verified = rollout.verification.metrics if rollout.verification else {}
            rollout.held = Held(f"{rollout.endpoint}{verify.PREDICTIONS}", clock.now(), verified)
            _tell(target, begun, rollout.held)
            counts = "yes"
            decided.heed_abort(target.store, begun)  # of whoever did not see yet that it holds
        except BaseException as error:
            outcome = _undo(rollout, _reason(error), counts=counts)
            if isinstance(error, DeploymentError):
                raise DeploymentError("\n".join(filter(None, (str(error), outcome)))) from error
            raise
        _keep(rollout)


def _keep(rollout: Rollout) -> None:
    """Takes away what a rollout leaves that holds; what fails is left to the next start."""
    target = rollout.target
    try:
        target.keep()
    except (Cd4mlError, OSError) as error:
        log.warning(
            "%s: deployment %d holds, but what was served before could not be taken away: %s; the next rollout does it",
            target.model,
            rollout.release.begun.number,
            error,
        )


def _take(rollout: Rollout, steps: Sequence[Step]) -> None:
    """Takes the steps; once people have promoted the release, of those that are left only the one that routes."""
    promoted = False
    for step in steps:
        if promoted and not isinstance(step, Route):
            continue
        rollout.answered = {}
        with step_log.step(step.name) as told:
            try:
                said = step.take(rollout)
            except decided.Promoted as decision:
                promoted, said = True, str(decision)
            _note_step(rollout, step.name, said)
            told.append(said)
        decided.heed_abort(rollout.target.store, rollout.release.begun)


def _note_step(rollout: Rollout, name: str, said: str) -> None:
    _tell(rollout.target, rollout.release.begun, StepTaken(name, said, clock.now(), rollout.answered))


def _tell(target: Target, begun: Begun, event: Event) -> None:
    """Tells the history what has happened, and then those who look at the target."""
    deployments.add(target.store, begun, event)
    target.tell(begun, event)


def _say_of_the_one_before(target: Target, begun: Begun) -> None:
    before = deployments.find(target.store, target.model, begun.number - 1)
    if before and before.state == "begun":
        log.warning(
            "%s: deployment %d, of run %s, has begun and not ended: it is under way elsewhere, or its process was "
            "killed before it changed anything",
            target.model,
            before.begun.number,
            before.begun.run,
        )


def put_right(target: Target) -> str:
    """Undoes the rollout that a killed process left, if there is one; whoever calls it has the turn.

    Returns:
        What was done, in a sentence; empty where nothing was.
    """
    return target.undo() if _halfway(target) else ""


def _halfway(target: Target) -> Unfinished | None:
    """The rollout that a killed process left, which the history is told; of one that holds only the note is left."""
    left = target.unfinished()
    if left and left.under_way:  # it began at the same moment, and goes first
        return None
    series = deployments.find(target.store, target.model, left.number) if left else None
    if series and series.state in ("held", "stopped"):
        target.keep()
        return None
    if series and series.state == "begun":
        _tell(target, series.begun, Undone("its process was killed", clock.now()))
    return left


@dataclass(frozen=True)
class Ended:
    """What `stop` ended."""

    served: Served | None
    halfway: bool
    """Whether a rollout had been left halfway."""


def stop(target: Target) -> Ended:
    """Ends all that is served of a model, and puts nothing back.

    Raises:
        DeploymentError: Nothing is served.
    """
    if target.meant() is None and target.unfinished() is None:
        raise DeploymentError(
            f"store {target.store.location}: nothing of the model {target.model} is served at {target.where}; "
            f"`cd4ml deployments list {target.model}` says where it was deployed"
        )
    with target.turn():
        left, served = _halfway(target), target.meant()
        ended = _standing(target, left.before if left else served)
        if ended:
            _tell(target, ended.begun, Stopped(clock.now()))
        target.remove()
    return Ended(served, halfway=left is not None)


def _standing(target: Target, served: Served | None) -> Series | None:
    """The deployment of what is served, where it counts; the last one at the target where nobody noted its number."""
    if served is None:
        return None
    here = (series for series in deployments.newest_first(target.store, target.model) if series.deployment)
    return next(
        (one for one in here if one.begun.target == target.name and served.number in (None, one.begun.number)), None
    )


def _check_served(rollout: Rollout) -> None:
    current = rollout.target.current()
    if current is None or current.number != rollout.release.begun.number:
        raise DeploymentError(
            f"{rollout.endpoint or rollout.url}: the release has ended, was replaced, or never got the requests"
        )


def _undo(rollout: Rollout, reason: str, *, counts: Counts) -> str:
    """Puts back what was served before; what the server said, and what became of it.

    Where the history may have been told that the deployment holds, it is told first that it does not: no kill in
    between may leave one that counts and is not served. Elsewhere what is served comes first, for the store may be what
    fails.
    """
    if counts != "no" and not _tell_undone(rollout, reason) and counts == "yes":
        return "it holds all the same, for the history could not be told otherwise"
    end = _end_of(rollout)
    try:
        outcome = rollout.target.undo()
    except (Cd4mlError, OSError) as error:
        outcome = f"what was served before could not be put back: {error}; the next rollout does it"
    if outcome:
        log.info(outcome)
    if counts == "no":
        _tell_undone(rollout, reason)
    return "\n".join(filter(None, (end, outcome)))


def _tell_undone(rollout: Rollout, reason: str) -> bool:
    """Tells the history that a deployment does not hold; whether it could be told."""
    begun, target = rollout.release.begun, rollout.target
    try:
        _tell(target, begun, Undone(reason, clock.now(), rollout.answered))
    except Cd4mlError as untold:
        log.warning("%s: that deployment %d is undone could not be stored: %s", target.model, begun.number, untold)
        return False
    return True


def _end_of(rollout: Rollout) -> str:
    """What the server's log tells of an error; of a release that was not verified, its end where it tells of none."""
    log_file = rollout.release.log_file
    if not log_file.exists():
        return ""
    told = logs.errors if rollout.verification else logs.excerpt
    lines = told(log_file.read_text(errors="replace"))
    if not lines:
        return ""
    return "\n".join(["the server's log says:", *(f"  {line}" for line in lines)])


def _reason(error: BaseException) -> str:
    if isinstance(error, Cd4mlError):
        return str(error)
    return "it was stopped" if isinstance(error, SystemExit | KeyboardInterrupt) else type(error).__name__
