"""Tables that are audited: clean ones of many kinds, and what is planted into one of them."""

import numpy as np
import pyarrow as pa

from cd4ml.validation import audit
from cd4ml.validation.audit import Audited

SIZES = (1000, 6), (3000, 10), (8000, 20), (20000, 40)
RATES = 0.5, 0.3, 0.1


def clean(seed):
    """A table without anything to find; each seed has other sizes, kinds of columns, rates and missing values."""
    random = np.random.default_rng(seed)
    rows, columns = SIZES[seed % len(SIZES)]
    numbers = random.normal(size=(rows, columns))
    score = numbers @ random.choice([0, 0.3, 0.8], columns)
    made = {f"number {place}": _holed(random, numbers[:, place]) for place in range(columns)}
    for values in (2, 5, 30):
        text = random.integers(0, values, rows)
        score += random.normal(size=values)[text]
        made[f"text {values}"] = _holed(random, np.char.add("v", text.astype(str)))
    made["spend"] = np.where(random.random(rows) < 0.4, 0, random.gamma(2, 10, rows)).round(2)
    made["happy"] = random.random(rows) < 0.3
    made["visitor"] = np.char.add("id", random.integers(0, rows // 3, rows).astype(str))
    made["key"] = np.arange(rows)
    made["offered_at"] = pa.array(random.integers(0, 10**9, rows), pa.timestamp("s"))
    made["joined_at"] = pa.array(random.integers(-(10**9), 0, rows), pa.timestamp("s"))
    rate = RATES[seed % len(RATES)]
    noisy = score + random.logistic(size=rows)
    return pa.table({**made, "label": noisy > np.quantile(noisy, 1 - rate)})


def noise(seed, rows=300, columns=500):
    """A wide table of which no column says anything of another."""
    random = np.random.default_rng(seed)
    numbers = {f"number {place}": random.normal(size=rows) for place in range(columns)}
    label, gender = random.random(rows) < 0.45, random.choice(["f", "m"], rows)
    return pa.table({**numbers, "key": random.permutation(rows), "label": label, "gender": gender})


def found_in(table, **asked):
    """The findings of a table of these columns: `key`, `label`, and `offered_at` where there is one."""
    time = "offered_at" if "offered_at" in table.column_names else ""
    ends = [0, int(0.8 * len(table)), int(0.9 * len(table)), len(table)]
    parts = {
        split: table.slice(ends[at], ends[at + 1] - ends[at]) for at, split in enumerate(("train", "eval", "test"))
    }
    return list(examined(table, parts, time=time, **asked).findings)


def examined(table, parts=None, **asked):
    """The whole audit of a table."""
    named = {"label": "label", "key": "key", "exclude": [], "time": "", "sensitive": {}, **asked}
    return audit.examine(Audited(parts or {"train": table}, table, outcome=table["label"].cast(pa.int8()), **named))


def alarms(table, **asked):
    """The findings that are no notes."""
    return [finding for finding in found_in(table, **asked) if finding.severity != "note"]


def having(table, **columns):
    """The table with columns more."""
    for name, values in columns.items():
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    return table


def _holed(random, values):
    return pa.array(values, mask=random.random(len(values)) < random.choice([0, 0.02, 0.3]))
