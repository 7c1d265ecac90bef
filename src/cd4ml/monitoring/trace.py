"""Where something comes from, and what came of it, from the store alone: rows, datasets, models, runs, requests.

    row → versions of its dataset → models that were trained on them → deployments → windows of requests → labels

and back: a request → the answer of a version → its deployment → its run and its dataset; and round, where rows of
requests became those of a dataset that later versions learnt from. What a store has no more (rows that were erased,
captures after 90 days, a version that was removed) is told where it would stand, and is no error.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import pairwise, product
from types import MappingProxyType
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.deployment import Held, Undone
from cd4ml.contracts.erasure import Erasure
from cd4ml.contracts.late_labels import keys_of, one_text
from cd4ml.contracts.lineage import FILE as LINEAGE
from cd4ml.contracts.lineage import Lineage
from cd4ml.contracts.record import RunRecord
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import Check, Outcome, worst
from cd4ml.contracts.window import Part, Window
from cd4ml.contracts.window_drift import ERRORS, in_version
from cd4ml.contracts.window_quality import WindowQuality
from cd4ml.data import located, sources, split
from cd4ml.data.sources.windows import WindowsSource, key, of_key
from cd4ml.data.split import Drawn
from cd4ml.data.table import Commit
from cd4ml.data.versions import Dataset, Datasets
from cd4ml.deployment.targets.router import arm_name
from cd4ml.errors import Cd4mlError, DataError
from cd4ml.monitoring import monitored, one_request, window_table
from cd4ml.monitoring.monitored import Judged
from cd4ml.monitoring.one_request import Answer, Asked, Found, Say
from cd4ml.names import counted
from cd4ml.registry import approvals, deployments, labels_taken, models, numbers, promotions, timeline
from cd4ml.registry.deployments import Series
from cd4ml.storage import Store

MOST = 20
"""Requests about a row, and versions of a dataset that are tried for a run's, which are told one by one."""
Made = TypeVar("Made")
_KEPT = {
    Outcome.PASSED: "kept its limits",
    Outcome.FAILED: "did not keep a limit",
    Outcome.ERROR: "could not be held against a limit",
    Outcome.INCONCLUSIVE: "cannot be told yet",
    Outcome.SKIPPED: "held it against no limit",
}
"""What a window says of the limits of a version, by the worst of its checks."""


@dataclass(frozen=True)
class Node:
    """One thing, with what it was made of or what came of it."""

    kind: str
    """`row`, `dataset`, `model`, `run`, `deployment`, `windows`, `request`, `label`, `approval`, …"""
    name: str
    said: str = ""
    """What there is to know of it, for people."""
    at: str = ""
    """When it came to be, ISO 8601, UTC; empty where that is not known."""
    made_of: tuple["Node", ...] = ()
    led_to: tuple["Node", ...] = ()

    @property
    def content(self) -> dict[str, Any]:
        """What it is, as JSON has it."""
        plain = {"kind": self.kind, "name": self.name, "at": self.at, "said": self.said}
        ways = {"made_of": self.made_of, "led_to": self.led_to}
        return plain | {way: [one.content for one in nodes] for way, nodes in ways.items() if nodes}


