"""What a router captured of two arms, made up by chance with a seed."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts import model
from cd4ml.contracts.captured import FEEDBACK, REQUESTS
from cd4ml.contracts.late_labels import ABOUT, LABELS, TABLE, Labels
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.contracts.verdict import Check, Verdict
from cd4ml.deployment.evidence import divided
from cd4ml.deployment.evidence.divided import Divided
from cd4ml.monitoring.windows import Span
from cd4ml.storage import open_store

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NO_FEEDBACK = FEEDBACK.empty_table()


def check(verdict: Verdict, name: str) -> Check:
    """That of a name."""
    return next(one for one in verdict.checks if one.name == name)


@dataclass(frozen=True)
class Arms:
    """How the arms `old` and `new` do, each pair the old one's first."""

    weight: float = 0.5
    """Of `new`."""
    errors: tuple[float, float] = (0.02, 0.02)
    latencies: tuple[float, float] = (3.0, 3.0)
    """The medians in milliseconds."""
    predictions: tuple[float, float] = (0.3, 0.3)
    """The means."""
    rewards: tuple[float, float] = (0.4, 0.4)
    """The means of those of every second request."""


def write(folder: Path, requests: int, arms: Arms = Arms(), *, seed: int = 0, unit: int | None = None) -> Path:
    """Writes a capture, a request a second.

    Args:
        folder: Takes it.
        requests: How many.
        arms: How they do.
        seed: Of chance.
        unit: How many requests each caller sends; None where callers are not known.
    """
    table, feedback = captured(requests, arms, seed=seed, unit=unit)
    _write(folder, seed, requests=table, feedback=feedback)
    return folder


def spans(since: datetime, until: datetime, width: timedelta) -> Iterator[Span]:
    """Windows of some width from a moment until another."""
    for begin in range(int((until - since) / width)):
        yield Span(since + begin * width, since + (begin + 1) * width)


def write_mirrored(folder: Path, requests: int, arms: Arms = Arms(), *, copied: float = 1.0) -> None:
    """Writes a capture of requests of which `new` got copies, a request a second."""
    _write(folder, 0, requests=pa.concat_tables(mirrored(requests, arms, copied=copied)))


def mirrored(requests: int, arms: Arms = Arms(), *, copied: float = 1.0, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """The answers of `old` to callers, and those of `new` to copies of the same requests.

    What chance makes of a request is the same for both.
    """
    asked, copies = (captured(requests, replace(arms, weight=weight), seed=seed, unit=None)[0] for weight in (0, 1))
    copies = with_column(copies, "mirrored", np.ones(requests, bool))
    copies = with_column(copies, "propensity", np.full(requests, copied))
    return asked, copies.filter(pa.array(np.random.default_rng(seed).random(requests) < copied))


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """A table with other values in a column."""
    field = table.schema.field(name)
    return table.set_column(table.column_names.index(name), field, pa.array(values, field.type))


def publish(store: Path | str, **arguments: Any) -> Path | str:
    """Publishes the versions 1 and 2 of `uptake`, of which the label is `false` or `true`.

    Args:
        store: The store.
        arguments: Of the run that published them.
    """
    for number in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            model.write_contract(model.Contract("took", ("false", "true"), (), {}), folder)
            data = DatasetReference("players", 0, "sha256:d")
            digest, at = f"sha256:{number}", "2026-01-01T00:00:00+00:00"
            version = Version("uptake", number, digest, at, "run", "", data, arguments=arguments)
            open_store(store).add_folder(version.folder, {"model": Path(folder), "version.json": version.text})
    return store


def take_labels(
    store: Path,
    *,
    ids: Sequence[str | None],
    labels: Sequence[str],
    at: Sequence[datetime],
    about: dict[str, Any],
    keys: Sequence[list[str] | None] | None = None,
    rows: Sequence[int] | None = None,
) -> Path:
    """Puts labels of `uptake` into a store, as those that were taken in bulk.

    Args:
        store: The folder.
        ids: Of the requests; None where keys are said.
        labels: What came to be true.
        at: When each was known.
        about: What else is said of them: `digest`, `taken_at`, and `key` where there are keys.
        keys: The values of the key.
        rows: The numbers of the rows within their requests.
    """
    columns = [ids, rows or pa.nulls(len(ids), pa.int32()), keys or [None] * len(ids), labels, at]
    found = Labels("uptake", 1, rows=len(ids), column="took", source="{}", **about)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table(columns, schema=LABELS), Path(folder) / TABLE)
        open_store(store).add_folder(found.folder, {TABLE: Path(folder) / TABLE, ABOUT: found.text})
    return store


@dataclass(frozen=True)
class Right:
    """How often the arms `old` and `new` predict the label, each pair the old one's first."""

    accuracies: tuple[float, float] = (0.8, 0.8)
    came: tuple[float, float] = (1.0, 1.0)
    """How often labels come."""
    men: tuple[float, float] = (0.0, 0.0)
    """How often a man is predicted positive whatever else is said of him."""


