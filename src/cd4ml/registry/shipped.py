"""What deployments brought into production: the version of each, and how two of them differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cd4ml.contracts.deployment import Held, StepTaken
from cd4ml.contracts.evaluation import CANDIDATE, SUMMARY, ModelSummary, Summary
from cd4ml.contracts.release import Version
from cd4ml.contracts.signature import SIGNATURES
from cd4ml.registry import deployments, models
from cd4ml.registry.deployments import Series
from cd4ml.reports import comparison
from cd4ml.reports.comparison import Row, Section
from cd4ml.storage import Store


@dataclass(frozen=True)
class Shipped:
    """A deployment, with what the registry has of its version."""

    series: Series
    version: Version
    evaluation: Summary | None
    """None where it was published by a cd4ml that kept no summary."""
    signed: bool

    @property
    def evaluated(self) -> ModelSummary | None:
        """What evaluation found of the model."""
        return self.evaluation.models[CANDIDATE] if self.evaluation else None

    @property
    def primary(self) -> float | None:
        """The model's primary metric."""
        found = self.evaluation
        return found.models[CANDIDATE].metrics.get(found.problem.primary) if found else None

    @property
    def _facts(self) -> dict[str, Any]:
        begun = self.series.begun
        held = next((one.at for one in self.series.events if isinstance(one, Held)), "")
        return {
            "state": self.series.state,
            "begun": begun.at,
            "held": held,
            "target": begun.target,
            "strategy": begun.strategy,
            "run": begun.run,
            **self._steps,
        }

    @property
    def _steps(self) -> dict[str, str]:
        """What came of each; one that is taken again has a number."""
        said: dict[str, str] = {}
        times = Counter[str]()
        for one in self.series.events:
            if isinstance(one, StepTaken):
                times[one.step] += 1
                again = f" ({times[one.step]})" if times[one.step] > 1 else ""
                said[one.step + again] = one.said
        return said

    @property
    def _data(self) -> dict[str, Any]:
        data = self.version.dataset
        return {"dataset": data.name, "version": data.version, "digest": data.digest}

    @property
    def _code(self) -> dict[str, Any]:
        locks = {f"lock of {name}": digest for name, digest in self.version.locks.items()}
        return {"revision": self.version.revision, "image": self.version.image, **locks}

    @property
    def _model(self) -> dict[str, Any]:
        version = self.version
        return {"version": version.version, "digest": version.digest, "published": version.published_at}

    @property
    def _figures(self) -> dict[str, str]:
        if self.evaluated is None:
            return {}
        ends = self.evaluated.intervals
        return {
            name: comparison.text(value) + (f" [{ends[name][0]:.6g}, {ends[name][1]:.6g}]" if name in ends else "")
            for name, value in self.evaluated.metrics.items()
            if value is not None
        }


def find(store: Store, name: str, number: int) -> Shipped:
    """A deployment by its number.

    Raises:
        RegistryError: There is no such deployment, or its version is gone.
    """
    return of(store, deployments.read(store, name, number))


def of(store: Store, series: Series) -> Shipped:
    """A deployment by its events.

    Raises:
        RegistryError: Its version is gone.
    """
    version = models.read(store, series.begun.name, series.begun.version)
    file = f"{version.folder}/{SUMMARY}"
    kept = store.children(version.folder)
    evaluation = Summary.parse(store.read(file), store.uri(file)) if SUMMARY in kept else None
    return Shipped(series, version, evaluation, signed=SIGNATURES in kept)


def every(store: Store, name: str) -> list[Shipped]:
    """The deployments that held, the oldest first; those whose version is gone are left out."""
    held = [one for one in deployments.every(store, name) if any(isinstance(event, Held) for event in one.events)]
    known = {one.version for one in models.versions(store, name)}
    return [of(store, series) for series in held if series.begun.version in known]


def differences(several: Sequence[Shipped]) -> list[Section]:
    """In what deployments differ: how each went, its data, code, model, settings and figures."""
    sections: dict[str, Sequence[Mapping[str, Any]]] = {
        "Deployment": [one._facts for one in several],
        "Data": [one._data for one in several],
        "Code": [one._code for one in several],
        "Model": [one._model for one in several],
        "Settings": [one.version.arguments for one in several],
        "Figures": [one._figures for one in several],
    }
    return [Section(title, _different(columns)) for title, columns in sections.items()]


def changed(before: Shipped | None, after: Shipped) -> str:
    """What a deployment changed, in a few words."""
    figure = _figure(after)
    if before is None:
        return ", ".join(filter(None, ("the first", figure)))
    old, new = before.version, after.version
    if old.digest == new.digest:
        return "the same model again"
    settings = _different([one.version.arguments for one in (before, after)])
    said = (
        f"back to version {new.version}" if new.version < old.version else "",
        f"data {old.dataset.version} → {new.dataset.version}" if old.dataset != new.dataset else "",
        "code" if old.revision != new.revision else "",
        "packages" if old.locks != new.locks else "",
        ", ".join(row.name for row in settings if row.name != "revision"),
        f"{_figure(before)} → {_value(after)}" if _are_comparable(before, after) else figure,
    )
    return ", ".join(filter(None, said))


def _different(columns: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [row for row in comparison.rows([comparison.flat(one) for one in columns]) if row.differs]


def _are_comparable(before: Shipped, after: Shipped) -> bool:
    """Whether both have a primary metric, and it is the same."""
    problems = [one.evaluation.problem for one in (before, after) if one.evaluation and _value(one)]
    return len(problems) == 2 and problems[0] == problems[1]


def _figure(one: Shipped) -> str:
    return f"{one.evaluation.problem.primary} {_value(one)}" if one.evaluation and _value(one) else ""


def _value(one: Shipped) -> str:
    if one.evaluation is None or one.primary is None:
        return ""
    problem = one.evaluation.problem
    return problem.metric(problem.primary).written(one.primary)
