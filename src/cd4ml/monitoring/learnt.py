"""What was learnt online becomes a published version, by the gate that every model passes."""

from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from cd4ml.contracts import lineage
from cd4ml.contracts.evaluation import SUMMARY
from cd4ml.contracts.learning import ABOUT, LEARNT, MODEL, Learning, Lesson
from cd4ml.contracts.lineage import Lineage
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import Check, Outcome, Verdict
from cd4ml.data import table
from cd4ml.errors import RegistryError
from cd4ml.evaluation import gate, publishing
from cd4ml.evaluation.limits import PARTS, as_written
from cd4ml.monitoring.as_published import LIMITS
from cd4ml.registry import models, named
from cd4ml.registry.models import REFERENCE, Judged, Published
from cd4ml.storage import Store, local_copy, open_store

EVALUATION, VERDICT, STEADINESS, DATASET = "evaluation", "verdict.json", "steadiness.json", "dataset.json"


def prepare(store: str, folder: Path) -> None:
    """Puts the evaluation that a version was published with beside its lesson, for what was learnt is measured alike.

    Raises:
        RegistryError: It was published without one, or without limits.
    """
    opened, about = open_store(store), Lesson.read(folder / "lesson" / ABOUT)
    version = models.read(opened, about.model, about.version)
    if SUMMARY not in opened.children(version.folder) or LIMITS not in version.arguments:
        raise RegistryError(
            f"{version.name}@{version.version}: was published without an evaluation or without the limits that let it "
            "in, and what is learnt is held against them; publish it anew by a run of `training`"
        )
    (folder / SUMMARY).write_text(opened.read(f"{version.folder}/{SUMMARY}"), encoding="utf-8")


def publish(store: str, folder: Path, *, revision: str = "") -> Published:
    """Publishes what was learnt, where its predictions keep the limits of the published version and are as good as its.

    Args:
        store: The store.
        folder: Holds `lesson`, `learnt` and `evaluation`; takes the verdict.
        revision: Of the code.

    Raises:
        GateError: A limit is not kept.
        RegistryError: Another version is served by now, or has learnt from the same window.
    """
    opened, about = open_store(store), Lesson.read(folder / "lesson" / ABOUT)
    version = models.read(opened, about.model, about.version)
    found = Learning.read(folder / "learnt" / LEARNT)
    made = Lineage.read(folder / "learnt" / MODEL / lineage.FILE)
    windows = set() if found.rows < about.rows else set(Learning.windows_of(made))  # back to a checkpoint is meant
    check = partial(_check_first, opened, version, windows=windows)
    known = models.versions(opened, version.name)
    if found.digest not in {one.digest for one in known}:
        check(known)  # to begin with, for what follows takes time
    problem = models.contract(opened, version).problem
    limits = applying(as_written(version.arguments[LIMITS]), problem)
    gate.check(folder / EVALUATION, limits).write(folder / VERDICT).raise_if_failed()
    _, dataset = table.at_version(table.location(opened.location, version.dataset.name), version.dataset.version)
    dataset.write(folder / DATASET)
    steady = Check("steadiness", "changes no faster than labels ripen", None, Outcome.PASSED, about.steadiness)
    Verdict("learn_online", {"lesson": found.key}, (steady,)).write(folder / STEADINESS)
    with ExitStack() as kept:

        def of_version(name: str) -> str:
            return str(kept.enter_context(local_copy(opened.uri(f"{version.folder}/{name}"))))

        judged = Judged(
            model=str(folder / "learnt" / MODEL),
            evaluation=str(folder / EVALUATION),
            verdict=str(folder / VERDICT),
            dataset=str(folder / DATASET),
            dataset_verdict=str(folder / STEADINESS),
            statistics=of_version("statistics"),
            schema=of_version("schema.pbtxt"),
            reference=of_version(REFERENCE),
        )
        return publishing.publish(
            store,
            name=version.name,
            judged=judged,
            limits=limits,
            run=f"online-{found.key[:12]}",
            revision=revision,
            arguments={**version.arguments, LIMITS: limits},
            check=check,
        )


def applying(limits: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """The limits of a version as they hold for what has learnt on from it: the champion is that version.

    No baseline has seen the rows, so what is held against one is left out; that the primary metric is no worse than the
    champion's is added where the limits do not say how far it may be.
    """
    kept: dict[str, Any] = {
        name: limit for name, limit in limits.items() if name in PARTS and name not in ("as_good_as", "bootstrap")
    }
    for metric, limit in limits.items():
        own = {} if metric in PARTS else {name: one for name, one in limit.items() if name != "baseline"}
        if {"min", "max", "champion"} & {name for name, one in own.items() if one is not None}:
            kept[metric] = own
    bound = {"max_change": 0.0} if problem.lower_is_better else {"min_change": 0.0}
    kept[problem.primary] = {"champion": bound, **kept.get(problem.primary, {})}
    return {**kept, "bootstrap": {problem.primary: {"baseline": bound}}}


def _check_first(store: Store, version: Version, published: Sequence[Version], *, windows: Set[str]) -> None:
    """Makes sure that nothing has come in between.

    Args:
        store: The store.
        version: Which was learnt on.
        published: The versions of the model.
        windows: The keys of those that nobody else may have learnt from.
    """
    try:
        served = named.find(store, version.name)
    except RegistryError:  # none is deployed
        served = version
    if served.version != version.version:
        raise RegistryError(
            f"{version.name}: version {served.version} is served by now, and version {version.version} was learnt on; "
            "learn again"
        )
    for other in published:
        if other.version <= version.version or lineage.FILE not in store.children(f"{other.folder}/model"):
            continue  # an old cd4ml published what has none
        file = f"{other.folder}/model/{lineage.FILE}"
        made = Lineage.parse(store.read(file), store.uri(file))
        if made.started_from == version.digest and not windows.isdisjoint(Learning.windows_of(made)):
            raise RegistryError(
                f"{version.name}: version {other.version} has learnt on from version {version.version} and from the "
                "same windows; deploy that one, and learn on from it"
            )
