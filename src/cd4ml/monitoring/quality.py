"""Is the model still right? What it answered within a window, by the labels that came, held against its own limits.

The metrics, intervals and comparisons of groups are those of the evaluation, made by the same code, of the predictions
that were captured; the limits are those that the version was published with. A verdict takes ripe labels that stand for
all rows. Until then there is an estimate (`cd4ml.monitoring.estimated`), which is held against the labels later.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cd4ml.contracts.delays import Delays
from cd4ml.contracts.evaluation import CANDIDATE, OVERALL, ModelSummary, Slice, Summary
from cd4ml.contracts.slices import columns_of
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import DOCUMENT, TABLE, Window
from cd4ml.contracts.window_quality import Estimate, Labelling, Reliance, VersionQuality, WindowQuality
from cd4ml.errors import RegistryError
from cd4ml.evaluation import fairness, limits
from cd4ml.evaluation.estimates import Scored
from cd4ml.evaluation.measure import complete
from cd4ml.evaluation.rows import MOST_VALUES, Slicing, slicings
from cd4ml.monitoring import (
    answered,
    as_published,
    callers,
    estimated,
    handed,
    limits_held,
    moved,
    reliance,
    selective,
    window_page,
)
from cd4ml.monitoring import windows as collected
from cd4ml.monitoring.answered import Answers
from cd4ml.monitoring.as_published import AsPublished
from cd4ml.monitoring.limits_held import Known
from cd4ml.names import counted
from cd4ml.storage import open_store

ERROR = 0.01
"""How often at most a version that keeps all its limits fails by chance, in one window."""
OTHER = "(other)"
"""The value of a slice whose rows have values that the evaluation had not, where these are many."""
BATCH_ROWS = 2**17


@dataclass(frozen=True)
class Measured:
    """What was found of some windows, the earliest first."""

    windows: Sequence[WindowQuality]

    @property
    def metadata(self) -> dict[str, Any]:
        """What an artifact says of it in the UI."""
        outcomes = {one.window: str(one.outcome) for one in self.windows}
        return {"headline": handed.headline(self.windows), "outcomes": outcomes}

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs: what was measured in the last window."""
        return self.windows[-1].metrics if self.windows else {}


def measure_each(windows: str | Path, *, store: str, output: str | Path, report: str | Path | None = None) -> Measured:
    """Measures each window that `collect_window` handed on; likewise.

    Args:
        windows: With a folder a window.
        store: The store.
        output: The folder that takes a file a window (layout: `cd4ml.monitoring.handed`).
        report: The HTML file that takes what was found, for people; none if not said.
    """
    known: dict[str, Delays] = {}

    def measure_one(window: Path, *, store: str, output: Path) -> WindowQuality:
        model = Window.read(window / DOCUMENT).model
        if model not in known:
            known[model] = collected.delays(open_store(store), model)
        return measure(window, store=store, output=output, ripening=known[model])

    found = Measured(handed.judge_each(windows, measure_one, store=store, output=output))
    if report:
        window_page.write(found.windows, report, about="how right it is")
    return found


def measure(window: Path, *, store: str, output: Path, ripening: Delays | None = None) -> WindowQuality:
    """Measures each version that answered within a window.

    Args:
        window: A folder with its document and its rows.
        store: The store, which has the versions and the windows of the model.
        output: The file to write.
        ripening: With what delay labels of the model come; by its windows if not said.

    Raises:
        DocumentError: The window, or what a version was published with, cannot be read.
        DataError: The table of windows cannot be read.
    """
    about, opened = Window.read(window / DOCUMENT), open_store(store)
    rows = pq.read_table(window / TABLE)
    answered_by = rows["version"].fill_null("")
    ripening = ripening or collected.delays(opened, about.model)
    ripe, after = ripening.is_ripe(about.age), ripening.ripe_after
    until = datetime.fromisoformat(about.until)
    ripe_at = "" if after is None else (until + timedelta(seconds=after)).isoformat(timespec="seconds")
    others = reliance.others(opened, about, ripening)
    by_version = []
    for version in sorted(pc.unique(answered_by).to_pylist()):
        own = rows.filter(pc.equal(answered_by, version))
        try:
            published = as_published.read(opened, about.model, int(version))
        except (RegistryError, ValueError):
            by_version.append(_unknown(version, own))
            continue
        seed = int(hashlib.sha256(f"{about.digest} {version}".encode()).hexdigest()[:8], 16)
        of_version = _Version(published, answered.of(own, published.contract), about, ripe, ripe_at, seed)
        by_version.append(of_version.quality(reliance.of(published, others)))
    return WindowQuality(about.model, about.key, about.number, ripe, ripe_at, ERROR, tuple(by_version)).write(output)


