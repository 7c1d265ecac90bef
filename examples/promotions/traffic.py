"""Players who are offered a promotion in production, week after week, and who of them took it up (`cd4ml demo`).

From the drift on, many players come from a stream where the game is shown: they have played and spent little yet, and
take up a promotion because of friends and the newsletter, not because of what they spend.
"""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from generate import players

FROM_THE_STREAM = 0.6
"""The share of these players after the drift."""
SOONEST_DAYS, LATEST_DAYS = 7, 35
"""When it is known whether a promotion that was offered was taken up: it is open for so long."""


def rows(count: int, *, begin: datetime, until: datetime, drifted: bool, seed: int) -> pa.Table:
    """Draws players who are offered a promotion within a span of time.

    Args:
        count: How many.
        begin: The first moment.
        until: The moment that does not count any more.
        drifted: Whether many come from the stream.
        seed: The same seed gives the same players.

    Returns:
        A table as `generate.players` gives, the earliest first, and `known_at`: when it is known what a player did.
    """
    random = np.random.default_rng(seed)
    table = players(count, seed)
    if drifted:
        table = _from_the_stream(table, random)
    offered = begin.timestamp() + np.sort(random.random(count)) * (until - begin).total_seconds()
    known = offered + random.uniform(SOONEST_DAYS, LATEST_DAYS, count) * 24 * 3600
    ids = pa.array([f"p{seed}-{number:07d}" for number in range(count)])
    table = _with(table, "player_id", ids)
    return _with(table, "offered_at", _moments(offered)).append_column("known_at", _moments(known))


def _from_the_stream(table: pa.Table, random: np.random.Generator) -> pa.Table:
    count = len(table)
    new = random.random(count) < FROM_THE_STREAM
    sessions = np.where(new, random.gamma(2.0, 1.2, count).round(2), table["sessions_per_week"].to_numpy())
    purchases = np.where(new, 0, table["purchases_90d"].to_numpy())
    friends = np.where(new, random.poisson(6, count), table["friends"].to_numpy())
    newsletter = random.random(count) < 0.5
    score = -3.0 + 2.8 * newsletter + 0.4 * (friends - 6)
    took = random.random(count) < 1 / (1 + np.exp(-score))
    for name, values in (("sessions_per_week", sessions), ("purchases_90d", purchases), ("friends", friends)):
        table = _with(table, name, pa.array(values, table.schema.field(name).type))
    own = {
        "acquisition": pa.array(["stream"] * count),
        "spend_90d": pa.array(np.zeros(count)),
        "newsletter": pa.array(newsletter),
        "took_promotion": pa.array(took),
    }
    for name, values in own.items():
        table = _with(table, name, pc.if_else(pa.array(new), values, table[name].combine_chunks()))
    return table


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def _moments(seconds: np.ndarray) -> pa.Array:
    return pa.array((seconds * 1e6).astype("datetime64[us]")).cast(pa.timestamp("us", tz="UTC"))