@dataclass(frozen=True)
class Trace:
    """Traces what a store keeps; what was read once is not read again."""

    store: Store
    say: Say = field(default=lambda _: None)
    """Is told what is looked through, where that takes long."""

    def row(self, dataset: str, values: Mapping[str, str]) -> Node:
        """A row: which versions of its dataset hold it, and what came of these.

        Args:
            dataset: The dataset's name.
            values: By column, as text, which tell it from others.

        Raises:
            DataError: There is no such dataset, or no such column.
        """
        found = self._datasets.find(dataset)
        row, versions = self._row(found, values)
        texts = located.captured(found, values)
        asked = [node for model in self.models for node in self._about_row(model, texts)]
        made = (*self._requested(found, versions, values), *self._erasures(dataset))
        return replace(row, made_of=made, led_to=(*row.led_to, *asked))

    def dataset(self, name: str, which: str) -> Node:
        """A version of a dataset.

        Args:
            name: The dataset's name.
            which: Its number, a tag, or `latest`.

        Raises:
            DataError: There is none.
        """
        dataset = self._datasets.find(name)
        commit = dataset.version(which)
        made = self._dataset_from(DatasetReference(name, commit.about.version, commit.about.digest))
        return _both(made, self._dataset_to(dataset, commit))

    def model(self, version: Version) -> Node:
        """A published version of a model."""
        return _both(self._model_from(version), self._model_to(version))

    def run(self, record: RunRecord) -> Node:
        """A run: the dataset that it took, and what it published and deployed."""
        called = {record.run_id, record.name}
        published = [one for name in self.models for one in self._published(name) if one.run in called]
        shipped = [one for name in self.models for one in self._deployed(name) if one.begun.run in called]
        own = {(one.name, one.version) for one in published}
        others = [one for one in shipped if (one.begun.name, one.begun.version) not in own]
        return Node(
            "run",
            record.run_id,
            _run_said(record),
            at=record.started_at,
            made_of=(self._dataset_from(record.dataset),) if record.dataset else (),
            led_to=(*map(self._model_to, published), *map(self._deployment_to, others)),
        )

    def request(self, asked: Asked, model: str = "") -> Node:
        """A request: who answered it, what that was made of, and what came to be true.

        Args:
            asked: Its id, and what is known of when it came in.
            model: The model that was asked; all are tried if not said.

        Raises:
            DataError: It is nowhere that was looked.
        """
        tried = [model] if model else self.models
        for name in tried:
            found = one_request.find(self.store, name, asked, say=self.say)
            if found:
                return self._request(asked.id, found)
        raise DataError(
            f"store {self.store.location}: no request {asked.id!r} of {', '.join(tried) or 'any'} is in a window, "
            f"or in what was captured {_looked(asked)}; say when it came in (--at) where that was at another time; "
            "captures are kept for 90 days, and windows for good"
        )

    @cached_property
    def models(self) -> list[str]:
        """The names of all models of which the store keeps something."""
        kinds = ("models", "deployments", "windows", "captures", "labels")
        return sorted({name for kind in kinds for name in self.store.children(kind)})

    @cached_property
    def _datasets(self) -> Datasets:
        return Datasets(self.store)

    def _dataset_from(self, reference: DatasetReference) -> Node:
        name = f"{reference.name}@{reference.version}"
        try:
            dataset = self._datasets.find(reference.name)
            about = dataset.version(str(reference.version)).about
        except Cd4mlError as error:
            return Node("dataset", name, f"not in this store: {error}")
        changed = "" if about.digest == reference.digest else f"; it was {reference.digest} then"
        judged = dataset.judged(dataset.version(str(reference.version)))
        gate = f"; the gate of the data {'passed' if judged.passed else 'failed'}: {judged.said}" if judged else ""
        source = Node("source", about.source, about.state) if about.source else None
        return Node(
            "dataset",
            name,
            f"{about.rows:,} rows, {about.digest}{changed}{gate}",
            at=about.arrived,
            made_of=(
                *([source] if source else ()),
                *([Node("run", about.run, "that brought it")] if about.run else ()),
                *self._erasures(reference.name, reference.version),
            ),
        )

    def _row(self, dataset: Dataset, values: Mapping[str, str]) -> tuple[Node, Collection[int]]:
        """A row with what came of it, and the versions that hold it."""
        name = dataset.name
        called = f"{name} " + ", ".join(f"{column}={text}" for column, text in values.items())
        self.say(f"{name}: looking for the row in {counted(len(dataset.commits), 'commit')}")
        versions = located.versions(dataset, values)
        said = f"in {counted(len(versions), 'version')} of {name}" if versions else f"in no version of {name}"
        several = max(versions.values(), default=1)
        said += f"; {several} rows are so, name more columns to tell them apart" if several > 1 else ""
        return Node("row", called, said, led_to=tuple(self._held(dataset, versions, values))), versions

    def _requested(self, dataset: Dataset, versions: Collection[int], values: Mapping[str, str]) -> Iterator[Node]:
        """The request that a row is of, where the version that first had it took it from windows."""
        source = _windows(dataset.version(str(min(versions))).about.source) if versions else None
        for column in source.request_columns if source else ():
            told = of_key(values.get(column, ""))
            if source and told:
                yield self._request_of_row(source.model, *told)

    def _request_of_row(self, model: str, request: str, row: int) -> Node:
        found = one_request.find(self.store, model, Asked(request), say=self.say)
        if found is None:
            return Node("request", request, f"of {model}; gone from the store: no window has it, nor the capture")
        own = tuple(one for one in found.labels if one.row in (row, None))
        return self._request(request, replace(found, labels=own), learnt=False)

    def _learnt(self, request: str, found: Found) -> Iterator[Node]:
        """The rows of datasets that a request became, and what came of these."""
        for name in self.store.children("datasets"):
            try:
                yield from self._became(self._datasets.find(name), request, found)
            except Cd4mlError as error:  # as of a dataset that is broken, or hashed by a key that is not here
                yield Node("row", f"of {name}", f"was not looked for: {error}")

    def _became(self, dataset: Dataset, request: str, found: Found) -> Iterator[Node]:
        rows = max((len(one.predictions) for one in found.answers if not one.mirrored), default=0)
        sources = (_windows(one.about.source) for one in dataset.commits)
        columns = {name for one in sources if one and one.model == found.model for name in one.request_columns}
        for column, row in product(sorted(columns), range(1, min(rows, MOST) + 1)):
            node, versions = self._row(dataset, {column: key(request, row)})
            if versions:
                yield node
        if columns and rows > MOST:
            yield Node("row", f"{rows - MOST:,} more", f"were not looked for in {dataset.name}")

    def _held(self, dataset: Dataset, versions: Iterable[int], row: Mapping[str, str]) -> Iterator[Node]:
        """What came of the versions that hold a row; those on which nothing stands are told together."""
        trained = {one.dataset.version for one in self._trained_on(dataset)}
        others = [version for version in versions if version not in trained]
        for version in versions:
            if version in trained:
                yield self._dataset_to(dataset, dataset.version(str(version)), row=row)
        if others:
            yield Node("dataset", f"{dataset.name}@{_ranges(others)}", "no published model was trained on it")

    def _trained_on(self, dataset: Dataset) -> list[Version]:
        """The versions of models that were trained on one of a dataset."""
        return [one for name in self.models for one in self._published(name) if one.dataset.name == dataset.name]

    def _dataset_to(self, dataset: Dataset, commit: Commit, *, row: Mapping[str, str] = MappingProxyType({})) -> Node:
        """What came of a version; of one of its rows, where that is named."""
        about = commit.about
        tags = dataset.tags_of(commit)
        called = f", called {', '.join(tags)}" if tags else ""
        own = [one for one in self._trained_on(dataset) if one.dataset.version == about.version]
        said = f"{about.rows:,} rows{called}" + ("" if own else "; no published model was trained on it")
        return Node(
            "dataset",
            f"{dataset.name}@{about.version}",
            said,
            about.arrived,
            led_to=_all(own, lambda one: self._model_to(one, self._side(dataset, one, row))),
        )

    def _side(self, dataset: Dataset, version: Version, row: Mapping[str, str]) -> str:
        """On which side of its split a model had a row; empty where none is named, or nothing tells."""
        how, about = version.arguments.get("split"), dataset.version(str(version.dataset.version)).about
        if not row or not isinstance(how, Mapping):
            return ""
        try:
            sides = split.sides(Drawn(dataset.uri, about.version, about.key_column, how), row)
        except DataError:
            return ""
        return f"; the row is in its {' and '.join(sides)} split" if sides else ""

    def _erasures(self, dataset: str, version: int | None = None) -> tuple[Node, ...]:
        """What was taken out of a dataset, or of one version of it."""
        folder = f"erasures/{dataset}"
        found = [Erasure.parse(text, place) for text, place in numbers.documents(self.store, folder)]
        return tuple(
            Node("erasure", f"by {one.column}", f"{one.headline}: {one.reason}; which rows, nothing tells", one.at)
            for one in found
            if version is None or str(version) in one.rows
        )

    def _model_from(self, version: Version) -> Node:
        copied = promotions.find(self.store, version.name, version.version)
        came = [Node("promotion", copied.environment, copied.headline, copied.at)] if copied else []
        return Node(
            "model",
            f"{version.name}@{version.version}",
            f"{timeline.figures(self.store, version)}; {version.digest}",
            at=version.published_at,
            made_of=(
                *came,
                Node("run", version.run, self._run_known(version.run)),
                self._dataset_from(version.dataset),
                *self._began_with(version),
            ),
        )

    def _model_to(self, version: Version, also: str = "") -> Node:
        name = f"{version.name}@{version.version}"
        shipped = [one for one in self._deployed(version.name) if one.begun.version == version.version]
        said = timeline.figures(self.store, version) + ("" if shipped else "; never deployed") + also
        return Node("model", name, said, version.published_at, led_to=_all(shipped, self._deployment_to))

    def _began_with(self, version: Version) -> Iterator[Node]:
        """The version whose weights training began with, and that which it was held against."""
        known = {one.digest: one for one in self._published(version.name)}
        try:
            file = f"{version.folder}/model/{LINEAGE}"
            begun = Lineage.parse(self.store.read(file), self.store.uri(file)).started_from
        except Cd4mlError:
            begun = ""
        before = {begun: "with whose weights training began", version.champion: "that it was held against"}
        for digest, said in before.items():
            one = known.get(digest)
            if one:
                yield Node("model", f"{one.name}@{one.version}", said, one.published_at)
            elif digest:
                yield Node("model", digest, f"{said}; no version of this store")

    def _deployment_from(self, series: Series) -> Node:
        begun = series.begun
        try:
            made = self._model_from(models.read(self.store, begun.name, begun.version))
        except Cd4mlError as error:
            made = Node("model", f"{begun.name}@{begun.version}", f"gone from the store: {error}")
        run = Node("run", begun.run, self._run_known(begun.run))
        return Node(*_deployment(series), made_of=(*self._people(series), run, made))

    def _deployment_to(self, series: Series) -> Node:
        return Node(*_deployment(series), led_to=(*self._people(series), *self._windows_of(series)))

    def _people(self, series: Series) -> list[Node]:
        """What people said of it."""
        said = approvals.of(self.store, series, self._deployed(series.begun.name))
        return [Node("approval", one.by, f"{one.what}: {one.reason}", one.at) for one in said]

    def _windows_of(self, series: Series) -> Iterator[Node]:
        """What it was asked, as far as windows were collected."""
        begun = series.begun
        parts = [
            (window, part)
            for window in self._windows(begun.name)
            for part in window.parts
            if self._deployment_of(begun.name, part, part.first) == series
        ]
        if not parts:
            yield Node("windows", "none", f"no window of {begun.name} has an answer of it")
            return
        given = [part for _, part in parts if not part.mirrored]
        copies = sum(part.requests for _, part in parts if part.mirrored)
        mirrored = f", and copies of {counted(copies, 'request')}" if copies else ""
        requests, rows = sum(one.requests for one in given), sum(one.rows for one in given)
        labelled = sum(one.labelled for one in given)
        first, last = min(part.first for _, part in parts), max(part.last for _, part in parts)
        keys = dict.fromkeys(window.key for window, _ in parts)
        said = f"{counted(requests, 'request')}, {counted(rows, 'row')}, {labelled:,} with a label{mirrored}"
        told = self._judged(begun.name, tuple(keys), str(begun.version))
        yield Node("windows", counted(len(keys), "window"), f"{said}; until {last}{told}", at=first)

    def _about_row(self, model: str, values: Mapping[str, Sequence[str]]) -> Iterator[Node]:
        """What a model was asked about a row, and the labels that came by its key; where its features were captured."""
        windows = self._windows(model)
        if any(set(values) <= set(one.features) for one in windows):
            self.say(f"{model}: looking for requests about the row in {counted(len(windows), 'window')}")
            found = window_table.of_features(self.store, model, values)
            for one in found.slice(0, MOST).to_pylist():
                label = f", label {one['label']}" if one["label"] is not None else ", no label yet"
                said = f"{model}@{one['version']} by {one['arm']}: {_numbers(one['predictions'])}{label}"
                yield Node("request", one["request_id"], said, one["at"].isoformat(timespec="seconds"))
            if len(found) > MOST:
                yield Node("request", f"{len(found) - MOST:,} more", f"of {model}")
        for about in labels_taken.every(self.store, model):
            if about.key and set(about.key) == set(values):
                each = zip(*product(*(values[name] for name in about.key)), strict=True)
                own = one_text([pa.array(texts, pa.string()) for texts in each])
                labels = labels_taken.read(self.store, about)
                said = f"of {model}, {about.headline}, taken {about.taken_at}"
                for one in labels.filter(pc.is_in(keys_of(labels, about.key, about.key), own)).to_pylist():
                    yield Node("label", one["label"], said, one["at"].isoformat(timespec="seconds"))

    def _request(self, name: str, found: Found, *, learnt: bool = True) -> Node:
        """A request, and what came of it: where that is asked for, the rows too that a version learnt from."""
        labels = [
            Node(
                "label",
                one.label or "of another type",
                f"{'' if one.row is None else f'of row {one.row}, '}from {one.source}"
                + (f"; does not count ({one.why_not})" if one.why_not else ""),
                one.at,
            )
            for one in found.labels
        ]
        rewards = [Node("reward", f"{value:g}", "from feedback", at) for at, value in found.rewards]
        none = [] if labels or rewards else [Node("label", "none", f"none has come; looked through {found.looked}")]
        places = ", ".join(found.windows) or "no window yet, what was captured alone"
        return Node(
            "request",
            name,
            f"of {found.model}; in {places}",
            at=found.answers[0].at,
            made_of=tuple(self._answer(found.model, one) for one in found.answers),
            led_to=(*labels, *rewards, *none, *(self._learnt(name, found) if learnt else ())),
        )

    def _answer(self, model: str, answer: Answer) -> Node:
        status = "" if answer.status is None else f", status {answer.status}"
        latency = "" if answer.latency_ms is None else f", {answer.latency_ms:.1f} ms"
        lookup = "" if answer.lookup_ms is None else f", features looked up in {answer.lookup_ms:.1f} ms"
        given = ", to nobody: a copy" if answer.mirrored else ""
        predicted = "; ".join(_numbers(row) for row in answer.predictions[:MOST]) or "nothing"
        outputs = f" ({', '.join(answer.outputs)})" if answer.outputs else ""
        said = f"{model}@{answer.version}{given}: predicted {predicted}{outputs}{status}{latency}{lookup}"
        return Node("answer", answer.arm, said, answer.at, made_of=tuple(self._answered_by(model, answer)))

    def _answered_by(self, model: str, answer: Answer) -> Iterator[Node]:
        found = self._deployment_of(model, answer, answer.at)
        if found:
            yield self._deployment_from(found)
            return
        known = next((one for one in self._published(model) if str(one.version) == answer.version), None)
        yield Node("deployment", "not known", f"none of version {answer.version} that the store has is {answer.arm}")
        yield (
            self._model_from(known)
            if known
            else Node("model", f"{model}@{answer.version}", "gone from the store: no such version is published")
        )

    def _deployment_of(self, model: str, asked: Answer | Part, at: str) -> Series | None:
        """The deployment that an arm is of; of one that is called by its version alone, the last that began before."""
        of_version = [one for one in self._deployed(model) if str(one.begun.version) == asked.version]
        if asked.arm == arm_name(None, asked.version):
            return next((one for one in reversed(of_version) if one.begun.at <= at), None)
        return next((one for one in of_version if asked.arm == arm_name(one.begun.number, asked.version)), None)

    def _run_known(self, run: str) -> str:
        record = self._datasets.runs.get(run)
        return _run_said(record) if record else "no record of it in this store"

    @cached_property
    def _published(self) -> Callable[[str], list[Version]]:
        """The published versions of a model."""
        return cache(partial(models.versions, self.store))

    @cached_property
    def _deployed(self) -> Callable[[str], list[Series]]:
        """The deployments of a model."""
        return cache(partial(deployments.every, self.store))

    @cached_property
    def _judged(self) -> Callable[[str, tuple[str, ...], str], str]:
        """What windows of a model that were judged, by their keys, say of a version."""
        return cache(lambda model, keys, version: _told(monitored.every(self.store, model, of=keys), version))

    @cached_property
    def _windows(self) -> Callable[[str], list[Window]]:
        """The windows of a model."""
        return cache(partial(window_table.every, self.store))


