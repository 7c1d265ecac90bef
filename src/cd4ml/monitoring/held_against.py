"""The inputs and the predictions of a window, compared with those of training by `cd4ml.validation.drift`."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from cd4ml.contracts.captured_values import Typed, is_hashed
from cd4ml.contracts.dataset import Origin
from cd4ml.contracts.drift import Comparison
from cd4ml.contracts.model import Input
from cd4ml.contracts.reference import Reference
from cd4ml.contracts.verdict import Check, Outcome
from cd4ml.contracts.window import Window
from cd4ml.errors import DataError
from cd4ml.monitoring import comparison_checks, prediction_columns
from cd4ml.monitoring.comparison_checks import Judged
from cd4ml.monitoring.trained_on import TrainedOn
from cd4ml.validation.drift import reference
from cd4ml.validation.drift.compare import FEWEST_ROWS, compare_samples

DAY = timedelta(days=1)
INPUTS, PREDICTIONS = "drift of inputs", "drift of predictions"
NOT_CAPTURED = (
    "is not captured, or as a hash; have it kept where it tells of nobody (docs/monitoring.md, What is captured)"
)
HASHED = (
    "has but hashes, or values that look so (64 hexadecimal digits), which neither training had nor the contract marks "
    "as personal; see whether callers send them, or whether CAPTURE_PERSONAL names it and so nobody can tell"
)
AGAIN = "publish the model again, for older versions of cd4ml kept none"


@dataclass(frozen=True)
class Found:
    """What came of one comparison."""

    comparison: Comparison | None
    checks: list[Check]


@dataclass(frozen=True)
class Held:
    """What one version was asked within a window, beside its training."""

    window: Window
    where: str
    """What stands behind the names of checks: ` in version 3`."""
    families: int
    """Of comparisons and the like, among which the false alarms of the window are divided."""
    trained: TrainedOn

    def inputs(self, features: Mapping[str, Typed], hashed: Set[str] = frozenset()) -> Found:
        """The features, held against the rows that the version was trained on.

        Args:
            features: Those that were captured, of rows that speak for themselves.
            hashed: The names of those that were captured with values that all look as hashes do.
        """
        sample, about = self.trained.sample, self.trained.about
        if sample is None or about is None:
            return self._none(INPUTS, f"the version keeps no rows that it was trained on; {AGAIN}")
        left_out = dict(self._left_out(features, sample, about))
        names = [one.name for one in self.trained.contract.inputs if one.name not in left_out]
        strange = {name for name in hashed if _is_plain_text(sample, name)}
        skipped = [
            self._check(f"drift of {name}", f"`{name}` {HASHED}", Outcome.INCONCLUSIVE)
            if name in strange
            else self._check(f"drift of {name}", f"`{name}` {why}")
            for name, why in left_out.items()
        ]
        if not names:
            return Found(None, skipped or [self._check(INPUTS, "the model takes no features")])
        now = pa.table({name: _as_before(features[name].values, sample.schema.field(name).type) for name in names})
        before = _without_blanks(sample.select(names)).replace_schema_metadata(sample.schema.metadata)
        found = self._compared(before, now, what=INPUTS, slices=[one for one in self.trained.slices if one in names])
        return Found(found.comparison, [*found.checks, *skipped])

    def predictions(self, rows: pa.Table) -> Found:
        """What was predicted, held against what the version predicted for the rows of its evaluation.

        Args:
            rows: That speak for themselves.
        """
        outputs, contract, data = self.trained.outputs, self.trained.contract, self.trained.version.dataset
        if outputs is None:
            return self._none(PREDICTIONS, f"the version keeps no predictions of its evaluation; {AGAIN}")
        try:
            now = prediction_columns.of_window(rows, contract)
        except DataError as error:
            reason = f"{error}; see what answers in place of the version"
            return self._none(PREDICTIONS, reason, Outcome.ERROR)
        origin = Origin(data.name, data.version, data.digest)
        before = reference.take(
            prediction_columns.of_outputs(outputs, contract), origin=origin, split="test", without={}
        )
        return self._compared(before, now, what=PREDICTIONS, slices=())

    def _compared(self, before: pa.Table, now: pa.Table, *, what: str, slices: Sequence[str]) -> Found:
        about = reference.about(before)
        few = comparison_checks.too_few(len(now), about.drawn)
        if min(len(now), about.drawn) < FEWEST_ROWS:
            return self._none(what, few, Outcome.INCONCLUSIVE)
        origin = Origin(about.dataset, about.version, "")
        after = reference.take(now, origin=origin, split=f"window {self.window.key}", without={}, like=about)
        compared = compare_samples(before, after, slices=slices, as_a_whole=what == INPUTS)
        found = comparison_checks.over_families(compared, self.families)
        subject = "drift of" if what == INPUTS else "drift of predictions:"
        checks = comparison_checks.of_comparison(found, Judged(subject, self.where, few))
        return Found(found, list(checks))

    def _left_out(self, features: Mapping[str, Typed], sample: pa.Table, about: Reference) -> Iterator[tuple[str, str]]:
        """The features that are not compared, each with the reason."""
        begin, until = map(datetime.fromisoformat, (self.window.begin, self.window.until))
        for one in self.trained.contract.inputs:
            if one.name not in features:
                yield one.name, NOT_CAPTURED
            elif one.name not in sample.column_names:
                why = about.left_out.get(one.name, "the reference does not have it")
                yield one.name, f"is not kept of the rows that the version was trained on: {why}"
            elif one.kind == "date" and until - begin < DAY:
                yield one.name, "is compared by the hour of the day, of which this window has not all"
            elif one.kind == "date" and not _is_moment(sample, one):
                yield one.name, "is text in the reference, and compared only where the dataset has moments"

    def _none(self, what: str, reason: str, outcome: Outcome = Outcome.SKIPPED) -> Found:
        return Found(None, [self._check(what, reason, outcome)])

    def _check(self, what: str, reason: str, outcome: Outcome = Outcome.SKIPPED) -> Check:
        return Check(f"{what}{self.where}", comparison_checks.LIMIT, None, outcome, reason)


def _is_moment(sample: pa.Table, one: Input) -> bool:
    return bool(pa.types.is_timestamp(sample.schema.field(one.name).type))


def _is_plain_text(sample: pa.Table, name: str) -> bool:
    """Whether a feature is text in the reference, and not of hashes."""
    if name not in sample.column_names or not pa.types.is_string(sample.schema.field(name).type):
        return False
    return not is_hashed(sample.column(name))


def _as_before(values: pa.Array, before: pa.DataType) -> pa.Array:
    """Numbers as the reference has them: rounded as they are there, or whole where all of them are; all else as it is.

    Args:
        values: Of `Typed`.
        before: The type of the reference's column.
    """
    if not pa.types.is_floating(values.type):
        return values
    if pa.types.is_floating(before):
        return values.cast(before, safe=False)
    try:
        return values.cast(pa.int64()) if pa.types.is_integer(before) else values
    except pa.ArrowInvalid:  # some have fractions
        return values


def _without_blanks(sample: pa.Table) -> pa.Table:
    """A sample in which an empty text is missing, as it is to the model."""
    for place, field in enumerate(sample.schema):
        if pa.types.is_string(field.type):
            column = sample.column(place)
            sample = sample.set_column(place, field, pc.if_else(pc.equal(column, ""), None, column))
    return sample
