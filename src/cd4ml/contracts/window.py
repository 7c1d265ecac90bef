"""What was seen of a model within a span of time: a table of predicted rows, and a document a window."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

import pyarrow as pa

from cd4ml.contracts.document import Document
from cd4ml.names import counted

ROWS = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),  # when the request had come in
        ("request_id", pa.string()),
        ("row", pa.int32()),  # of the request, from 1
        ("arm", pa.string()),
        ("version", pa.string()),  # of the arm's model
        ("propensity", pa.float64()),  # how likely this arm was to get this request, or a copy of it
        ("mirrored", pa.bool_()),  # whether the answer was given to nobody
        ("unit", pa.string()),  # tells whose requests are one caller's; null where the caller is not known
        ("outputs", pa.list_(pa.string())),  # the names of what is predicted
        ("predictions", pa.list_(pa.float64())),  # a value an output
        ("label", pa.string()),  # a class, or a number as text; null where none has come, or contradicting ones have
        ("labelled_at", pa.timestamp("us", "UTC")),  # when the first of its labels was known
    ]
)
"""Besides `features`, a struct of texts by the names of those that were captured; a text is null where a request lacked
the feature, and the struct where nothing of the request was captured."""
UNKNOWN, OTHER_ROW, OTHER_TYPE, AHEAD, EARLY, CONTRADICTING, TWICE = WHYS = (
    "unknown",  # of no request that was captured
    "other_row",  # of a row that the request does not have, or a feedback with labels for more or fewer rows
    "other_type",  # of no class of the model, or no number
    "ahead",  # known later than now
    "early",  # known before the request had come in
    "contradicting",  # of a row that has another label too, so that none of them counts
    "twice",  # as an earlier one of its row says
)
"""Why labels are kept apart."""
_LACKS: Mapping[str, str] = MappingProxyType(
    {
        OTHER_ROW: "their request has no such row, or more or fewer rows",
        OTHER_TYPE: "no class of the model, or no number; see how they are written by whoever sends them",
        AHEAD: "known later than now; see whether clocks differ",
        EARLY: "known before their request came in; see whether clocks differ, or customers of a key were asked again",
        CONTRADICTING: "another label of the same row says otherwise; see why both come",
    }
)
"""In words, those of which a row may lack its label."""
DOCUMENT, TABLE = "window.json", "rows.parquet"
"""What the tasks after collecting find in their folder: the document, and the rows that were given to somebody."""
APART = pa.schema(
    [
        ("why", pa.string()),  # one of `WHYS`
        ("request_id", pa.string()),
        ("key", pa.list_(pa.string())),
        ("row", pa.int32()),
        ("label", pa.string()),  # null where it is of another type
        ("at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class Part:
    """The answers of one arm by one version of the model."""

    arm: str
    version: str
    mirrored: bool
    """Whether they were given to nobody."""
    requests: int
    first: str
    """When the first of them came in, ISO 8601, UTC."""
    last: str
    statuses: Mapping[str, int]
    """How many answers had which status of HTTP."""
    latency_ms: Mapping[str, float]
    """`p50`, `p95` and `p99` of the answers that have a latency; none where none has."""
    rows: int
    """That were predicted."""
    labelled: int
    """Rows with a label."""
    lookup_ms: Mapping[str, float] = field(default_factory=dict)
    """The same percentiles of how long features were looked up, where requests say so."""

    @property
    def errors(self) -> int:
        """Answers of a status of 400 or more."""
        return sum(count for status, count in self.statuses.items() if int(status) >= 400)


@dataclass(frozen=True)
class Window(Document, kind="cd4ml/Window", remedy="collect the window again"):
    """What was seen of a model from a moment until another, which does not count any more.

    A window has a document each time that something new was known of it, as when late labels came: the last one counts.
    """

    model: str
    begin: str
    """ISO 8601, UTC."""
    until: str
    number: int
    """How many documents the window has by this one."""
    digest: str
    """Of its rows."""
    parts: tuple[Part, ...]
    """By arm and version: a model that changed within the window has two. None of a window without requests."""
    apart: Mapping[str, int]
    """Labels that are kept apart, by reason (`WHYS`); those of unknown requests are of no window."""
    repeated: int
    """Answers that are kept apart, for their requests have the id of an earlier one."""
    unreadable: tuple[str, ...] = ()
    """Files of the capture that could not be read, or have what no server writes, and were passed over."""
    features: tuple[str, ...] = ()
    """That were captured."""
    at: str = ""
    """When it was collected."""
    cd4ml: str = ""
    """The version of cd4ml that collected."""

    @property
    def requests(self) -> int:
        """Answers that were given."""
        return sum(one.requests for one in self.parts if not one.mirrored)

    @property
    def rows(self) -> int:
        """That were predicted for somebody."""
        return sum(one.rows for one in self.parts if not one.mirrored)

    @property
    def labelled(self) -> int:
        """Of these, those with a label."""
        return sum(one.labelled for one in self.parts if not one.mirrored)

    @property
    def labels_apart(self) -> int:
        """Labels that are kept apart, but for those that say what another one of their row says."""
        return sum(self.apart.get(why, 0) for why in _LACKS)

    @property
    def why_apart(self) -> tuple[str, ...]:
        """These labels by reason, a line each."""
        counts = [(self.apart.get(why, 0), said) for why, said in _LACKS.items()]
        return tuple(f"{counted(count, 'label')} kept apart: {said}" for count, said in counts if count)

    @property
    def kept_apart(self) -> tuple[str, ...]:
        """The same, and the answers that are kept apart."""
        if not self.repeated:
            return self.why_apart
        return (
            *self.why_apart,
            f"{counted(self.repeated, 'answer')} kept apart: their request has the id of an earlier one",
        )

    @property
    def errors(self) -> int:
        """Answers of a status of 400 or more that were given."""
        return sum(one.errors for one in self.parts if not one.mirrored)

    @property
    def headline(self) -> str:
        """How many rows, and how many of them have a label."""
        if not self.parts:
            return "no requests"
        share = f", {self.labelled / self.rows:.0%} labelled" if self.rows else ""
        return f"{counted(self.rows, 'row')}{share}"

    @property
    def key(self) -> str:
        """What its rows are found by: `20260101T000000Z-20260101T010000Z`."""
        return key_of(self.begin, self.until)

    @property
    def age(self) -> float:
        """How long it was over when it was collected, in seconds."""
        return (datetime.fromisoformat(self.at) - datetime.fromisoformat(self.until)).total_seconds()

    def says_as(self, other: "Window") -> bool:
        """Whether both say the same."""
        return self._said == other._said

    @property
    def _said(self) -> "Window":
        """Without what every look says anew, and reasons for which no label is kept apart, as some may be newer."""
        apart = {why: count for why, count in self.apart.items() if count}
        return replace(self, number=0, at="", cd4ml="", apart=apart)


def key_of(begin: str, until: str) -> str:
    """What the rows of a window are found by."""
    return "-".join(one.replace("-", "").replace(":", "").replace("+0000", "Z") for one in (begin, until))


def ends_of(key: str) -> tuple[datetime, datetime]:
    """From when until when a window is that is found by a key."""
    begin, until = (datetime.strptime(one, "%Y%m%dT%H%M%S%z") for one in key.split("-"))
    return begin, until
