"""The rows of a window that speak for themselves: one a caller, drawn by chance, for rows of one caller are alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.validation.on_disk import OnDisk

MOST_ROWS = 20_000
"""That are drawn, of one version; drift that so many do not show has no effect that matters."""
COMPARED = ("at", "outputs", "predictions", "features")
"""The columns of a window that are read of what is drawn."""


@dataclass(frozen=True)
class Drawn:
    """Of the rows that one version predicted."""

    rows: int
    callers: int
    """That they are of; a request whose caller is not known is one."""
    table: pa.Table
    """One row of each caller, of some callers where they are many: the columns `COMPARED` of the window."""


@dataclass(frozen=True)
class Loudest:
    """The known caller with the most rows."""

    unit: str
    rows: int
    all_rows: int
    """Of all callers."""
    others: int
    """How many other callers there are."""


def draw(rows: OnDisk) -> Mapping[str, Drawn]:
    """Draws the rows of each version of the model; `""` is where the arm did not say which it was.

    Args:
        rows: As `cd4ml.contracts.window.ROWS` has them, with `features` where some were captured.
    """
    versions, names = _coded(rows.column("version"))
    callers = _callers(rows)
    counts = dict(zip(names.to_pylist(), np.bincount(versions).tolist(), strict=True))
    random = np.random.default_rng(0)
    firsts = {name: _one_each(callers, versions == code, random) for code, name in enumerate(counts)}
    chosen = {name: np.sort(some[:MOST_ROWS]) for name, some in firsts.items()}
    places = np.sort(np.concatenate([np.zeros(0, np.int64), *chosen.values()]))
    read = rows.select([name for name in COMPARED if name in rows.column_names])
    taken = read.take(pa.array(places)).combine_chunks()
    return {
        name: Drawn(counts[name], len(firsts[name]), taken.take(pa.array(np.searchsorted(places, some))))
        for name, some in chosen.items()
    }


def one_each(rows: pa.Table, places: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.int64]:
    """The places of one row of each caller among some rows, drawn by chance; in order.

    Args:
        rows: As `cd4ml.contracts.window.ROWS` has them.
        places: Of those among which is drawn, int64 [rows].
        seed: Of what is drawn.
    """
    own = np.zeros(len(rows), bool)
    own[places] = True
    return np.sort(_one_each(_callers(rows), own, np.random.default_rng(seed)))


def numbers(rows: pa.Table) -> npt.NDArray[np.int64]:
    """A number for each caller, from 0 on (int64 [rows]); a request whose caller is not known is one.

    Args:
        rows: With `unit` and `request_id`, as `cd4ml.contracts.window.ROWS` has them.
    """
    return np.unique(_callers(rows), return_inverse=True)[1].astype(np.int64)


def loudest(rows: OnDisk) -> Loudest | None:
    """The known caller with the most rows; None where no caller is known."""
    units, names = _coded(rows.column("unit").drop_null())
    if not len(units):
        return None
    counts = np.bincount(units)
    return Loudest(names[int(counts.argmax())].as_py(), int(counts.max()), rows.num_rows, len(names) - 1)


def _callers(rows: OnDisk | pa.Table) -> npt.NDArray[np.int64]:
    """A number for each caller, int64 [rows]."""
    units = rows.column("unit")
    if not units.null_count:
        return _coded(units)[0]
    return _coded(pc.coalesce(units, rows.column("request_id")))[0]


def _one_each(
    callers: npt.NDArray[np.int64], own: npt.NDArray[np.bool_], random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The place of one row of each caller among some rows, in any order."""
    places = random.permutation(np.flatnonzero(own))
    firsts = np.full(callers.max(initial=-1) + 1, -1)
    firsts[callers[places[::-1]]] = places[::-1]  # of one caller the last to be set stays, which is the first place
    return random.permutation(firsts[firsts >= 0])


def _coded(texts: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.StringArray]:
    """Texts as numbers from 0 on, int64 [rows], and the text of each; null is `""`."""
    encoded = texts.cast(pa.string()).fill_null("").dictionary_encode()
    if not encoded.num_chunks:
        return np.zeros(0, np.int64), pa.array([], pa.string())
    codes = np.concatenate([one.indices.to_numpy() for one in encoded.chunks])
    return codes.astype(np.int64), encoded.chunk(0).dictionary
