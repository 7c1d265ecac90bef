"""What a model was asked in production and what came to be true: labelled rows of its windows, to learn from."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from cd4ml.data.sources import Source
from cd4ml.data.sources.file import Place
from cd4ml.errors import DataError
from cd4ml.names import counted
from cd4ml.storage import open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from cd4ml.contracts.captured_values import Typed
    from cd4ml.contracts.late_labels import Labels
    from cd4ml.contracts.model import Contract
    from cd4ml.data.rows import Rows

FOLDER = "windows"
BETWEEN_ROW = "#"
Filled = Literal["request", "at"]


def _moment(text: str) -> str:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("write its offset from UTC too, as in 2026-11-01T00:00:00Z")
    return text


Moment = Annotated[str, AfterValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


def key(request: str, row: int) -> str:
    """What tells a row of a request from all others."""
    return f"{request}{BETWEEN_ROW}{row}"


def of_key(text: str) -> tuple[str, int] | None:
    """The request's id and the number of the row within it; None where a text is no such key."""
    request, _, row = text.rpartition(BETWEEN_ROW)
    return (request, int(row)) if request and row.isdecimal() else None


class WindowsSource(Source):
    """The rows of the windows of a model that have a label, with the columns and types of its dataset.

    What was captured of a row are features; a row of which none was captured is left out. A column of the dataset that
    is neither among them nor in `columns` is missing in these rows, as are hashes, and values that the column cannot
    have. All are counted.
    """

    windows: Place
    """The windows of a model: `STORE/windows/MODEL`."""
    columns: Mapping[str, Filled] = Field(default_factory=dict)
    """What columns of the dataset are filled with that are no features: `request`, what tells the row from all others
    (the request's id, and the row's number within it), or `at`, when it was asked for."""
    until: Moment | None = Field(default=None)
    """Rows that were asked for by this moment alone, as 2026-11-01T00:00:00Z."""

    @model_validator(mode="after")
    def _is_of_windows(self) -> Self:
        *_, folder, _ = f"//{self.windows.rstrip('/')}".split("/")
        if folder != FOLDER:
            raise ValueError(f"{self.windows}: holds no windows; write STORE/{FOLDER}/MODEL")
        return self

    @property
    def model(self) -> str:
        """The name of the model that was asked."""
        return self.windows.rstrip("/").rpartition("/")[2]

    @property
    def request_columns(self) -> list[str]:
        """The columns that tell of which request and row each row is (`key`)."""
        return [name for name, filled in self.columns.items() if filled == "request"]

    @property
    def place(self) -> str:
        """The table of windows."""
        return self.windows

    def state(self) -> str:
        """The version of the table of windows, and which it is."""
        from cd4ml.data import table

        opened = table.opened(self.windows)
        return f"version {opened.version()} of {opened.metadata().id}"

    def read(self) -> "Rows":
        """Reads them, window after window."""
        from cd4ml.data.rows import Rows

        contract, schema = self._model()
        said: list[str] = []
        return Rows(schema, self._batches(schema, contract, said), said)

    def _model(self) -> "tuple[Contract, pa.Schema]":
        """What the model takes, and the columns of its dataset that can be filled, by its latest version."""
        import pyarrow as pa

        from cd4ml.data import table
        from cd4ml.registry import models

        location, _, name = self.windows.rstrip("/").rsplit("/", 2)
        store = open_store(location)
        published = models.versions(store, name)
        if not published:
            raise DataError(f"{self.windows}: store {location}: no version of {name} is published; name another model")
        latest = published[-1]
        contract = models.contract(store, latest)
        uri = table.location(location, latest.dataset.name)
        opened, _ = table.at_version(uri, latest.dataset.version)
        of_dataset = pa.schema(opened.schema().to_arrow())
        if unknown := sorted(self.columns.keys() - {*of_dataset.names}):
            raise DataError(f"{self.windows}: columns.{unknown[0]}: {uri} has no such column; take it out")
        filled = {*self.columns, *(one.name for one in contract.inputs), contract.label}
        fields = [one.with_type(table.plain(one.type)) for one in of_dataset if one.name in filled]
        return contract, pa.schema(fields)

    def _batches(self, schema: "pa.Schema", contract: "Contract", said: list[str]) -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa
        import pyarrow.compute as pc

        from cd4ml.data import table

        passed_over, people = Counter[str](), self._people()
        try:
            for every in table.dataset(self.windows).to_batches(filter=self._wanted()):
                batch = _with_features(every, passed_over)
                columns = [self._column(batch, one, contract=contract, passed_over=passed_over) for one in schema]
                made = pa.RecordBatch.from_arrays(columns, schema=schema)
                for one in people:
                    one.count(batch)
                yield made.filter(pc.is_valid(made.column(contract.label)))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{self.windows}: cannot be read ({error}); collect the windows again") from error
        said += [f"{counted(count, 'row')} {why}" for why, count in sorted(passed_over.items())]
        said += [one.said for one in people if one.rows]

    def _people(self) -> "list[_Person]":
        """The labels that people gave of requests, the oldest first."""
        from cd4ml.registry import labels_taken

        location, _, name = self.windows.rstrip("/").rsplit("/", 2)
        store = open_store(location)
        given = [one for one in labels_taken.every(store, name) if one.by and not one.key]
        return [_Person(one, _named(labels_taken.read(store, one))) for one in given]

    def _wanted(self) -> "pa.compute.Expression":
        import pyarrow.compute as pc

        wanted = ~pc.field("mirrored") & pc.field("label").is_valid()
        return wanted & (pc.field("at") < datetime.fromisoformat(self.until)) if self.until else wanted

    def _column(
        self, batch: "pa.RecordBatch", field: "pa.Field", *, contract: "Contract", passed_over: "Counter[str]"
    ) -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        from cd4ml.contracts import feature_names
        from cd4ml.contracts.captured_values import look_hashed, of_type

        match self.columns.get(field.name):
            case "request":
                row = batch.column("row").cast(pa.string())
                return _as(pc.binary_join_element_wise(batch.column("request_id"), row, BETWEEN_ROW), field)
            case "at":
                return _as(batch.column("at"), field)
        if field.name == contract.label:
            told = of_type(batch.column("label"), field.type)
            return _counted(told, f"left out: the label is no {field.type}", passed_over)
        features = batch.column("features") if "features" in batch.schema.names else None
        called = feature_names.of_table([field.name], batch.schema)[field.name]
        if features is None or features.type.get_field_index(called) < 0:
            return pa.nulls(len(batch), field.type)
        values = pc.struct_field(features, called)
        personal = any(one.personal for one in contract.inputs if one.name == field.name)
        hashed = pa.repeat(True, len(batch)) if personal else look_hashed(values)
        if count := pc.sum(hashed, min_count=0).as_py():
            passed_over[f"without {field.name!r}, which was captured as a hash"] += count
            values = pc.if_else(hashed, pa.scalar(None, values.type), values)
        why = f"without {field.name!r}, which is no {field.type} there, as the dataset has it"
        return _counted(of_type(values, field.type), why, passed_over)


