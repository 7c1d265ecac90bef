"""How often the audit alarms without a reason, and how long it takes.

    make bench NAME=audit

Clean tables are those that come with scikit-learn, each class of a label against the others, and some of its
generators. Then tables of random numbers and texts are timed; processor time says more where the machine has other
work.
"""

import resource
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from closing import at_most, close
from sklearn import datasets

from cd4ml.validation import audit
from cd4ml.validation.audit import Audited

TABLES_AN_ALARM = 20
"""At most one of so many clean tables has one."""
SIZES = (200_000, 20), (20_000, 500), (200_000, 500)
LABEL, KEY = "label", "key"


def main() -> None:
    """Measures, prints a table, and as the last line JSON."""
    alarms = {name: len(found(table)) for name, table in clean()}
    for name, count in alarms.items():
        print(f"{name:40} {count or 'no'} alarms")  # noqa: T201
    timed = {f"{rows} x {columns}": seconds(rows, columns) for rows, columns in SIZES}
    for size, (wall, processor) in timed.items():
        print(f"{size:40} {wall:6.1f} s, {processor:.1f} s of processors")  # noqa: T201
    with_alarms, most = sum(count > 0 for count in alarms.values()), len(alarms) / TABLES_AN_ALARM
    rows, columns = SIZES[0]
    close(
        "audit",
        seconds=timed[f"{rows} x {columns}"][0],
        peak_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        rows=rows,
        goals=[at_most("clean tables with an alarm", with_alarms, most)],
        clean=len(alarms),
        timed=timed,
    )


def clean() -> Iterator[tuple[str, pa.Table]]:
    """Tables in which nothing is wrong, by their names."""
    for name in ("breast_cancer", "wine", "iris", "digits"):
        known = getattr(datasets, f"load_{name}")()
        for place in range(len(known.target_names)) if len(known.target_names) > 2 else [1]:
            yield f"{name}, class {place}", as_table(known.data, known.target == place)
    known = datasets.load_diabetes(scaled=False)
    yield "diabetes, above the median", as_table(known.data, known.target > np.median(known.target))
    for seed in range(12):
        rows, informative = ((500, 3), (3000, 6), (20_000, 12))[seed % 3]
        numbers, label = datasets.make_classification(
            rows, n_informative=informative, n_redundant=seed % 4, class_sep=0.5 * 2 ** (seed // 4), random_state=seed
        )
        yield f"make_classification, seed {seed}", as_table(numbers, label == 1)
    for name in ("make_moons", "make_hastie_10_2", "make_friedman1"):
        options = {"noise": 0.3} if name == "make_moons" else {}
        numbers, label = getattr(datasets, name)(n_samples=4000, random_state=0, **options)
        yield name, as_table(numbers, label > np.median(label) if len(set(label)) > 2 else label > 0)


def as_table(numbers: np.ndarray, label: np.ndarray) -> pa.Table:
    """A table in an order that says nothing."""
    order = np.random.default_rng(0).permutation(len(label))
    columns = {f"x{place}": numbers[order, place] for place in range(numbers.shape[1])}
    return pa.table({**columns, LABEL: label[order], KEY: np.arange(len(label))})


def found(table: pa.Table) -> list[str]:
    """What the audit alarms of."""
    ends = (np.array([0, 0.8, 0.9, 1]) * len(table)).astype(int)
    parts = {name: table.slice(ends[at], ends[at + 1] - ends[at]) for at, name in enumerate(("train", "eval", "test"))}
    outcome = table[LABEL].cast(pa.int8())
    asked = Audited(parts, table, outcome=outcome, label=LABEL, key=KEY, exclude=[], time="", sensitive={})
    return [finding.message for finding in audit.examine(asked).findings if finding.severity != "note"]


def seconds(rows: int, columns: int) -> tuple[float, float]:
    """How long a table takes of which one column in five is text: by the clock, and by the processors."""
    random = np.random.default_rng(0)
    made = {f"x{place}": random.normal(size=rows) for place in range(4 * columns // 5)}
    texts = {f"c{place}": random.choice(["a", "b", "c", "d"], rows) for place in range(columns // 5)}
    table = pa.table({**made, **texts, LABEL: made["x0"] + random.normal(size=rows) > 0, KEY: np.arange(rows)})
    wall, processor = time.perf_counter(), time.process_time()
    found(table)
    return round(time.perf_counter() - wall, 1), round(time.process_time() - processor, 1)


if __name__ == "__main__":
    main()