@dataclass(frozen=True)
class _Version:
    """What one version answered."""

    published: AsPublished
    answers: Answers
    window: Window
    ripe: bool
    ripe_at: str
    seed: int

    def quality(self, relied: Reliance) -> VersionQuality:
        """All that is known of it."""
        published, rows = self.published, len(self.answers.labelled)
        slices = slicings(self._texts, self._kinds, rows) if rows else []
        labelling, places = self._labelled()
        summary = self._summary(places) if len(places) else _empty(published, self.window)
        settled = self.ripe and labelling.outcome is Outcome.PASSED
        guesses = self._estimates(slices, summary if settled else None)
        known = Known(
            settled=settled,
            ripe=self.ripe,
            labelling=labelling,
            estimates=guesses,
            uncaptured=self._uncaptured,
            rows=rows,
            labelled=int(self.answers.labelled.sum()),
            when=self._when,
        )
        return VersionQuality(
            version=str(published.version.version),
            digest=published.version.digest,
            problem_name=published.contract.problem.name,
            arms=tuple(sorted(pc.unique(self.answers.rows["arm"]).to_pylist())),
            rows=rows + self.answers.strange,
            labelled=int(self.answers.labelled.sum()),
            strange=self.answers.strange,
            thresholds=self._thresholds,
            slices=summary.slices if len(places) else (),
            fairness=summary.fairness if len(places) else (),
            moved=tuple(moved.of(published, summary, ERROR)) if len(places) else (),
            estimates=tuple(guesses),
            reliance=relied,
            labelling=labelling,
            limits_digest=limits.digest(published.limits) if published.limits else "",
            checks=(*self._strange(), *self._held(summary, known, places)),
        )

    def _held(self, summary: Summary, known: Known, places: np.ndarray) -> Sequence[Check]:
        """Each limit, held; what fails must fail on one row of each caller too."""
        found = list(limits_held.checks(self.published, summary, known, error=ERROR))
        alone = callers.one_each(self.answers.rows, places, seed=self.seed)
        if len(alone) < len(places) and any(one.outcome is Outcome.FAILED for one in found):
            others = limits_held.checks(self.published, self._summary(alone), known, error=ERROR)
            found = list(limits_held.borne_out(found, others, len(alone)))
        return list(limits_held.with_remedy(found))

    @property
    def _when(self) -> str:
        if self.ripe_at:
            return f"labels are ripe at {self.ripe_at}; collect the window again then"
        return "when labels are ripe is not known yet, for too few came, or over too short a time"

    @property
    def _thresholds(self) -> tuple[float, ...]:
        if self.published.summary:
            return self.published.summary.thresholds
        return (0.5,) if self.published.contract.problem.at_thresholds else ()

    def _strange(self) -> Iterator[Check]:
        """Whether every answer is one."""
        strange, total = self.answers.strange, len(self.answers.labelled) + self.answers.strange
        problem = self.published.contract.problem
        if strange:
            said = (
                f"answers: {strange:,} of {total:,} rows have no {problem.outputs}, and are in nothing that is "
                "measured; look for infinite or missing features, and for another model behind this version's name"
            )
            yield Check("answers", f"{problem.outputs}, all", strange / total, Outcome.FAILED, said)
        if self.answers.others:
            said = (
                f"labels: {counted(self.answers.others, 'label')} of {counted(total, 'row')} are no class of this "
                "version, so that it could not be right; train it on rows that have them"
            )
            yield Check("labels", "classes of the version", None, Outcome.INCONCLUSIVE, said)

    @cached_property
    def _captured(self) -> dict[str, pa.ChunkedArray]:
        """The columns of slices that were captured."""
        return self.answers.texts(self._columns(self.published.kinds))

    @property
    def _uncaptured(self) -> tuple[str, ...]:
        """The columns of slices that were not."""
        return tuple(name for name in self._columns(self.published.kinds) if name not in self._captured)

    @property
    def _kinds(self) -> list[tuple[str, ...]]:
        """The kinds of slices whose columns were captured."""
        return [kind for kind in self.published.kinds if set(kind) <= self._captured.keys()]

    @cached_property
    def _texts(self) -> dict[str, pa.ChunkedArray]:
        """The columns that make slices; of values that the evaluation had not, the most frequent."""
        evaluated = self.published.evaluated.values()
        return {
            name: _folded(self._captured[name], {one.values[name] for one in evaluated if name in one.values})
            for name in self._columns(self._kinds)
        }

    @staticmethod
    def _columns(kinds: Sequence[Sequence[str]]) -> list[str]:
        return list(dict.fromkeys(name for kind in kinds for name in kind))

    def _labelled(self) -> tuple[Labelling, np.ndarray]:
        """What labels stand for, and the places of the rows that are measured."""
        labelled = np.flatnonzero(self.answers.labelled)
        if not len(labelled):
            apart = "".join(f"; {one}" for one in self.window.why_apart)
            due = apart or (
                "; those of this window are due, so see whether feedback comes, or take labels in bulk; `cd4ml labels "
                "list` says how many of those that were taken are of no row"
            )
            said = f"no row has a label{due}" if self.ripe else f"no row has a label yet{apart}, and {self._when}"
            return Labelling(Outcome.INCONCLUSIVE, 0, said), labelled
        sample = selective.sample(self.answers, seed=self.seed)
        labelling = sample.labelling
        if self.ripe:
            return labelling, sample.places
        return replace(
            labelling, outcome=Outcome.INCONCLUSIVE, reason=f"{labelling.reason}; {self._when}"
        ), sample.places

    def _summary(self, places: np.ndarray) -> Summary:
        """What the evaluation's own code finds on some rows."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from cd4ml.evaluation import config, tfma_run

        contract, cuts, kinds = self.published.contract, self._thresholds, self._kinds
        outputs, labels = self.answers.outputs[places], self.answers.labels[places]
        texts = {name: one.take(pa.array(places)) for name, one in self._texts.items()}

        def batches() -> Iterator[dict[str, np.ndarray]]:
            for begin in range(0, len(places), BATCH_ROWS):
                part = slice(begin, begin + BATCH_ROWS)
                own = {config.prediction(CANDIDATE): outputs[part], config.LABEL: labels[part]}
                groups = {name: one.slice(begin, BATCH_ROWS).to_numpy() for name, one in texts.items()}
                yield {**groups, **{config.apart(name, kinds): values for name, values in own.items()}}

        with tempfile.TemporaryDirectory(prefix="cd4ml-") as folder:
            by_tfma = tfma_run.run(
                contract.problem,
                roles=[CANDIDATE],
                slices=kinds,
                thresholds=cuts,
                batches=batches(),
                folder=Path(folder) / "tfma",
                runner=[],
            )
        own_slices = slicings(texts, kinds, len(places))
        scored = Scored(contract.problem, labels, {CANDIDATE: outputs}, own_slices, contract.classes)
        found, _ = complete(scored, by_tfma.slices, cuts)
        return _summarised(self.published, self.window, slices=found, rows=len(places), kinds=kinds)

    def _estimates(self, slices: Sequence[Slicing], summary: Summary | None) -> list[Estimate]:
        contract = self.published.contract
        if not slices:
            return []
        given = estimated.Given(contract.problem, self.answers.outputs, self._thresholds, contract.classes)
        guesses = estimated.of(given, slices)
        return reliance.settled(guesses, summary.of(CANDIDATE)) if summary else guesses


def _summarised(
    published: AsPublished, window: Window, *, slices: Sequence[Slice], rows: int, kinds: Sequence[Sequence[str]]
) -> Summary:
    contract, evaluated = published.contract, published.summary
    overall = next(one for one in slices if one.slice == OVERALL)
    cuts = evaluated.thresholds if evaluated else ()
    sensitive = evaluated.sensitive if evaluated else ()
    groups = {columns_of(one.column) for one in evaluated.fairness} if evaluated else set()
    return Summary(
        label=contract.label,
        rows=rows,
        test_digest=window.digest,
        judged=0,
        thresholds=cuts,
        models={CANDIDATE: ModelSummary(published.version.digest, overall.metrics, overall.intervals)},
        slices=tuple(slices),
        changes=(),
        fairness=tuple(
            fairness.compare(
                contract.problem,
                slices=slices,
                columns=[list(kind) for kind in kinds if tuple(sorted(kind)) in groups],
                thresholds=cuts,
            )
        ),
        problem_name=contract.problem.name,
        classes=contract.classes,
        sensitive=sensitive,
        chosen_threshold=evaluated.chosen_threshold if evaluated else None,
    )


def _empty(published: AsPublished, window: Window) -> Summary:
    """What is known of no row: the slices that were evaluated, with nothing measured."""
    nothing = [
        replace(one, rows=0, metrics=dict.fromkeys(one.metrics), intervals={}) for one in published.evaluated.values()
    ] or [Slice(CANDIDATE, OVERALL, {}, 0, {}, {})]
    return _summarised(published, window, slices=nothing, rows=0, kinds=published.kinds)


def _folded(column: pa.ChunkedArray, evaluated: set[str]) -> pa.ChunkedArray:
    """A column that makes slices: of values that were not evaluated, the most frequent stay, but for strange names."""
    counts = sorted(pc.value_counts(column).to_pylist(), key=lambda one: (-one["counts"], one["values"]))
    others = [one["values"] for one in counts if one["values"] not in evaluated]
    kept = [one for one in others if "," not in one][: max(MOST_VALUES - len(evaluated) - 1, 0)]
    if len(kept) == len(others):
        return column
    known = pc.is_in(column, pa.array([*evaluated, *kept], pa.string()))
    return pc.if_else(known, column, OTHER)


def _unknown(version: str, rows: pa.Table) -> VersionQuality:
    said = f"version: {version!r} answered, and is no published version of the model; see what the router was given"
    nothing = Labelling(Outcome.INCONCLUSIVE, 0, "what its labels are is not known")
    return VersionQuality(
        version=version,
        digest="",
        problem_name="",
        arms=tuple(sorted(pc.unique(rows["arm"]).to_pylist())),
        rows=len(rows),
        labelled=0,
        strange=0,
        thresholds=(),
        slices=(),
        fairness=(),
        moved=(),
        estimates=(),
        reliance=Reliance(Outcome.SKIPPED, 0, 0, "there are no estimates of what is not published"),
        labelling=nothing,
        limits_digest="",
        checks=(Check("version", "a published one", None, Outcome.ERROR, said),),
    )
