"""A schema that people keep: a file of the world outside, which later tasks see as they see the splits."""

from pathlib import Path

from cd4ml.data import pinned
from cd4ml.errors import DataError
from cd4ml.storage import check_uri, local_copy


def check(schema: str) -> str:
    """Makes sure that this names a file, and is not the schema itself.

    Raises:
        DataError: It is the text of a schema.
        StorageError: Nothing can lie there.
    """
    if "{" in schema or "\n" in schema:
        raise DataError("this is the text of a schema; write it to a file, and name its path or s3:// URI")
    return check_uri(schema) if schema else schema


def digest(schema: str) -> str:
    """Tells the content of a schema from every other: `sha256:`; empty where there is none.

    Args:
        schema: A path or `s3://` URI; empty where people keep none.

    Raises:
        DataError: It cannot be read.
    """
    return pinned.digest(_read(schema)) if schema else ""


def copy(schema: str, expected: str, target: str | Path) -> None:
    """Writes the schema for later tasks; an empty file where there is none.

    Args:
        schema: A path or `s3://` URI; empty where people keep none.
        expected: Its digest.
        target: The file to write.

    Raises:
        DataError: It cannot be read, or it is another by now.
    """
    content = _read(schema) if schema else b""
    changed = DataError(f"curated_schema: {schema}: has changed since this run began; start it again")
    pinned.hand_on(content, target, expected=expected, changed=changed)


def _read(schema: str) -> bytes:
    with local_copy(schema) as file:
        try:
            content = file.read_bytes()
            content.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"curated_schema: {schema}: cannot be read ({error}); name a file with the text of a TFDV schema"
            ) from error
    if not content.strip():
        raise DataError(f"curated_schema: {schema}: is empty; leave the argument out to have a schema inferred")
    return content
