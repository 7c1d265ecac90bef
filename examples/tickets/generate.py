"""Makes the tickets of the tickets example: which team answered each.

    .venvs/tools/bin/python examples/tickets/generate.py [--rows 6000] [--seed 11] [--output FILE]

A ticket goes to one of four teams, of which one gets few. What it is about follows from the topic that the customer
chose, which often is the wrong one, and from what is known of the order.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TEAMS = ("account", "billing", "delivery", "technical")
TOPICS = {
    "my parcel": (-0.5, -0.2, 1.5, -0.2),
    "my invoice": (-0.2, 1.5, -0.2, -0.5),
    "it does not work": (-0.2, -0.5, 0.1, 1.4),
    "my password": (2.0, -0.4, -1.0, 0.6),
    "something else": (0.0, 0.2, 0.4, 0.2),
}
"""How likely each team is, in log odds."""


def tickets(rows: int, seed: int) -> pa.Table:
    """Draws tickets.

    Args:
        rows: How many.
        seed: The same seed gives the same tickets.
    """
    random = np.random.default_rng(seed)
    topic = random.choice(list(TOPICS), rows, p=[0.28, 0.22, 0.2, 0.08, 0.22])
    channel = random.choice(["mail", "form", "chat", "phone"], rows, p=[0.35, 0.3, 0.25, 0.1])
    product = random.choice(["headset", "keyboard", "licence", "monitor", "tablet"], rows, p=[0.2, 0.2, 0.2, 0.2, 0.2])
    ordered = random.random(rows) < 0.85
    days = np.where(ordered, random.gamma(1.2, 9.0, rows), np.nan).round(1)
    amount = np.where(ordered, random.lognormal(4.3, 0.8, rows), np.nan).round(2)
    attachments = random.poisson(0.5, rows)
    words = np.clip(random.lognormal(4.0, 0.7, rows), 3, 900).astype(np.int32)
    first = random.random(rows) < 0.6
    odds = np.array([TOPICS[one] for one in topic])
    odds[:, 0] += 1.4 * first - 0.3 * ordered - 1.2 + 0.9 * (channel == "phone")
    odds[:, 1] += 1.6 * (np.nan_to_num(amount) > 100) + 1.2 * (attachments > 0) - 0.5
    odds[:, 2] += np.where(ordered & (days < 8), 1.8, -1.2) - 3.0 * (product == "licence")
    odds[:, 3] += 1.2 * (np.nan_to_num(days) > 10) + 0.008 * np.minimum(words, 250) - 0.6 + (product == "licence")
    team = (odds + 0.45 * random.gumbel(size=odds.shape)).argmax(axis=1)
    return pa.table(
        {
            "ticket": [f"t{number:05}" for number in range(rows)],
            "opened_at": pa.array(
                np.datetime64("2025-03-01T08:00:00") + np.sort(random.integers(0, 200 * 86_400, rows))
            ).cast(pa.timestamp("s")),
            "language": random.choice(["de", "en", "fr"], rows, p=[0.5, 0.3, 0.2]),
            "channel": channel,
            "topic": topic,
            "product": product,
            "words": words,
            "attachments": pa.array(attachments, pa.int32()),
            "days_since_order": pa.array(days, from_pandas=True),
            "order_amount": pa.array(amount, from_pandas=True),
            "first_contact": first,
            "team": np.array(TEAMS)[team],
        }
    )


def main() -> None:
    """Writes the tickets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "data" / "tickets.parquet")
    arguments = parser.parse_args()

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(tickets(arguments.rows, arguments.seed), arguments.output)
    print(f"{arguments.output}: {arguments.rows:,} tickets")  # noqa: T201


if __name__ == "__main__":
    main()