def _both(made: Node, led: Node) -> Node:
    return Node(made.kind, made.name, made.said, made.at, made_of=made.made_of, led_to=led.led_to)


def _all(some: Sequence[Made], node: Callable[[Made], Node]) -> tuple[Node, ...]:
    return tuple(map(node, some))


def _windows(source: str) -> WindowsSource | None:
    """The windows that a version of a dataset was taken from; None where it is of another source."""
    try:
        found = sources.parse(source)
    except DataError:  # of a source that nothing here can read, or of none
        return None
    return found if isinstance(found, WindowsSource) else None


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in order, as `1-4, 7`."""
    starts = [place for place, one in enumerate(numbers) if not place or one > numbers[place - 1] + 1]
    runs = (numbers[begin:end] for begin, end in pairwise([*starts, len(numbers)]))
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _deployment(series: Series) -> tuple[str, str, str, str]:
    """What a deployment is, and what became of it."""
    begun, state = series.begun, str(series.state)
    if state == "held" and (held := series.last(Held)):
        state = f"held since {held.at}"
    elif state == "undone" and (undone := series.last(Undone)):
        state = f"undone: {undone.reason}"
    return "deployment", f"{begun.name} {begun.number}", f"{begun.headline}; {state}", begun.at


def _told(windows: Sequence[Judged], version: str) -> str:
    """In how many windows a version kept its own limits, and in how many something else was wrong with it."""
    if not windows:
        return ""
    kept = Counter(_kept(one.quality, version) for one in windows).most_common()
    limits = ", ".join(f"{count:,} {words}" for words, count in kept)
    errors = f"{ERRORS}{in_version(version)}"
    drifts = [one.drift for one in windows if one.drift]
    drifted = sum(_fails(one.beside_training(version)) for one in drifts)
    failing = sum(_fails(check for check in one.checks if check.name == errors) for one in drifts)
    also = f"; drift in {drifted:,}" * bool(drifted) + f"; too many errors in {failing:,}" * bool(failing)
    return f"; of {counted(len(windows), 'judged window')} {limits}{also}"


def _fails(checks: Iterable[Check]) -> bool:
    return any(one.outcome is Outcome.FAILED for one in checks)


def _kept(quality: WindowQuality | None, version: str) -> str:
    """Whether a version kept its limits within a window, as far as that can be told."""
    own = (one for one in quality.by_version if one.version == version) if quality else ()
    outcomes = {check.outcome for one in own for check in one.checks}
    if worst(outcomes) is Outcome.INCONCLUSIVE and Outcome.PASSED in outcomes:
        return "kept those limits that can be told"
    return _KEPT[worst(outcomes)]


def _run_said(record: RunRecord) -> str:
    called = f" {record.name}" if record.name != record.run_id else ""
    said = f": {record.headline}" if record.headline else ""
    return f"{record.pipeline}{called}, {record.status}{said}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{one:.4g}" for one in values)


def _looked(asked: Asked) -> str:
    if asked.moment:
        return f"on the days about {asked.moment.date()}"
    return f"on the last {one_request.MOST_DAYS} days that no window has"
