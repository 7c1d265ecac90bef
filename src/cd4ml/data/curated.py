"""A schema that people keep: a file of the world outside, which later tasks see as they see the splits."""

import hashlib
from pathlib import Path

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
    return _digest(_read(schema)) if schema else ""


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
    if _digest(content) != expected:
        raise DataError(f"curated_schema: {schema}: has changed since this run began; start it again")
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_bytes(content)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}" if content else ""


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
