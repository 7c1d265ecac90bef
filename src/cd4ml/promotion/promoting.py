"""Promoting a version: it is copied as it is into the store of another environment, once that takes it.

What was signed is what is copied, its number included, so a number that is taken there by another is never given anew.
The record (`cd4ml.registry.promotions`) comes last: where it is, all of the version is there and was looked at.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cd4ml.contracts import evaluation, model, signature
from cd4ml.contracts.approval import Approval
from cd4ml.contracts.promotion import Promotion
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import Verdict
from cd4ml.errors import ArgumentsError, EvaluationError, GateError, RegistryError
from cd4ml.evaluation import gate, limits
from cd4ml.promotion.environments import Environment, Environments
from cd4ml.registry import approvals, clock, models, promotions
from cd4ml.registry.numbers import numbers
from cd4ml.storage import AlreadyStoredError, Store, local_copy

MOST_NAMED = 5
"""Files that an error names."""


@dataclass(frozen=True)
class Wanted:
    """A version, and where it is to go."""

    environments: Environments
    name: str
    version: int
    to: str
    """The environment that takes it."""
    origin: str
    """The one that it comes from."""
    file: str = "environments.yaml"
    """What the environments stand in, for errors."""

    @property
    def source(self) -> Environment:
        """Where it is."""
        return self.environments.named(self.origin)

    @property
    def target(self) -> Environment:
        """Where it goes."""
        return self.environments.named(self.to)


@dataclass(frozen=True)
class Promoted:
    """What became of it."""

    promotion: Promotion
    new: bool
    """Whether it was promoted now, and not before."""


def promote(wanted: Wanted, *, by: str) -> Promoted:
    """Copies a version into the store of another environment; one that is there already is left as it is.

    Args:
        wanted: Which, and where to.
        by: Who promotes it.

    Raises:
        GateError: The environment asks for limits that it does not keep, or for approvals that it does not have.
        EvaluationError: The environment asks for limits of what was not measured of it.
        SignatureError: No key that the environment trusts has signed it, or it has changed since.
        RegistryError: There is no such version, or it is not whole, or its number is taken there by another.
        StorageError: A store cannot be read or written.
        ArgumentsError: Both environments have one store.
    """
    by, target = approvals.who(by), wanted.target
    _check_apart(wanted)
    with wanted.source.entered() as origin:
        version = models.read(origin, wanted.name, wanted.version)
        place = origin.uri(version.folder)
        with local_copy(place) as folder:
            files = signature.digests(folder)
            with target.entered() as store:
                known = _known(store, version, files, to=wanted.to)
                if known:
                    return Promoted(known, new=False)
                _check_whole(folder, version, place, wanted=wanted)
                verdict = _judged(folder, place, wanted)
                made = Promotion(
                    name=version.name,
                    version=version.version,
                    digest=version.digest,
                    files=_digest(files),
                    origin=wanted.origin,
                    origin_store=origin.location,
                    environment=wanted.to,
                    by=by,
                    at=clock.now(),
                    namespace=target.namespace,
                    approved_by=_approved(store, version, wanted),
                    signed_by=tuple(sorted(file.stem for file in (folder / signature.SIGNATURES).glob("*.json"))),
                    verdict=verdict,
                )
                _copy(store, folder, version, claim=f"{made.files} {' '.join(made.signed_by)}")
                _check_copy(store, version, files, wanted=wanted)
                return _recorded(store, made)


def approve(wanted: Wanted, *, by: str, reason: str, valid: timedelta = approvals.VALID) -> Approval:
    """Says in the store of an environment that a version may come there.

    Args:
        wanted: Which, and where to.
        by: Who says so.
        reason: Why.
        valid: How long it stands.

    Raises:
        RegistryError: There is no such version, or the environment asks others, or nobody.
        EvaluationError: The environment asks for limits of what was not measured of it, so it can never come there.
        StorageError: A store cannot be read or written.
    """
    people = wanted.target.approvers
    if approvals.who(by).casefold() not in {one.casefold() for one in people}:
        asks = f"asks {', '.join(people)}" if people else "asks nobody"
        raise RegistryError(f"{wanted.to} {asks}, and not {by}; say who you are with --by, or write `approvers`")
    with wanted.source.entered() as origin:
        version = models.read(origin, wanted.name, wanted.version)
        _check_measured(origin, version, wanted)
    with wanted.target.entered() as store:
        return approvals.approve(store, version, by=by, reason=reason, valid=valid)


def _check_apart(wanted: Wanted) -> None:
    if wanted.source.place == wanted.target.place:
        raise ArgumentsError(
            f"{wanted.to}: its store is that of {wanted.origin}, {wanted.source.store}, where the version is already; "
            "write a `store` of its own for each environment"
        )


def _known(store: Store, version: Version, files: Mapping[str, str], *, to: str) -> Promotion | None:
    """The record of the promotion of this very version; None where it is not there, or not recorded yet."""
    if version.version not in numbers(store, f"models/{version.name}"):
        return None
    there = models.read(store, version.name, version.version)
    found = promotions.find(store, version.name, version.version)
    if there.digest != version.digest or (found and found.files != _digest(files)):
        raise RegistryError(
            f"{to} has another {version.name} as version {version.version} ({there.digest}, published by "
            f"{there.run}), and that of {version.run} is {version.digest}; a number is part of what is signed, so "
            "publish this one again where it comes from, under a number that is free in both"
        )
    return found


def _check_whole(folder: Path, version: Version, place: str, *, wanted: Wanted) -> None:
    """Makes sure that a version is what was published, and signed where that is asked."""
    signature.check(
        folder,
        place,
        version=f"{version.name}/{version.version}",
        trusted=wanted.target.trusted_keys,
        said_by=f"{wanted.file}: environments.{wanted.to}.trusted_keys",
    )
    digest = model.digest(folder / "model")
    if digest != version.digest:
        raise RegistryError(
            f"{place}: holds the model {digest}, and {version.digest} was published; put that back, or promote another"
        )


def _judged(folder: Path, place: str, wanted: Wanted) -> Verdict | None:
    """What the limits of the environment say, where it has some that the version was not published with.

    Raises:
        GateError: One is not kept; or the version was published without keeping its own.
    """
    published = Verdict.read(folder / "verdict.json")
    if not published.passed:
        raise GateError(f"{place}: did not keep the limits of its own gate: {'; '.join(published.reasons)}")
    held = published.about.get("evaluation")
    if held and held != evaluation.digest(folder):
        raise RegistryError(f"{place}: {evaluation.SUMMARY} is not the one that was judged; put that back")
    asked = wanted.target.limits
    if not asked or published.about.get("limits") == limits.digest(limits.parse(asked)):
        return published if asked else None
    try:
        return _held(folder, wanted).raise_if_failed()
    except GateError as error:
        raise GateError(f"{wanted.to} does not take {wanted.name} version {wanted.version}: {error}") from error


def _held(folder: Path, wanted: Wanted) -> Verdict:
    """The limits of the environment, held against the evaluation that lies in a folder.

    Raises:
        EvaluationError: They name what was not measured.
    """
    try:
        return gate.check(folder, wanted.target.limits)
    except EvaluationError as error:
        raise EvaluationError(
            f"{wanted.file}: environments.{wanted.to}.limits: cannot be held against {wanted.name} version "
            f"{wanted.version} ({error}); name what was measured of it, or promote a version that was evaluated so, as "
            "at more `thresholds`"
        ) from error


def _check_measured(origin: Store, version: Version, wanted: Wanted) -> None:
    """Makes sure that the limits of the environment can be held."""
    if wanted.target.limits:
        with tempfile.TemporaryDirectory(prefix="cd4ml-") as folder:
            content = origin.read_bytes(f"{version.folder}/{evaluation.SUMMARY}")
            Path(folder, evaluation.SUMMARY).write_bytes(content)
            _held(Path(folder), wanted)


def _approved(store: Store, version: Version, wanted: Wanted) -> tuple[str, ...]:
    """Who has let it in, of those whom the environment asks.

    Raises:
        GateError: They are too few.
    """
    target = wanted.target
    if not target.approvers:
        return ()
    standing = approvals.standing(store, version)
    found = tuple(one for one in target.approvers if one.casefold() in standing)
    if len(found) < target.approvals:
        others = ", ".join(one for one in target.approvers if one not in found)
        raise GateError(
            f"{wanted.to} asks for {target.approvals} of {', '.join(target.approvers)} to approve {version.name} "
            f"version {version.version}, {version.digest}; {len(found)} did. To approve it, {others}: `cd4ml promote "
            f"{version.name} {version.version} --to {wanted.to} --approve --reason WHY`"
        )
    return found


def _copy(store: Store, folder: Path, version: Version, *, claim: str) -> None:
    with suppress(AlreadyStoredError):  # whole, by one who was ended before it was recorded; it is looked at next
        store.add_folder(version.folder, {one.name: one for one in sorted(folder.iterdir())}, claim=claim)


def _check_copy(store: Store, version: Version, files: Mapping[str, str], *, wanted: Wanted) -> None:
    """Makes sure that what lies there now is what was copied, and signed where that is asked."""
    if version.version not in numbers(store, f"models/{version.name}"):
        raise RegistryError(
            f"{store.uri(version.folder)}: another has begun to write there, and has not ended; wait for it, or where "
            "it was killed, remove what it left, and promote again"
        )
    place = store.uri(version.folder)
    with local_copy(place) as folder:
        there = signature.digests(folder)
        wrong = sorted(name for name in {**files, **there} if files.get(name) != there.get(name))
        if wrong:
            named = ", ".join(wrong[:MOST_NAMED])
            raise RegistryError(
                f"{place}: is not the version of {wanted.origin}, for they differ in {len(wrong)} files ({named}); "
                f"where {wanted.to} did not publish it itself, remove it, and promote it again"
            )
        _check_whole(folder, version, place, wanted=wanted)


def _recorded(store: Store, made: Promotion) -> Promoted:
    try:
        promotions.add(store, made)
    except AlreadyStoredError:
        found = promotions.find(store, made.name, made.version)
        return Promoted(found or made, new=False)
    return Promoted(made, new=True)


def _digest(files: Mapping[str, str]) -> str:
    """Tells the files of a version from all others."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(files.items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