def labelled(requests: int, right: Right = Right(), *, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Both tables, of requests whose label is `true` for two of five, and of which half are by men.

    Labels come in any order.
    """
    table, _ = captured(requests, Arms(), seed=seed, unit=None)
    return _labelled(table, right, seed=seed)


def write_labelled(folder: Path, requests: int, right: Right = Right()) -> Path:
    """Writes both tables."""
    table, feedback = labelled(requests, right)
    _write(folder, 0, requests=table, feedback=feedback)
    return folder


def divided_by_labels(requests: int, right: Right = Right(), *, seed: int = 0) -> Divided:
    """The same, as two arms that chance divided requests between."""
    return divided.among(*labelled(requests, right, seed=seed), challenger="new")


def labelled_pairs(
    requests: int, right: Right = Right(), *, seed: int = 0, same: bool = False
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The answers of `old`, those of `new` to copies, and the feedback.

    Args:
        requests: How many.
        right: How they do.
        seed: Of chance.
        same: Whether chance makes the same of a request for both.
    """
    asked, copies = mirrored(requests, seed=seed)
    asked, feedback = _labelled(asked, right, seed=seed)
    copies, _ = _labelled(copies, right, seed=seed, draw=seed if same else seed + 10_000)
    return asked, copies, feedback


def _labelled(table: pa.Table, right: Right, *, seed: int, draw: int | None = None) -> tuple[pa.Table, pa.Table]:
    of_requests, requests = np.random.default_rng((seed, 1)), len(table)
    positive, man = of_requests.random((2, requests)) < np.array([[0.4], [0.5]])
    random = np.random.default_rng((seed if draw is None else draw, 2))
    new = table["arm"].to_numpy(zero_copy_only=False) == "new"

    def with_chance(pair: tuple[float, float]) -> np.ndarray:
        return random.random(requests) < np.where(new, pair[1], pair[0])

    selected = np.where(with_chance(right.accuracies), positive, ~positive) | (man & with_chance(right.men))
    table = with_column(table, "predictions", np.where(selected, 0.8, 0.2)[:, np.newaxis].tolist())
    table = with_column(table, "features", [json.dumps({"gender": ["male" if one else "female"]}) for one in man])
    order = random.permutation(np.flatnonzero(with_chance(right.came)))
    feedback = pa.table(
        [
            [BEGIN + timedelta(hours=1, seconds=place) for place in range(len(order))],
            table["request_id"].take(order),
            pa.nulls(len(order), pa.float64()),
            [["true" if one else "false"] for one in positive[order]],
        ],
        schema=FEEDBACK,
    )
    return table, feedback


def _write(folder: Path, number: int, **tables: pa.Table) -> None:
    for name, table in tables.items():
        (folder / name / "2026-01-01").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / name / "2026-01-01" / f"{number}.parquet")


def captured(requests: int, arms: Arms, *, seed: int, unit: int | None) -> tuple[pa.Table, pa.Table]:
    """Both tables."""
    random = np.random.default_rng(seed)
    callers = np.arange(requests) // (unit or 1)
    new = (random.random(requests) < arms.weight)[callers]
    at = _seconds_after(BEGIN, requests)
    ids = [f"{seed}-{number}" for number in range(requests)]
    regions = random.choice(["north", "south"], requests)

    def of(pair: tuple[float, float]) -> np.ndarray:
        return np.where(new, pair[1], pair[0])

    table = pa.table(
        [
            at,
            ids,
            np.where(new, "new", "old"),
            np.where(new, "2", "1"),
            np.where(new, arms.weight, 1 - arms.weight),
            np.zeros(requests, bool),
            callers.astype(str) if unit else pa.nulls(requests, pa.string()),
            np.where(random.random(requests) < of(arms.errors), 500, 200).astype(np.int16),
            random.lognormal(np.log(of(arms.latencies)), 0.4),
            pa.nulls(requests, pa.float64()),
            np.where(regions == "north", *(json.dumps({"region": [region]}) for region in ("north", "south"))),
            [["probability"]] * requests,
            np.clip(random.normal(of(arms.predictions), 0.1), 0, 1)[:, np.newaxis].tolist(),
        ],
        schema=REQUESTS,
    )
    feedback = pa.table(
        [
            _seconds_after(BEGIN + timedelta(hours=1), requests),
            ids,
            (random.random(requests) < of(arms.rewards)) * 1.0,
            pa.nulls(requests, pa.list_(pa.string())),
        ],
        schema=FEEDBACK,
    )
    return table, feedback.take(np.arange(0, requests, 2))


def _seconds_after(begin: datetime, count: int) -> pa.Array:
    """A moment, and one each second after it; timestamps of microseconds, UTC."""
    seconds = int(begin.timestamp()) + np.arange(count)
    return pa.array(seconds * 10**6).cast(REQUESTS.field("at").type)
