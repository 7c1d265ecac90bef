"""Validating a dataset: statistics, schema, anomalies and audit of its splits, and one report of it all."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from cd4ml.contracts import dataset as origin
from cd4ml.contracts import question
from cd4ml.contracts.dataset import Masked, Origin
from cd4ml.contracts.findings import Findings
from cd4ml.contracts.provenance import Provenance
from cd4ml.errors import DataError
from cd4ml.names import nearest
from cd4ml.validation import audit, columns, groups, label, outliers, personal, report, schema, statistics
from cd4ml.validation import waivers as waivers_of
from cd4ml.validation.audit import Audited
from cd4ml.validation.drift import between_splits, comparators, reference
from cd4ml.validation.on_disk import OnDisk
from cd4ml.validation.statistics import Statistics


@dataclass(frozen=True)
class Outputs:
    """Where to write; layouts: the modules of these names."""

    statistics: str | Path
    schema: str | Path
    anomalies: str | Path
    findings: str | Path
    reference: str | Path
    report: str | Path


def validate(
    splits: Mapping[str, str | Path],
    *,
    label_column: str,
    key: str,
    curated_schema: str | Path,
    before: str | Path,
    provenance: str | Path,
    sensitive: Sequence[str],
    slices: Sequence[str | Sequence[str]],
    outputs: Outputs,
    exclude: Sequence[str] = (),
    dates: Sequence[str] = (),
    time_column: str = "",
    runner: Sequence[str] = (),
    waivers: Sequence[Any] = (),
    problem: str = question.AUTO,
    positive: str = "",
    classes: Sequence[object] = (),
) -> Findings:
    """Validates the splits of a dataset.

    Args:
        splits: The Parquet files by the names `train`, `eval` and `test`.
        label_column: The column to predict.
        key: The column that tells rows apart.
        curated_schema: A schema that people keep, a text proto; inferred from train where the file is empty.
        before: The rows that the last published version was trained on, as it keeps them; an empty file where there
            are none.
        provenance: How the version was read, and what has changed since the one before (`cd4ml.contracts.provenance`).
        sensitive: Columns whose groups must be treated fairly.
        slices: Columns, or lists of columns to cross, by which models are evaluated; here each column counts alone.
        outputs: The files and folders to write.
        exclude: Columns that no model sees.
        dates: Columns that a model sees as dates or times; what is none of these is passed over.
        time_column: The column that says when a row came to be; empty where there is none.
        runner: A runner of Beam and its options, on which the statistics are computed; empty computes them here.
        waivers: Why findings do not count, as `cd4ml.validation.waivers` has them. A column of personal data that one
            is about keeps its values.
        problem: What the label asks for, or `auto`, which finds it (`cd4ml.contracts.question`).
        positive: The value of the label that counts as positive; found where it is empty.
        classes: The values of the label in their order; empty where they have none.

    Raises:
        DataError: A file cannot be read, there is no such column, a model cannot be evaluated by it, or Beam does not
            take the runner.
    """
    tables = {split: OnDisk([path]) for split, path in splits.items()}
    train = tables["train"]
    sliced = [column for one in slices for column in ([one] if isinstance(one, str) else one)]
    grouped = list(dict.fromkeys([*sensitive, *sliced]))
    _check_columns([key, *grouped, *exclude, *filter(None, [time_column])], train.column_names)
    groups.check_slices(tables["test"], [*slices, *sensitive])
    curated = Path(curated_schema).read_text(encoding="utf-8")
    kept = schema.parse(curated) if curated else None
    target = label.examine(tables, label_column, problem=problem, positive=positive, classes=classes)
    if target.question:
        print(target.question, flush=True)  # noqa: T201 (the task's log)

    whole = OnDisk(list(splits.values()))
    source = origin.read(train.schema, str(splits["train"])) or Origin(Path(splits["train"]).name, 0, "")
    people = personal.examine(whole, source.masked)
    agreed = waivers_of.parse(list(waivers))
    waived = {one.column for one in agreed if one.finding == "personal_data"}
    unseen = {finding.column for finding in people} - {label_column} - waived
    measured = _statistics(splits, runner, outputs.statistics)
    for content in measured.values():
        statistics.forget(content, unseen)
    rules = schema.infer(measured, key) if kept is None else kept
    anomalies = {split: schema.anomalies(content, rules) for split, content in measured.items()}

    outcome = target.outcome(whole)
    named = {"key": [key], "label": [label_column], "sensitive": sensitive, "slice": sliced}
    roles = {**named, "personal": sorted(unseen)}
    described = columns.describe(measured, tables, roles)
    told = [column for column in grouped if column not in unseen]
    counted = groups.measure(whole, outcome=outcome, columns=told, sensitive=sensitive)
    of_sensitive = {column: groups.values_of(whole.column(column)) for column in sensitive if column in told}
    crossed = groups.cross(of_sensitive, outcome)
    audited = audit.examine(
        Audited(
            tables,
            whole,
            outcome=outcome,
            numbers=target.numbers(whole),
            classes=target.classes(whole),
            label=label_column,
            key=key,
            exclude=[*exclude, *unseen],
            dates=dates,
            time=time_column,
            sensitive=of_sensitive,
        )
    )
    kept_out = {key: "the key", **dict.fromkeys(unseen, "personal data")}
    compared = between_splits.compare(tables, origin=source, before=before, without=kept_out, slices=told)
    found = Findings(
        dataset=source.dataset,
        version=source.version,
        digest=source.digest,
        label=label_column,
        positive=target.positive,
        label_rate=pc.mean(outcome).as_py(),
        rows={split: table.num_rows for split, table in tables.items()},
        groups=tuple(counted),
        findings=(
            *target.findings,
            *(finding for split, content in anomalies.items() for finding in schema.findings(split, content)),
            *groups.examine(counted, crossed),
            *people,
            *outliers.examine(described),
            *audited.findings,
            *between_splits.findings(compared.comparisons),
            *comparators.findings(rules, compared.comparisons, compared.uncompared),
        ),
        crossed=tuple(crossed),
        proxies=audited.proxies,
        anonymity=audited.anonymity,
        copies=audited.copies,
        audited=audited.looked_at,
        waivers=agreed,
        comparisons=compared.comparisons,
        uncompared=compared.uncompared,
        ungrouped=tuple(column for column in sensitive if column in unseen),
        problem=target.question.problem.name if target.question else "",
        positives={split: pc.sum(target.outcome(table)).as_py() or 0 for split, table in tables.items()}
        if target.positive
        else None,
        class_rows={split: target.rows(table) for split, table in tables.items()} if target.is_of_several else None,
    )

    statistics.write(measured, outputs.statistics)
    schema.write_schema(rules, outputs.schema)
    schema.write_anomalies(anomalies, outputs.anomalies)
    reference.write(compared.reference, outputs.reference)
    report.write(
        found,
        columns=described,
        tables=tables,
        samples=compared.samples,
        provenance=_without(unseen, Provenance.read(provenance), source.masked),
        path=outputs.report,
    )
    return found.write(outputs.findings)


def _without(people: Collection[str], provenance: Provenance, masked: Collection[Masked]) -> Provenance:
    """What is said of how columns of personal data were read may hold values of theirs."""
    safe = set(map(str, masked))
    said = (line for line in provenance.said if line in safe or not any(repr(name) in line for name in people))
    return replace(provenance, said=tuple(said))


def _statistics(splits: Mapping[str, str | Path], runner: Sequence[str], folder: str | Path) -> dict[str, Statistics]:
    if not runner:
        return {split: statistics.of_files([file], split) for split, file in splits.items()}
    from cd4ml.validation.statistics_on_beam import on_beam

    return on_beam(splits, folder, runner=runner[0], options=runner[1:])


def _check_columns(wanted: Sequence[str], there: list[str]) -> None:
    unknown = [column for column in wanted if column not in there]
    if unknown:
        lines = "".join(f"\n  - {column!r}; {nearest(column, there)}" for column in unknown)
        raise DataError(
            f"the dataset lacks columns that are named as key, sensitive, slices, exclude or time_column{lines}"
        )
