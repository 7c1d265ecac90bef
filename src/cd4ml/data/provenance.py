"""Where the rows of a version come from, and what has changed since the one before, for the report on them."""

from pathlib import Path

from cd4ml.contracts import reference
from cd4ml.contracts.provenance import Provenance, RowChanges
from cd4ml.data import differences, table
from cd4ml.data.table import Commit
from cd4ml.errors import DataError

MOST_ROWS = 500_000
"""Of a version that is compared: both are in memory."""


def of_version(uri: str, version: int, *, before: str | Path) -> Provenance:
    """What the history of a dataset says of a version; the same whenever it is asked.

    It is compared with the version that the last model was trained on, where that is one of this dataset, and else with
    the one before it.

    Args:
        uri: Where the dataset's table lies.
        version: Of the dataset.
        before: The rows that the last model was trained on (`cd4ml.contracts.reference`); an empty file where there are
            none.

    Raises:
        DataError: There is no such dataset.
        DocumentError: What its history says cannot be read.
    """
    commits = {commit.number: commit for commit in table.commits(uri)}
    this = commits[version]
    earlier = commits.get(_trained_on(Path(before), this.about.name)) or _before(commits, version)
    about = this.about
    changes, uncompared = None, "it is the first version"
    if earlier:
        changes, uncompared = _changes(uri, this, earlier)
    return Provenance(about.source, about.mode, about.said, changes, uncompared)


def _trained_on(file: Path, dataset: str) -> int:
    """The version of a dataset that the last model was trained on."""
    if not file.stat().st_size:
        return table.NONE
    import pyarrow.parquet as pq

    kept = reference.read(pq.read_schema(file), str(file))
    return kept.version if kept.dataset == dataset else table.NONE


def _before(commits: dict[int, Commit], version: int) -> Commit | None:
    """The last version before this one that holds something else."""
    earlier = (commits[number] for number in sorted(commits, reverse=True) if number < version)
    return next((one for one in earlier if one.about.digest != commits[version].about.digest), None)


def _changes(uri: str, this: Commit, earlier: Commit) -> tuple[RowChanges | None, str]:
    """What changed; or why that is not known."""
    since, rows = earlier.about.version, max(this.about.rows, earlier.about.rows)
    if rows > MOST_ROWS:
        asking = f"`cd4ml datasets diff {this.about.name} {since} {this.about.version}`"
        return None, f"it has more than {MOST_ROWS:,} rows; {asking} compares them"
    try:
        found = differences.between(
            uri, before=earlier.number, after=this.number, key=this.about.key_in_table, examples=0
        )
    except DataError as error:
        return None, str(error)
    counts = RowChanges(
        since,
        added=found.added,
        removed=found.removed,
        changed=found.changed,
        same=found.same,
        columns={one.column: one.rows for one in found.columns},
        new_columns=tuple(found.new_columns),
        gone_columns=tuple(found.gone_columns),
        retyped=found.retyped,
    )
    return counts, ""
