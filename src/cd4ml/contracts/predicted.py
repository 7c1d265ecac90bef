"""What a model predicted for a table: kept in the commit that made the predictions, and told to the tasks after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cd4ml.contracts.document import Document
from cd4ml.names import amount

PREDICTED = "predicted"
"""The column of the class, beside those of the key and of what the model gives: of two where the threshold is known."""
PROBABILITY, PROBABILITIES = "probability", "probabilities"
"""Of three classes and more: the column of the predicted one's probability, and that of lists of all of them."""
MODEL, VERSION, DIGEST, AT = "model", "version", "digest", "predicted_at"
"""The columns that say which model gave it, and when."""
ROW = "row"
"""The column of the rows' numbers, from 1, where no key was asked for."""
COLUMNS = (PREDICTED, MODEL, VERSION, DIGEST, AT)


@dataclass(frozen=True)
class Unknown:
    """Texts of a feature that the model does not know: it takes them all for one unknown value."""

    rows: int
    first: int
    """The number of the first of them, from 1. The text is not told, for it may be of a person."""


@dataclass(frozen=True)
class Predicted(Document, kind="cd4ml/Predicted", remedy="run predict_dataset again"):
    """A version of the table of predictions, as `predict_dataset` tells of it."""

    uri: str
    """Where the Delta Lake table lies."""
    version: int
    """Of the table: the number of its commit."""
    rows: int
    model: str
    model_version: int
    digest: str
    """Of the model's files."""
    source: str
    """Where the rows came from, as JSON."""
    state: str
    """The source's at one look; empty where only reading tells."""
    fingerprint: str
    """Tells the rows, as far as they were read, and their order from every other."""
    key: tuple[str, ...]
    """The columns that tell rows apart; none where that is their number."""
    classes: tuple[str, ...]
    """The label's values: the probability is that of the second of two; of more than two, `probabilities` has that of
    each, in this order; none of a number."""
    threshold: float | None
    """The probability above which a row is predicted to be of the second class; None where nobody has said, of a
    number, and of more than two classes, of which the most probable is predicted."""
    predicted: int
    """Rows that this run predicted; of the others it found what an earlier one had."""
    mean: float
    """Of what the model gives."""
    output: str = PROBABILITY
    """What the table calls that: of three classes and more, the probability of the predicted one."""
    range: tuple[float, float] | None = None
    """The least and the greatest of the same; None where an earlier version predicted."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """By feature: the rows without a value, where there are any."""
    unknown: Mapping[str, Unknown] = field(default_factory=dict)
    """By feature: the rows whose text the model does not know, where there are any."""
    said: tuple[str, ...] = ()
    """How the source was read: what was found by looking, a line each."""
    at: str = ""
    """When it was committed, ISO 8601 in UTC."""
    run: str = ""
    revision: str = ""
    """Of the code."""
    cd4ml: str = ""
    """The version of cd4ml that predicted."""

    @property
    def headline(self) -> str:
        """How many rows, by which model."""
        return f"{self.rows:,} rows by {self.model} {self.model_version}"

    @property
    def metrics(self) -> dict[str, float]:
        """What the UI compares between runs."""
        return {
            "rows": self.rows,
            f"mean_{self.output}": self.mean,
            "missing_values": sum(self.missing.values()),
            "unknown_values": sum(one.rows for one in self.unknown.values()),
        }

    @property
    def lines(self) -> list[str]:
        """What a person has to know of the predictions and the rows, a line each."""
        ends = ", from {} to {}".format(*map(amount, self.range)) if self.range else ""
        missing = [f"{name}: missing in {self._of(rows)}" for name, rows in self.missing.items()]
        unknown = [
            f"{name}: unknown to the model in {self._of(one.rows)}, from row {one.first:,} on"
            for name, one in self.unknown.items()
        ]
        return [f"{self.output}: {amount(self.mean)} on average{ends}", *missing, *unknown]

    def is_as(self, other: "Predicted") -> bool:
        """Whether both are of one model and are asked for alike."""
        fields = ("model", "model_version", "digest", "source", "key", "threshold", "cd4ml")
        return all(getattr(self, name) == getattr(other, name) for name in fields)

    def _of(self, rows: int) -> str:
        return f"{rows:,} of {self.rows:,} rows"
