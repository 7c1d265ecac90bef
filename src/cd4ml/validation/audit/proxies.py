"""Proxies: how well the other features tell a sensitive column, so that leaving it out hides nothing."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from cd4ml.contracts.findings import ENOUGH_ROWS, Finding, Proxy
from cd4ml.validation.audit import areas
from cd4ml.validation.audit.codes import Coded
from cd4ml.validation.audit.sample import Sample

MOST_GROUPS = 3
"""Of a column, the largest ones."""
TOLD = 0.8
"""A column is told where an area is surely above this."""
NAMED = 3
BEST = 5
"""Features that are kept for each group."""


def measure(features: Coded, rows: np.ndarray, groups: Mapping[str, pa.ChunkedArray]) -> Iterator[Proxy]:
    """Measures how well each feature tells the groups of the sensitive columns, and how well all do together.

    Args:
        features: What is asked.
        rows: Where its rows stand in the table.
        groups: By sensitive column, the group of each row of the table as text.
    """
    for column, values in groups.items():
        of_rows = values.take(pa.array(rows))
        counts = of_rows.value_counts()
        sizes = counts.field("counts").to_numpy()
        largest = np.argsort(-sizes, kind="stable")[: MOST_GROUPS if len(sizes) > 2 else 1]
        for group in (counts.field("values")[int(place)].as_py() for place in largest):
            inside = np.asarray(of_rows.to_numpy() == group)
            asked = features.only([name for name in features.names if name != column])
            sample = Sample(asked, inside, areas.folds(inside), rows).smaller()
            if sample.rarer >= ENOUGH_ROWS:
                yield from _of_group(column, str(group), sample)


def examine(proxies: Iterable[Proxy]) -> Iterator[Finding]:
    """Finds the sensitive columns that the features tell, each by the group that they tell best."""
    best: dict[str, Proxy] = {}
    proxies = list(proxies)
    for proxy in proxies:
        if proxy.column not in best or proxy.auc > best[proxy.column].auc:
            best[proxy.column] = proxy
    for column, found in best.items():
        if found.interval[0] < TOLD:
            continue
        same = [one for one in proxies if (one.column, one.group) == (column, found.group) and one.by]
        alone = sorted(same, key=lambda one: -one.auc)[:NAMED]
        named = ", ".join(f"{one.by!r} {one.auc:.3f}" for one in alone)
        message = (
            f"the features tell {column!r} with AUC {found.auc:.3f} [{found.interval[0]:.3f}, "
            f"{found.interval[1]:.3f}] ({found.group!r} from all others; alone {named}): a model without the column "
            "can treat its groups apart all the same; measure its fairness, or leave out what tells it"
        )
        yield Finding("proxy", "warning", "all", column, found.auc, message, found.interval)


def _of_group(column: str, group: str, sample: Sample) -> Iterator[Proxy]:
    together, _ = sample.together(sample.features.names)
    yield Proxy(column, group, "", together.value, together.interval)
    for name, area in sorted(sample.alone.items(), key=lambda one: -one[1].value)[:BEST]:
        yield Proxy(column, group, name, area.value, area.interval)
