"""A table in a file of the web."""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from cd4ml.data.reading import Reading, Type
from cd4ml.data.sources import Source, without_password
from cd4ml.data.sources.credentials import Credential, credential
from cd4ml.errors import DataError
from cd4ml.storage import scratch

if TYPE_CHECKING:
    import httpx

    from cd4ml.data.rows import Rows

PREFIX = "cd4ml-fetch-"
"""Of the folders that are worked in; one that a killed process left is removed by the next."""
SECONDS = 60.0
"""Without a byte, until the connection counts as lost."""


def _address(url: str) -> str:
    if not url.startswith(("http://", "https://")) or not urlsplit(without_password(url)).hostname:
        raise ValueError(f"{url!r} is no address of the web; write one such as https://HOST/players.csv")
    return url


def _digest(digest: str) -> str:
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is no digest; write `sha256:` and the 64 digits that `sha256sum` prints")
    return digest


class HttpSource(Source):
    """A table in a file of the web."""

    http: Annotated[str, AfterValidator(_address)]
    """Its address, `https://…`."""
    digest: Annotated[str, AfterValidator(_digest)] | None = Field(default=None)
    """`sha256:…` of the file; another one is refused."""
    token: Credential | None = Field(default=None)
    """The environment variable that holds a token, which is sent as `Authorization: Bearer …`."""
    reading: Annotated[Reading | None, Field(alias="read")] = None
    """How it is read, where looking at it does not tell rightly."""
    types: dict[str, Type] | None = None
    """What columns hold, where looking at them does not tell rightly: `{zip: text}`."""

    def __str__(self) -> str:
        """The address without its query, which may hold what is nobody's business."""
        return self.http.partition("?")[0]

    def state(self) -> str:
        """The digest that was asked for, or the ETag that the server names."""
        if self.digest:
            return self.digest
        with self._asked("HEAD") as answer:
            return answer.headers.get("etag", "") if answer.is_success else ""

    def read(self) -> "Rows":
        """Fetches the file, and reads it."""
        from cd4ml.data import files, formats

        with ExitStack() as held:
            temporary = Path(tempfile.gettempdir())
            scratch.clean(temporary, PREFIX)
            folder = held.enter_context(scratch.folder(temporary, PREFIX))
            file = files.File(self._fetched(folder), str(self))
            return formats.rows([file], self.reading or Reading(), types=self.types or {}, close=held.pop_all().close)
        raise AssertionError  # an ExitStack lets every error through

    def _fetched(self, folder: Path) -> Path:
        from cd4ml.data import files, formats
        from cd4ml.data.formats import stream

        file = folder / (unquote(PurePosixPath(urlsplit(self.http).path).name).replace("/", "_") or "table")
        content = hashlib.sha256()
        with self._asked("GET") as answer, file.open("wb") as target:
            if not answer.is_success:
                said = f"{answer.status_code} {answer.reason_phrase}"
                raise DataError(f"{self}: the server answers {said}; {self._remedy(answer.status_code)}")
            packed = formats.compression(files.File(file, str(self)))
            for part in answer.iter_raw() if packed else answer.iter_bytes():  # some send any file packed
                content.update(part)
                target.write(part)
                stream.check_size(target.tell(), packed=answer.num_bytes_downloaded, name=str(self))
        found = f"sha256:{content.hexdigest()}"
        if self.digest and found != self.digest:
            raise DataError(
                f"{self}: its digest is {found}, and {self.digest} was asked for; find out who changed it, "
                "or write its new digest"
            )
        return file

    def _remedy(self, status: int) -> str:
        if status in (401, 403):
            return f"check the token in {self.token}" if self.token else "name the variable of a token as `token`"
        return "try again later" if status == 429 or status >= 500 else "check the address"

    @contextmanager
    def _asked(self, method: str) -> Iterator["httpx.Response"]:
        import httpx

        from cd4ml.proxies import is_near

        headers = {"Accept-Encoding": "identity"}
        if self.token:
            headers["Authorization"] = f"Bearer {credential(self.token)}"
        try:
            with (
                httpx.Client(timeout=SECONDS, follow_redirects=True, trust_env=not is_near(self.http)) as client,
                client.stream(method, self.http, headers=headers) as answer,
            ):
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            raise DataError(f"{self}: cannot be fetched ({said}); is the server up?") from error
        except OSError as error:
            raise DataError(f"{self}: cannot be kept on this machine ({error.strerror}); make room") from error
