"""The small files of a capture: those of an hour that is over are merged, and days that are old are removed.

Of an hour one file is made, named as the hour, which says what it is made of: readers leave those out
(`cd4ml.contracts.captured`). They are removed later, when whoever listed them has read them. So readers neither lose a
row nor have one twice, and a process that is killed leaves nothing that the next look does not finish.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cd4ml.contracts import captured
from cd4ml.registry import clock
from cd4ml.storage.arrow import UNFINISHED

LATE_SECONDS = 600
"""How long after its hour a small file may still be written; what comes later stays a file of its own."""
READ_SECONDS = 600
"""How long files that are merged stay, for those who have listed them."""
ROWS = 20_000
"""Of a group within a merged file, about."""
_SMALL = re.compile(rf"([01][0-9]|2[0-3])[0-9]{{4}}-.*{re.escape(captured.SUFFIX)}")
"""What a server calls its files."""


def tidy(folder: Path, schema: pa.Schema, *, days: int) -> None:
    """Merges, and removes.

    Args:
        folder: Of one table.
        schema: The table's.
        days: How many whole days stay before that of today.

    Raises:
        OSError: A file cannot be read, written or removed; all else is done.
        pyarrow.ArrowException: A small file is none of Parquet; likewise.
    """
    now, failed = clock.exact(), None
    for day in sorted(filter(_is_day, folder.glob("????-??-??"))):
        if day.name < captured.day(now - timedelta(days=days)):
            shutil.rmtree(day)
            continue
        for hour, small in groupby(_small(day), lambda file: file.name[:2]):
            if _is_over(day.name, hour, now):
                try:
                    _tidy(list(small), day / f"{hour}{captured.SUFFIX}", schema)
                except (OSError, pa.ArrowException) as error:
                    failed = error
    if failed:
        raise failed


def _is_day(folder: Path) -> bool:
    """Whether it is one of a capture, and nothing that somebody else put there."""
    try:
        date.fromisoformat(folder.name)
    except ValueError:
        return False
    return folder.is_dir()


def _small(day: Path) -> list[Path]:
    return sorted(file for file in day.glob("[0-9]*") if _SMALL.fullmatch(file.name))


def _is_over(day: str, hour: str, now: datetime) -> bool:
    begin = datetime.strptime(f"{day} {hour} +0000", "%Y-%m-%d %H %z")
    return now > begin + timedelta(hours=1, seconds=LATE_SECONDS)


def _tidy(small: list[Path], merged: Path, schema: pa.Schema) -> None:
    """Merges the small files of an hour, or removes those that were merged."""
    if not merged.exists():
        if len(small) > 1:
            _merge(small, merged, schema)
    elif merged.stat().st_mtime < time.time() - READ_SECONDS:
        parts = captured.parts(str(merged))
        for file in small:
            if file.name in parts:
                file.unlink(missing_ok=True)


def _merge(small: list[Path], merged: Path, schema: pa.Schema) -> None:
    unfinished = merged.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    named = schema.with_metadata(captured.made_of(file.name for file in small))
    try:
        with pq.ParquetWriter(unfinished, named, compression="zstd") as writer:
            for table in _tables(small, schema):
                writer.write_table(table.cast(named))
        with suppress(FileExistsError):  # another router has merged them
            os.link(unfinished, merged)
    finally:
        unfinished.unlink(missing_ok=True)


def _tables(small: list[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """Their rows, so many at a time that memory holds them."""
    read: list[pa.Table] = []
    for file in small:
        read.append(pq.read_table(file, schema=schema))
        if sum(map(len, read)) >= ROWS:
            yield pa.concat_tables(read)
            read = []
    if read:
        yield pa.concat_tables(read)
