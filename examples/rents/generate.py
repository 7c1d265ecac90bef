"""Makes the flats of the rents example: what each was let for.

    .venvs/tools/bin/python examples/rents/generate.py [--rows 6000] [--seed 5] [--output FILE]

The rent is in euros a month: mostly the area, which is worth more in some districts and furnished, and less in what was
built after the war and is high up without a lift.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DISTRICTS = {"Altstadt": 17.5, "Hafen": 15.0, "Nordend": 12.5, "Siedlung": 10.0, "Westend": 14.0}
"""Euros a square metre."""


def flats(rows: int, seed: int) -> pa.Table:
    """Draws flats.

    Args:
        rows: How many.
        seed: The same seed gives the same flats.
    """
    random = np.random.default_rng(seed)
    district = random.choice(list(DISTRICTS), rows, p=[0.15, 0.15, 0.25, 0.25, 0.2])
    area = np.clip(random.gamma(6.0, 11.5, rows), 15, 240).round(1)
    rooms = np.clip(np.round(area / 24 + random.normal(0, 0.6, rows)), 1, 8)
    built = random.choice([1910, 1935, 1955, 1965, 1975, 1995, 2015], rows) + random.integers(0, 8, rows)
    floor = random.integers(0, 7, rows)
    lift = (random.random(rows) < 0.25) | (built > 2005)
    furnished = random.random(rows) < 0.15
    by_metre = (
        np.array([DISTRICTS[one] for one in district])
        * (1 - 0.12 * (np.abs(built - 1965) < 12) + 0.14 * (built > 2005))
        * (1 - 0.02 * (floor > 2) * (floor - 2) * ~lift)
        * (1 + 0.22 * furnished)
    )
    rent = (90 + area * by_metre * (1 - area / 1500)) * random.lognormal(0, 0.09, rows)
    return pa.table(
        {
            "flat": [f"f{number:05}" for number in range(rows)],
            "let_on": pa.array(np.datetime64("2025-01-01") + np.sort(random.integers(0, 365, rows))).cast(
                pa.timestamp("s")
            ),
            "district": district,
            "area_m2": area,
            "rooms": rooms.astype(np.int32),
            "built": pa.array(built, pa.int32(), mask=random.random(rows) < 0.06),
            "floor": pa.array(floor, pa.int32()),
            "lift": lift,
            "furnished": furnished,
            "agent": random.choice(["private", "Adler", "Blum", "Cron"], rows, p=[0.4, 0.2, 0.2, 0.2]),
            "rent": rent.round(2),
        }
    )


def main() -> None:
    """Writes the flats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "data" / "flats.parquet")
    arguments = parser.parse_args()

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(flats(arguments.rows, arguments.seed), arguments.output)
    print(f"{arguments.output}: {arguments.rows:,} flats")  # noqa: T201


if __name__ == "__main__":
    main()
