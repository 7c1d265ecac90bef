"""Makes the players of the promotions example: who was offered a promotion, and who took it up.

    .venvs/tools/bin/python examples/promotions/generate.py [--rows 200000] [--seed 7] [--output FILE]

The uptake depends on the other columns, with a bias that the evaluation is to find: in the region `south`
a broken payment provider loses 45% of the uptakes, so that a model learns to pass these players over.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

REGIONS = {"north": 0.30, "east": 0.25, "west": 0.25, "south": 0.20}
LOST_UPTAKES = {"south": 0.45}


def players(rows: int, seed: int) -> pa.Table:
    """Draws players.

    Args:
        rows: How many.
        seed: The same seed gives the same players.

    Returns:
        A table of `rows` rows: the key `player_id`, the time `offered_at`, features of every kind, the
        sensitive attribute `gender`, and the label `took_promotion`.
    """
    random = np.random.default_rng(seed)
    region = random.choice(list(REGIONS), rows, p=list(REGIONS.values()))
    platform = random.choice(["mobile", "pc", "console"], rows, p=[0.5, 0.3, 0.2])
    acquisition = random.choice(["organic", "advert", "friend", "store"], rows, p=[0.4, 0.3, 0.2, 0.1])
    gender = random.choice(["female", "male", "undisclosed"], rows, p=[0.42, 0.50, 0.08])
    age = np.clip(random.gamma(6.0, 5.0, rows) + 13, 13, 90).astype(np.int64)
    sessions = random.gamma(2.0, 2.5, rows).round(2)
    friends = random.poisson(4 + 6 * (acquisition == "friend"))
    purchases = random.poisson(np.clip(0.2 + 0.12 * sessions + 0.8 * (platform == "console"), 0, 8))
    spend = np.where(purchases > 0, random.gamma(2.0, 6.0, rows) * purchases, 0.0).round(2)
    days_away = random.exponential(30 / (1 + sessions)).round(1)
    subscribed = random.random(rows) < 1 / (1 + np.exp(2.2 - 0.25 * purchases))
    newsletter = random.random(rows) < 0.35

    score = (
        -2.1
        + 0.22 * sessions
        + 0.55 * np.log1p(spend)
        - 0.09 * days_away
        + 0.7 * newsletter
        + 0.9 * subscribed * (platform != "mobile")
        + 0.05 * friends
        - 0.0022 * (age - 34) ** 2
        + 0.4 * (acquisition == "friend")
        - 0.5 * (acquisition == "advert")
    )
    took = random.random(rows) < 1 / (1 + np.exp(-score))
    for biased_region, lost in LOST_UPTAKES.items():
        took &= ~((region == biased_region) & (random.random(rows) < lost))

    return pa.table(
        {
            "player_id": pa.array([f"p{number:07d}" for number in range(rows)]),
            "offered_at": _offered_at(random, rows),
            "region": pa.array(region),
            "platform": pa.array(platform),
            "acquisition": pa.array(acquisition, mask=random.random(rows) < 0.04),
            "gender": pa.array(gender),
            "age": pa.array(age, mask=random.random(rows) < 0.06),
            "sessions_per_week": pa.array(sessions),
            "friends": pa.array(friends),
            "purchases_90d": pa.array(purchases),
            "spend_90d": pa.array(spend, mask=random.random(rows) < 0.03),
            "days_since_session": pa.array(days_away),
            "subscribed": pa.array(subscribed),
            "newsletter": pa.array(newsletter, mask=random.random(rows) < 0.02),
            "took_promotion": pa.array(took),
        }
    )


def _offered_at(random: np.random.Generator, rows: int) -> pa.Array:
    seconds = np.sort(random.integers(0, 180 * 24 * 3600, rows))
    moments = np.datetime64("2026-03-01T00:00:00", "s") + seconds
    return pa.array(moments.astype("datetime64[us]")).cast(pa.timestamp("us", tz="UTC"))


def main() -> None:
    """Writes the players as Parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "data" / "players.parquet")
    arguments = parser.parse_args()

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = arguments.output.with_suffix(".unfinished")
    pq.write_table(players(arguments.rows, arguments.seed), unfinished)
    unfinished.replace(arguments.output)
    print(f"{arguments.output}: {arguments.rows:,} players")  # noqa: T201


if __name__ == "__main__":
    main()
