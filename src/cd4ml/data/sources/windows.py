"""What a model was asked in production and what came to be true: labelled rows of its windows, to learn from."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from cd4ml.data.sources import Source
from cd4ml.data.sources.file import Place
from cd4ml.errors import DataError
from cd4ml.storage import open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from cd4ml.contracts.model import Contract
    from cd4ml.data.rows import Rows

FOLDER = "windows"
Filled = Literal["request", "at"]


def _moment(text: str) -> str:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("write its offset from UTC too, as in 2026-11-01T00:00:00Z")
    return text


Moment = Annotated[str, AfterValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class WindowsSource(Source):
    """The rows of the windows of a model that have a label, with the columns and types of its dataset.

    What was captured of a row are features; a column of the dataset that is neither among them nor in `columns` is
    missing in these rows.
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
        return Rows(schema, self._batches(schema, contract))

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

    def _batches(self, schema: "pa.Schema", contract: "Contract") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        from cd4ml.data import table

        try:
            for batch in table.opened(self.windows).to_pyarrow_dataset().to_batches(filter=self._wanted()):
                yield pa.RecordBatch.from_arrays([self._column(batch, one, contract) for one in schema], schema=schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{self.windows}: cannot be read ({error}); collect the windows again") from error

    def _wanted(self) -> "pa.compute.Expression":
        import pyarrow.compute as pc

        wanted = ~pc.field("mirrored") & pc.field("label").is_valid()
        return wanted & (pc.field("at") < datetime.fromisoformat(self.until)) if self.until else wanted

    def _column(self, batch: "pa.RecordBatch", field: "pa.Field", contract: "Contract") -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        match self.columns.get(field.name):
            case "request":
                row = batch.column("row").cast(pa.string())
                return _as(pc.binary_join_element_wise(batch.column("request_id"), row, "#"), field)
            case "at":
                return _as(batch.column("at"), field)
        if field.name == contract.label:
            return _as(batch.column("label"), field)
        features = batch.column("features") if "features" in batch.schema.names else None
        if features is None or features.type.get_field_index(field.name) < 0:
            return pa.nulls(len(batch), field.type)
        return _as(pc.struct_field(features, field.name), field)


def _as(values: "pa.Array", field: "pa.Field") -> "pa.Array":
    """Values as those of the dataset's column.

    Raises:
        DataError: One cannot be.
    """
    import pyarrow as pa

    whole = pa.types.is_integer(field.type) and pa.types.is_string(values.type)
    try:
        return (values.cast(pa.float64()) if whole else values).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"column {field.name!r}: a value in production is no {field.type}, as the dataset has it "
            f"({str(error).splitlines()[0]}); mend whoever asks, or write rows to learn from in another way"
        ) from error