@dataclass
class _Person:
    """Labels that a person gave at once, and of how many rows they are."""

    labels: "Labels"
    named: "pa.Array"
    """As `_named` has them."""
    rows: int = 0

    def count(self, batch: "pa.RecordBatch") -> None:
        """Counts the rows that have one of them."""
        import pyarrow.compute as pc

        self.rows += pc.sum(pc.is_in(_named(batch), self.named), min_count=0).as_py()

    @property
    def said(self) -> str:
        """Who gave them, when they were taken, and where they lie."""
        one = self.labels
        return f"{counted(self.rows, 'row')} with a label by {one.by}, taken {one.taken_at} ({one.folder})"


def _named(labels: "pa.Table | pa.RecordBatch") -> "pa.Array":
    """Each label with its request and row, as one text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from cd4ml.contracts.late_labels import BETWEEN

    row = pc.fill_null(labels.column("row"), 1).cast(pa.string())
    named = pc.binary_join_element_wise(labels.column("request_id"), row, labels.column("label"), BETWEEN)
    return named.combine_chunks() if isinstance(named, pa.ChunkedArray) else named


def _with_features(batch: "pa.RecordBatch", passed_over: "Counter[str]") -> "pa.RecordBatch":
    """The rows of which features were captured."""
    import pyarrow as pa

    from cd4ml.contracts.captured_values import have_features

    there = have_features(batch)
    if without := int((~there).sum()):
        passed_over["left out: none of their features was captured"] += without
    return batch.filter(pa.array(there))


def _counted(found: "Typed", why: str, passed_over: "Counter[str]") -> "pa.Array":
    if count := int(found.unreadable.sum()):
        passed_over[why] += count
    return found.values


def _as(values: "pa.Array", field: "pa.Field") -> "pa.Array":
    """Values as those of the dataset's column.

    Raises:
        DataError: One cannot be.
    """
    import pyarrow as pa

    try:
        return values.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"column {field.name!r}: is {field.type} in the dataset ({str(error).splitlines()[0]}); fill another one"
        ) from error
