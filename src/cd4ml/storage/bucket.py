"""A store in a bucket of MinIO or S3.

A folder is first claimed (`.writer`, created only where there is none), then filled, then marked (`.complete`):
a reader sees none without the mark. A writer that was killed leaves its name taken and without the mark.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from http import HTTPStatus
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio, S3Error
from minio.credentials import EnvAWSProvider
from minio.error import MinioException
from minio.helpers import check_bucket_name

from cd4ml.errors import StorageError
from cd4ml.names import shown
from cd4ml.proxies import is_near
from cd4ml.storage import LONGEST_PART, S3, AlreadyStoredError, Store

AMAZON = "https://s3.amazonaws.com"
WRITER, COMPLETE = ".writer", ".complete"
SIGNED_FOR = timedelta(minutes=5)


class S3Store(Store):
    """A store under a prefix of a bucket."""

    def __init__(self, location: str) -> None:
        """Names the store; the connection is made when it is first needed.

        Raises:
            StorageError: The location is not `s3://bucket` or `s3://bucket/prefix`.
        """
        self.location = location.rstrip("/")
        self._bucket, self._prefix = _parts(self.location)

    def children(self, name: str) -> list[str]:  # noqa: D102
        folder = self._key(name) + "/"
        with _told(f"store {self.location}: cannot list {name}"):
            listed = _connection().list_objects(self._bucket, prefix=folder, recursive=True)
            paths = [PurePosixPath(str(one.object_name).removeprefix(folder)) for one in listed]
        return sorted(
            {path.parts[0] for path in paths if len(path.parts) == 1 or path.parts[1:] == (COMPLETE,)}
            - {WRITER, COMPLETE}
        )

    def read(self, name: str) -> str:  # noqa: D102
        with _told(f"store {self.location}: cannot read {name}"):
            return self._content(self._key(name))

    def add(self, name: str, text: str) -> None:  # noqa: D102
        with _told(f"store {self.location}: cannot write {name}"):
            if not self._create(self._key(name), text):
                raise AlreadyStoredError(f"store {self.location}: {name} is already there")

    def add_folder(self, name: str, contents: Mapping[str, Path | str]) -> None:  # noqa: D102
        files = self._files(name, contents)
        folder = self._key(name)
        with _told(f"store {self.location}: cannot write {name}"):
            if not self._create(f"{folder}/{WRITER}", uuid.uuid4().hex):
                raise AlreadyStoredError(f"store {self.location}: {name} is already there")
            for child, content in files.items():
                self._put(f"{folder}/{child}", content)
            self._put(f"{folder}/{COMPLETE}", "")

    def _files(self, name: str, contents: Mapping[str, Path | str]) -> dict[str, Path | str]:
        """The contents as files, so that what is missing is found before anything is written."""
        files: dict[str, Path | str] = {}
        for child, content in contents.items():
            if isinstance(content, Path) and content.is_dir():
                inside = sorted(path for path in content.rglob("*") if path.is_file())
                files |= {f"{child}/{path.relative_to(content).as_posix()}": path for path in inside}
            elif isinstance(content, str) or content.is_file():
                files[child] = content
            else:
                raise StorageError(f"store {self.location}: cannot write {name}: no such file or folder: {content}")
        return files

    def _put(self, key: str, content: Path | str) -> None:
        if isinstance(content, str):
            data = content.encode()
            _connection().put_object(self._bucket, key, BytesIO(data), len(data))
        else:
            _connection().fput_object(self._bucket, key, str(content))

    def _create(self, key: str, text: str) -> bool:
        """Writes an object where there is none; false where there is another.

        The client has no conditional writes, so a signed URL is used. A request that was sent again after its answer
        got lost finds what it wrote itself.
        """
        url = _connection().presigned_put_object(self._bucket, key, expires=SIGNED_FOR)
        answer = _http().request("PUT", url, body=text.encode(), headers={"If-None-Match": "*"})
        if answer.status == HTTPStatus.PRECONDITION_FAILED:
            return self._content(key) == text
        if answer.status == HTTPStatus.CONFLICT:  # another writer creates it at this moment
            return False
        if answer.status != HTTPStatus.OK:
            raise S3Error.fromxml(answer)
        return True

    def _content(self, key: str) -> str:
        answer = _connection().get_object(self._bucket, key)
        try:
            return bytes(answer.read()).decode()
        finally:
            answer.close()
            answer.release_conn()

    def _key(self, name: str) -> str:
        return self.uri(name).removeprefix(f"{S3}{self._bucket}/")


@contextmanager
def downloaded(uri: str) -> Iterator[Path]:
    """An object, or all objects under a name, in a temporary folder.

    Raises:
        StorageError: Nothing is there, or it cannot be read.
    """
    bucket, key = _parts(uri.rstrip("/"))
    with tempfile.TemporaryDirectory(prefix="cd4ml-") as folder:
        target = Path(folder) / (PurePosixPath(key).name or bucket)
        with _told(f"{uri}: cannot be read"):
            found = False
            for one in _connection().list_objects(bucket, prefix=key, recursive=True):
                name = str(one.object_name)
                if name == key or name.startswith(f"{key}/"):
                    found = True
                    _connection().fget_object(bucket, name, str(_within(target, name.removeprefix(key))))
        if not found:
            raise StorageError(f"{uri}: nothing is stored there; check the name")
        yield target


def _within(target: Path, below: str) -> Path:
    path = (target / below.lstrip("/")).resolve()
    if not path.is_relative_to(target.resolve()):
        raise StorageError(f"{below}: an object of this name would lie outside its folder; remove it from the store")
    return path


def _parts(uri: str) -> tuple[str, str]:
    try:
        parts = urlsplit(uri)
        if parts.scheme != "s3" or parts.query or parts.fragment:
            raise ValueError(uri)
        check_bucket_name(parts.netloc)
    except ValueError as error:
        raise StorageError(f"store {shown(uri)}: not a store; name a folder, or s3://bucket/prefix") from error
    if any(len(part.encode()) > LONGEST_PART for part in parts.path.split("/")):
        raise StorageError(f"store {shown(uri)}: a name has more than {LONGEST_PART} bytes; name another place")
    return parts.netloc, parts.path.lstrip("/")


@cache
def _http() -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=10, read=60),
        ca_certs=os.environ.get("SSL_CERT_FILE"),
        retries=urllib3.Retry(total=4, backoff_factor=0.5, status_forcelist=[500, 502, 503, 504]),
    )


def _connection() -> Minio:
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL") or AMAZON)
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not os.environ.get(name)]
    if missing:
        raise StorageError(
            f"{' and '.join(missing)} not set: without them no store at {endpoint.geturl()} can be asked"
        )
    return Minio(
        endpoint.netloc,
        credentials=EnvAWSProvider(),
        secure=endpoint.scheme == "https",
        region=region(),
        http_client=_http(),
    )


def region() -> str:
    """The region that the environment names."""
    return os.environ.get("AWS_REGION") or "us-east-1"


def delta_options() -> dict[str, str]:
    """What Delta Lake must be told beside the environment."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    options = {"AWS_REGION": region(), "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower()}
    if is_near(endpoint):
        # A proxy of its own, and that for no address, is how to turn off the one of the environment.
        options |= {"proxy_url": endpoint, "proxy_excludes": "*"}
    return options


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise StorageError(f"{what}: {_REMEDIES.get(error.code or '', error.message)}") from error
    except (MinioException, urllib3.exceptions.HTTPError, ParseError) as error:
        where = os.environ.get("AWS_ENDPOINT_URL") or AMAZON
        reason = getattr(error, "reason", None) or type(error).__name__  # never the URL, which may be a signed one
        raise StorageError(
            f"{what}: no S3 answers at {where} ({reason}); is it up, and is AWS_ENDPOINT_URL right?"
        ) from None
    except OSError as error:
        raise StorageError(f"{what}: {error}") from error


_REMEDIES = {
    "NoSuchKey": "no such object",
    "NoSuchBucket": "there is no such bucket; make it, or name another",
    "AccessDenied": "the user of AWS_ACCESS_KEY_ID may not do this; ask for a user who may",
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID is not known there; check the credentials",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the one of AWS_ACCESS_KEY_ID; check the credentials",
    "XMinioStorageFull": "the disk under it is full; give it more room",
}
