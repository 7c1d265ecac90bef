"""A store in a bucket of MinIO or S3.

A folder is first claimed (`.writer`, created only where there is none), then filled, then marked (`.complete`):
a reader sees none that is claimed and not marked. A writer that was killed leaves its name taken and without the mark;
another goes on with it only where both have said, in the claim, that they write the same.
The mark is repeated beside the folder (`.complete-NAME`), so that one listing of one level tells what is there; where
it is not beside (the writer was an older one, or killed between the two), the folder itself is asked.
"""

import hashlib
import mimetypes
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from http import HTTPStatus
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path, PurePosixPath
from typing import cast
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
from cd4ml.storage import LONGEST_PART, S3, AlreadyStoredError, Content, Store, is_name, region

AMAZON = "https://s3.amazonaws.com"
WRITER, COMPLETE = ".writer", ".complete"
SIGNED_FOR = timedelta(minutes=5)
CONNECTIONS = 32
_RETRIES = urllib3.Retry(total=4, backoff_factor=0.5, status_forcelist=[500, 502, 503, 504])
_CREATING = _RETRIES.new(status_forcelist=[409, 500, 502, 503, 504], raise_on_status=False)
"""Amazon answers 409 while another creates the same object, who may fail yet: asked again, it knows."""


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
            listed = self._listed(folder)
            names = {one.rstrip("/") for one in listed if is_name(one.rstrip("/"))}
            unmarked = [one for one in listed if one.endswith("/") and f"{COMPLETE}-{one.rstrip('/')}" not in listed]
            with ThreadPoolExecutor(CONNECTIONS) as asking:
                unfinished = asking.map(lambda one: self._is_unfinished(f"{folder}{one}"), unmarked)
                names -= {one.rstrip("/") for one, is_so in zip(unmarked, unfinished, strict=True) if is_so}
        return sorted(names)

    def below(self, name: str) -> dict[str, datetime]:  # noqa: D102
        folder = self._key(name) + "/"
        with _told(f"store {self.location}: cannot list {name}"):
            listed = _connection().list_objects(self._bucket, prefix=folder, recursive=True)
            times = {str(one.object_name).removeprefix(folder): one.last_modified for one in listed}
        return {f"{name}/{one}": time for one, time in times.items() if time and all(map(is_name, one.split("/")))}

    @contextmanager
    def open(self, name: str) -> Iterator[BufferedReader]:  # noqa: D102
        with _told(f"store {self.location}: cannot read {name}"), self._opened(self._key(name)) as stream:
            yield stream

    def add(self, name: str, content: Content) -> None:  # noqa: D102
        if isinstance(content, Path) and not content.is_file():
            raise StorageError(f"store {self.location}: cannot write {name}: no such file: {content}")
        with _told(f"store {self.location}: cannot write {name}"):
            if not self._create(self._key(name), content):
                raise AlreadyStoredError(f"store {self.location}: {name} is already there")

    def _replace(self, name: str, text: str) -> None:
        with _told(f"store {self.location}: cannot write {name}"):
            data = text.encode()
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            _connection().put_object(self._bucket, self._key(name), BytesIO(data), len(data), content_type=kind)

    def add_folder(self, name: str, contents: Mapping[str, Content], *, claim: str = "") -> None:  # noqa: D102
        files = self._files(name, contents)
        folder = self._key(name)
        parent, _, last = folder.rpartition("/")
        with _told(f"store {self.location}: cannot write {name}"):
            claimed = self._create(f"{folder}/{WRITER}", claim or uuid.uuid4().hex)
            if not claimed and not (claim and self._is_left(folder, claim)):
                raise AlreadyStoredError(f"store {self.location}: {name} is already there")
            for child, content in files.items():
                self._put(f"{folder}/{child}", content)
            self._put(f"{folder}/{COMPLETE}", "")
            self._put(f"{parent}/{COMPLETE}-{last}".lstrip("/"), "")

    def _listed(self, prefix: str) -> set[str]:
        """What lies one level below a prefix of keys, without it; what ends with `/` has more below."""
        listed = _connection().list_objects(self._bucket, prefix=prefix)
        return {str(one.object_name).removeprefix(prefix) for one in listed}

    def _is_unfinished(self, folder: str) -> bool:
        """Whether a folder was claimed and is not marked; what was never claimed is no folder that is written whole."""
        return "" in self._listed(f"{folder}{WRITER}") and "" not in self._listed(f"{folder}{COMPLETE}")

    def _is_left(self, folder: str, claim: str) -> bool:
        """Whether a folder was claimed by one who writes the same, and is not marked yet."""
        with self._opened(f"{folder}/{WRITER}") as stream:
            return stream.read() == claim.encode() and self._is_unfinished(f"{folder}/")

    def _files(self, name: str, contents: Mapping[str, Content]) -> dict[str, Content]:
        """The contents as files, so that what is missing is found before anything is written."""
        files: dict[str, Content] = {}
        for child, content in contents.items():
            if isinstance(content, Path) and content.is_dir():
                inside = sorted(path for path in content.rglob("*") if path.is_file())
                files |= {f"{child}/{path.relative_to(content).as_posix()}": path for path in inside}
            elif not isinstance(content, Path) or content.is_file():
                files[child] = content
            else:
                raise StorageError(f"store {self.location}: cannot write {name}: no such file or folder: {content}")
        return files

    def _put(self, key: str, content: Content) -> None:
        if isinstance(content, Path):
            _connection().fput_object(self._bucket, key, str(content))
        else:
            data = _bytes(content)
            _connection().put_object(self._bucket, key, BytesIO(data), len(data))

    def _create(self, key: str, content: Content) -> bool:
        """Writes an object where there is none; false where there is another.

        The client has no conditional writes, so a signed URL is used. A request that was sent again after its answer
        got lost finds what it wrote itself.
        """
        url = _connection().presigned_put_object(self._bucket, key, expires=SIGNED_FOR)
        with content.open("rb") if isinstance(content, Path) else BytesIO(_bytes(content)) as body:
            headers = {"If-None-Match": "*", "Content-Length": str(body.seek(0, os.SEEK_END))}
            body.seek(0)
            answer = _http().request("PUT", url, body=body, headers=headers, retries=_CREATING)
            if answer.status == HTTPStatus.PRECONDITION_FAILED:
                return _was_sent_again(answer) and self._holds(key, body)
        if answer.status != HTTPStatus.OK:
            raise S3Error.fromxml(answer)
        return True

    def _holds(self, key: str, body: BufferedReader | BytesIO) -> bool:
        body.seek(0)
        with self._opened(key) as stored:
            return hashlib.file_digest(stored, "sha256").digest() == hashlib.file_digest(body, "sha256").digest()

    @contextmanager
    def _opened(self, key: str) -> Iterator[BufferedReader]:
        answer = cast(urllib3.HTTPResponse, _connection().get_object(self._bucket, key))
        answer.auto_close = False  # else whoever reads to the end and once more is told that it is closed
        try:
            yield BufferedReader(cast(RawIOBase, answer))
        finally:
            answer.close()
            answer.release_conn()

    def _key(self, name: str) -> str:
        return self.uri(name).removeprefix(f"{S3}{self._bucket}/")


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _was_sent_again(answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether a request before this one may have been heard."""
    history = answer.retries.history if answer.retries else ()
    return any(one.status != HTTPStatus.CONFLICT for one in history)


@contextmanager
def downloaded(uri: str) -> Iterator[Path]:
    """An object, or all objects under a name, in a temporary folder; without the marks of a folder that the store made.

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
                if name in (f"{key}/{WRITER}", f"{key}/{COMPLETE}"):
                    continue  # the store's own
                if name == key or name.startswith(f"{key}/"):
                    found = True
                    _connection().fget_object(bucket, name, str(_within(target, name.removeprefix(key))))
        if not found:
            raise StorageError(f"{uri}: nothing is stored there; check the name")
        yield target


def etags(uri: str, prefix: str) -> dict[str, str]:
    """The ETags of the objects of a bucket whose names begin so, by name; folders are none.

    Raises:
        StorageError: The bucket cannot be asked.
    """
    bucket, _ = _parts(uri)
    with _told(f"{uri}/{prefix}: cannot be listed"):
        listed = _connection().list_objects(bucket, prefix=prefix, recursive=True)
        return {str(one.object_name): str(one.etag) for one in listed if not str(one.object_name).endswith("/")}


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
        retries=_RETRIES,
        maxsize=CONNECTIONS,
    )


