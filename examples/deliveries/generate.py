"""Makes the parcels of the deliveries example: which of them arrived late.

    .venvs/tools/bin/python examples/deliveries/generate.py [--rows 24000] [--seed 11] [--output FOLDER]

The table is as an old dispatch system exports it: a CSV file a month, all but the last compressed; semicolons, decimal
commas and points for thousands, days as 31.12.2025, names with accents in Latin-1, `-` where a weight is not known,
customer numbers with leading zeros, and no key.
"""

import argparse
import csv
import gzip
import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

DEPOTS = {"Genève": 0.2, "Köln": 0.35, "Malmö": 0.25, "Zürich": 0.2}
FIRST_DAY, DAYS = np.datetime64("2025-01-01"), 365
COLUMNS = [
    "ordered on", "promised on", "customer no", "depot", "carrier", "weight (kg)", "declared value", "distance km",
    "items", "fragile", "evening slot", "late",
]  # fmt: skip


def parcels(rows: int, seed: int) -> list[list[str]]:
    """Draws parcels, in the order of their days.

    Args:
        rows: How many.
        seed: The same seed gives the same parcels.

    Returns:
        A list a parcel, of the text of each of `COLUMNS`.
    """
    random = np.random.default_rng(seed)
    day = np.sort(random.integers(0, DAYS, rows))
    promised = day + random.integers(1, 6, rows)
    customer = random.integers(1, max(2, rows // 12), rows)
    depot = random.choice(list(DEPOTS), rows, p=list(DEPOTS.values()))
    carrier = random.choice(["own", "van", "bike", "partner"], rows, p=[0.4, 0.3, 0.1, 0.2])
    weight = random.gamma(1.6, 4.0, rows)
    value = random.lognormal(4.5, 1.4, rows)
    distance = np.where(carrier == "bike", random.gamma(2.0, 2.0, rows), random.gamma(2.0, 60.0, rows))
    items = 1 + random.poisson(1.4, rows)
    fragile = random.random(rows) < 0.18
    evening = random.random(rows) < 0.3
    score = (
        -2.6
        + 0.007 * distance
        + 0.5 * (promised - day < 2)
        + 0.9 * ((day % 365) > 320)  # the weeks before the holidays
        + 0.8 * (carrier == "partner")
        - 1.1 * (carrier == "bike")
        + 0.04 * weight
        + 0.45 * evening
        + 0.5 * (depot == "Malmö") * (carrier == "van")
        + 0.7 * random.normal(size=rows // 12 + 2)[customer]  # some customers are never at home
    )
    late = random.random(rows) < 1 / (1 + np.exp(-score))
    unknown = random.random(rows) < 0.05
    columns: list[Sequence[str]] = [
        _days(day),
        _days(promised),
        [f"{number:06d}" for number in customer],
        depot.tolist(),
        carrier.tolist(),
        ["-" if gone else _number(one, 1) for one, gone in zip(weight, unknown, strict=True)],
        [_number(one, 2) for one in value],
        [_number(one, 1) for one in distance],
        [str(one) for one in items],
        _yes(fragile),
        _yes(evening),
        _yes(late),
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def files(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, bytes]]:
    """The files of a table of parcels: a name and the content of each month's."""
    months = sorted({_month(row) for row in rows})
    for month in months:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
        writer.writerow(COLUMNS)
        writer.writerows(row for row in rows if _month(row) == month)
        content = text.getvalue().encode("latin-1")
        last = month == months[-1]
        yield (f"{month}.csv", content) if last else (f"{month}.csv.gz", gzip.compress(content, mtime=0))


def _days(day: np.ndarray) -> list[str]:
    return [f"{one:%d.%m.%Y}" for one in (FIRST_DAY + day).astype(object)]


def _month(row: Sequence[str]) -> str:
    _, month, year = row[0].split(".")
    return f"{year}-{month}"


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,"))


def _yes(values: np.ndarray) -> list[str]:
    return ["yes" if one else "no" for one in values]


def main() -> None:
    """Writes the parcels, all files or none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "data" / "parcels")
    arguments = parser.parse_args()

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.output.parent) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        for name, content in files(parcels(arguments.rows, arguments.seed)):
            (made / name).write_bytes(content)
        shutil.rmtree(arguments.output, ignore_errors=True)
        made.rename(arguments.output)
    print(f"{arguments.output}: {arguments.rows:,} parcels")  # noqa: T201


if __name__ == "__main__":
    main()