def _connection() -> Minio:
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL") or AMAZON)
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not os.environ.get(name)]
    if missing:
        elsewhere = "; AWS_ENDPOINT_URL names an S3 elsewhere" if endpoint.geturl() == AMAZON else ""
        raise StorageError(
            f"{' and '.join(missing)} not set: without them no store at {endpoint.geturl()} can be asked{elsewhere}"
        )
    return _client(endpoint.netloc, endpoint.scheme == "https", region())


@cache
def _client(host: str, secure: bool, region: str) -> Minio:
    """One for all requests: when a client is dropped, it closes the connections of its pool."""
    return Minio(host, credentials=EnvAWSProvider(), secure=secure, region=region, http_client=_http())


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
    except (OSError, ValueError) as error:  # the client's own word for a file where it wants a folder
        raise StorageError(f"{what}: {error}") from error


_REMEDIES = {
    "NoSuchKey": "no such object",
    "NoSuchBucket": "there is no such bucket; make it, or name another",
    "AccessDenied": "the user of AWS_ACCESS_KEY_ID may not do this; ask for a user who may",
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID is not known there; check the credentials",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the one of AWS_ACCESS_KEY_ID; check the credentials",
    "NotImplemented": "it has no conditional writes, on which every version rests; keep the store in another S3",
    "XMinioStorageFull": "the disk under it is full; give it more room",
}
