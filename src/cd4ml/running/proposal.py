"""A first run file for a table: what its columns look like, and why.

What is guessed is said, with its reason, beside the value: whoever reads the file corrects it there.
"""

import json
import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from cd4ml.contracts import question
from cd4ml.contracts.binary import PLAIN
from cd4ml.contracts.class_labels import without_blanks
from cd4ml.contracts.columns import is_text
from cd4ml.contracts.dataset import ROWS
from cd4ml.data.times import NO_TIMES
from cd4ml.errors import ArgumentsError, DataError
from cd4ml.names import nearest, shown, words
from cd4ml.registry import clock
from cd4ml.validation import personal

MOST_SLICES, MOST_GROUPS = 5, 20
FEWEST_IN_A_GROUP = 0.01
"""The share of the rows that each value of a column has by which a model is evaluated."""
BALANCED = (0.4, 0.6)
"""Label rates at which the usual threshold of a half is as good as any."""

_WORDS = r"(^|_)({})($|_)"
KEYS = re.compile(_WORDS.format("id|key|uuid|guid|number|no|nr|index"))
LABELS = re.compile(
    _WORDS.format(
        "label|target|class|outcome|response|churn(ed)?|default(ed)?|fraud|converted|conversion|click(ed)?|took|"
        "bought|approved|accepted|won|lost|cancel(l?ed)?|survived|readmitted|y|is|has|will"
    )
)
TIMES = re.compile(_WORDS.format("at|on|date|day|time|timestamp|when|created|updated|month"))
SENSITIVE = re.compile(
    _WORDS.format(
        "sex|gender|race|ethnic(ity)?|religion|nationality|(native_)?country|marital(_status)?|disab(led|ility)|"
        "orientation|age_?(group|band|range|cat)|region|language|"
        # German, French and Spanish, without marks
        "geschlecht|alter(sgruppe|sklasse)?|familienstand|konfession|staatsangehorigkeit|nationalit(at|e)|herkunft|"
        "(schwer)?behinder(t|ung)|muttersprache|sexe|age|tranche_d_age|situation_familiale|etat_civil|handicap|langue|"
        "sexo|genero|edad|grupo_(de_)?edad|nacionalidad|estado_civil|discapacidad|raza|etnia|idioma"
    )
)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./~-]*")
_AMBIGUOUS = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|none|nan|inf")


@dataclass(frozen=True)
class Guess:
    """What stands for an argument, and why."""

    value: Any
    why: str


@dataclass(frozen=True)
class Proposal:
    """The arguments of a first run, as far as a table tells them."""

    source: str
    name: str
    rows: int
    columns: int
    key: Guess
    label: Guess
    problem: Guess
    classes: int
    """How many the label has; 0 of a number."""
    positive: Guess | None
    """None but of two classes."""
    time_column: Guess | None
    exclude: Sequence[Guess]
    """Each the name of a column."""
    sensitive: Sequence[Guess]
    slices: Sequence[Guess]
    threshold: Guess | None
    """None but of two classes."""
    personal: Sequence[str]
    """Columns that seem to be personal data."""
    read: Sequence[str]
    """How the table was read, a line each, without values of such columns."""

    @property
    def is_on_the_web(self) -> bool:
        """Whether the source is an address."""
        return self.source.startswith(("http://", "https://"))

    @property
    def said(self) -> list[tuple[str, Guess]]:
        """What stands for each argument, for people."""
        several = [("exclude", self.exclude), ("sensitive", self.sensitive), ("slices", self.slices)]
        single = [
            ("key", self.key),
            ("label", self.label),
            ("problem", self.problem),
            ("positive", self.positive),
            ("time_column", self.time_column),
        ]
        return [
            *((name, guess) for name, guess in single if guess),
            *((name, guess) for name, guesses in several for guess in guesses),
        ]

    def as_yaml(self, file: str) -> str:
        """The run file, with a reason beside each value that was guessed.

        Args:
            file: What it will be called.
        """
        environment = jinja2.Environment(  # noqa: S701 (YAML, whose values the filter quotes)
            loader=jinja2.PackageLoader("cd4ml.running"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"yaml": _written, "source": _source, "shell": shlex.quote}
        return environment.get_template("run_file.yaml.j2").render(proposal=self, file=file).rstrip() + "\n"


def propose(
    table: pa.Table, *, source: str, name: str, key: str | None, label: str | None, read: Sequence[str] = ()
) -> Proposal:
    """Looks at a table, and proposes how to train a model on it.

    Args:
        table: Of plain columns.
        source: Where it comes from, as a run file names it.
        name: What model and dataset are to be called.
        key: The column that tells rows apart, where that is known.
        label: The column to predict, where that is known.
        read: How it was read, a line each.

    Raises:
        ArgumentsError: There is no such column, or none that could be the label.
    """
    for option, column in (("--key", key), ("--label", label)):
        if column is not None and column not in table.column_names:
            raise ArgumentsError(f"{option}: {source} has no column {column!r}; {nearest(column, table.column_names)}")
    table = pa.table([without_blanks(one) for one in table.columns], table.column_names)
    look = _Look(table)
    the_key = Guess(key, "as asked") if key else look.key(but=[label])
    the_label = look.label(source, but=[the_key.value], asked=label)
    problem, positive = look.question(the_label.value)
    taken = [the_key.value, the_label.value]
    time_column = look.time(but=taken)
    exclude = look.useless(but=taken)
    taken += [one.value for one in exclude] + ([time_column.value] if time_column else [])
    sensitive = look.sensitive(but=taken)
    taken += [one.value for one in sensitive]
    values = tuple(f"column {one!r} " for one in look.personal)
    return Proposal(
        source=source,
        name=name,
        rows=table.num_rows,
        columns=table.num_columns,
        key=the_key,
        label=the_label,
        problem=problem,
        classes=0 if problem.value == "regression" else pc.count_distinct(table.column(the_label.value)).as_py(),
        positive=positive,
        time_column=time_column,
        exclude=exclude,
        sensitive=sensitive,
        slices=look.slices(but=taken),
        threshold=look.threshold(the_label.value, positive.value) if positive else None,
        personal=look.personal,
        read=[" ".join(line.split()) for line in read if not line.startswith(values)],
    )


class _Look:
    """What can be seen of a table's columns."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def key(self, *, but: Sequence[str | None]) -> Guess:
        """A column whose values are all there and differ; one that is called so before others."""
        unique = [name for name in self._table.column_names if name not in (*but, ROWS, "") and self._is_unique(name)]
        if not unique:
            return Guess(ROWS, "no column tells rows apart, so all of them do")
        named = [name for name in unique if KEYS.search(words(name))]
        return Guess((named or unique)[0], "it is there in every row, and no value comes twice")

    def label(self, source: str, *, but: Sequence[str], asked: str | None) -> Guess:
        """The column that is asked for, else one of two values, or of a few texts, that is called so.

        Where none is called so, it is the last of two values.
        """
        two = [
            name
            for name in self._others(but)
            if len(self._values.get(name, ())) == 2 and not pa.types.is_temporal(self._type(name))
        ]
        named = [name for name in [*two, *self._of_few_texts(but)] if LABELS.search(words(name))]
        if not two and not named and asked is None:
            raise ArgumentsError(
                f"{source}: no column has two values, of which a model could predict one; name the column to predict "
                "with --label"
            )
        if asked in but:
            raise ArgumentsError(f"--label: {asked!r} is the key; name another column, or another --key")
        chosen = asked or (named or two[::-1])[0]
        others = ", ".join(_written(name) for name in two if name != chosen)
        also = f"; others of two values: {others}" if others else ""
        missing = self._table.column(chosen).null_count
        without = f"; {missing:,} rows have none, which a run refuses: take them out first" if missing else ""
        how = "as asked" if asked else "by its name" if named else "it has two values"
        return Guess(chosen, f"{how}{without}{also}")

    def question(self, label: str) -> tuple[Guess, Guess | None]:
        """What a label asks for, and which of two classes is positive: of two words the rarer one.

        Raises:
            ArgumentsError: Neither a class nor a number can be predicted.
        """
        values = self._values.get(label, [])
        if len(values) != 2 or any(isinstance(one, float) and one % 1 for one in values):
            return self._several(label) if is_text(self._type(label)) else self._number(label), None
        low, high = sorted(map(_text, values))
        problem = Guess("binary", "it has two values")
        for negative, positive in ((low, high), (high, low)):
            if (negative.casefold(), positive.casefold()) in PLAIN:
                return problem, Guess(positive, f"{negative!r} is negative")
        rarer, other = sorted((low, high), key=lambda one: (self._share(label, one), one))
        return problem, Guess(rarer, f"it is the rarer one; write {other!r} where that is to be predicted")

    def _of_few_texts(self, but: Sequence[str]) -> list[str]:
        """Columns of three texts or some more."""
        return [name for name in self._others(but) if is_text(self._type(name)) and len(self._values.get(name, ())) > 2]

    def _several(self, label: str) -> Guess:
        try:
            asked = question.ask(self._table, label, problem="multiclass")
        except DataError as error:
            raise ArgumentsError(f"--label: {error}, or name a column of two values") from error
        return Guess("multiclass", f"it has {len(asked.classes)} values")

    def _number(self, label: str) -> Guess:
        try:
            question.ask(self._table, label, problem="regression")
        except DataError as error:
            raise ArgumentsError(f"--label: {error}, or name a column of two values") from error
        count = pc.count_distinct(self._table.column(label)).as_py()
        classes = "; write `multiclass` where these are the names of classes" if 2 < count <= question.FEW else ""
        return Guess("regression", f"it has {count:,} numbers{classes}")

    def time(self, *, but: Sequence[str]) -> Guess | None:
        """A column of moments at which rows may have come to be; one called so before others, the fewest missing."""
        moments = [name for name in self._others([*but, *self.personal]) if self._has_been(name)]
        moments.sort(key=lambda name: (not TIMES.search(words(name)), self._table.column(name).null_count))
        return Guess(moments[0], "it holds moments") if moments else None

    def useless(self, *, but: Sequence[str]) -> list[Guess]:
        """Columns from which nothing can be learned that holds for other rows."""
        reasons: list[tuple[Callable[[str], bool], str]] = [
            (lambda name: name in self.personal, "it seems to be personal data"),
            (lambda name: self._values.get(name, "many") in ([], [None]), "it has no values"),
            (lambda name: len(self._values.get(name, "many")) == 1, "it has one value only"),
            (lambda name: is_text(self._type(name)) and self._is_unique(name), "each row has a value of its own"),
            (self._numbers_rows, "it numbers the rows"),
        ]
        found = []
        for name in self._others([*but, ""]):
            why = next((why for holds, why in reasons if holds(name)), None)
            if why:
                found.append(Guess(name, why))
        return found

    def sensitive(self, *, but: Sequence[str]) -> list[Guess]:
        """Columns of groups that are to be treated fairly, by their names."""
        return [Guess(name, "by its name") for name in self._groups(but) if SENSITIVE.search(words(_unmarked(name)))]

    def slices(self, *, but: Sequence[str]) -> list[Guess]:
        """Columns of a few values, the fewest first."""
        groups = sorted(self._groups(but), key=lambda name: len(self._values[name]))
        return [Guess(name, f"it has {len(self._values[name])} values") for name in groups[:MOST_SLICES]]

    def threshold(self, label: str, positive: str) -> Guess:
        """Near the label rate, where that is far from a half."""
        rate = self._share(label, positive)
        if BALANCED[0] <= rate <= BALANCED[1]:
            return Guess(0.5, "the classes are about as frequent")
        return Guess(min(max(round(rate, 2), 0.01), 0.99), f"{rate:.1%} of the rows are positive")

    def _share(self, label: str, value: str) -> float:
        """Of the rows with a label, those that have this value."""
        text = self._table.column(label).drop_null().cast(pa.string())
        return float(pc.mean(pc.equal(text, value)).as_py())

    @cached_property
    def personal(self) -> list[str]:
        """Columns that seem to be personal data."""
        return [finding.column for finding in personal.examine(self._table)]

    @cached_property
    def _values(self) -> Mapping[str, list[Any]]:
        """The values of the columns that have no more than a few."""
        counted = {name: pc.unique(self._table.column(name).drop_null()) for name in self._table.column_names}
        return {name: values.to_pylist() for name, values in counted.items() if len(values) <= MOST_GROUPS}

    def _groups(self, but: Sequence[str]) -> list[str]:
        """Columns of text, truth values or small whole numbers, each of whose few values has rows enough."""
        return [name for name in self._others(but) if len(self._values.get(name, ())) > 1 and self._has_rows(name)]

    def _has_rows(self, name: str) -> bool:
        type_ = self._type(name)
        if not (is_text(type_) or pa.types.is_boolean(type_) or pa.types.is_integer(type_)):
            return False
        counts = pc.value_counts(self._table.column(name).drop_null()).field("counts")
        return bool(pc.min(counts).as_py() >= FEWEST_IN_A_GROUP * self._table.num_rows)

    def _has_been(self, name: str) -> bool:
        """Whether a column holds moments, none of them after now."""
        if not pa.types.is_temporal(self._type(name)):
            return False
        times = NO_TIMES.and_of(self._table.column(name), clock.moment())
        return times.newest is not None and not times.ahead

    def _is_unique(self, name: str) -> bool:
        column, type_ = self._table.column(name), self._type(name)
        if column.null_count or not (is_text(type_) or pa.types.is_integer(type_)):
            return False
        return bool(pc.count_distinct(column).as_py() == self._table.num_rows)

    def _numbers_rows(self, name: str) -> bool:
        """Whether a column holds whole numbers without a gap."""
        if is_text(self._type(name)) or not self._is_unique(name):
            return False
        ends = pc.min_max(self._table.column(name)).as_py()
        return bool(ends["max"] - ends["min"] == self._table.num_rows - 1)

    def _others(self, but: Iterable[str]) -> list[str]:
        return [name for name in self._table.column_names if name not in but]

    def _type(self, name: str) -> pa.DataType:
        return self._table.schema.field(name).type


def _text(value: Any) -> str:
    """A value of a label of two as `positive` names it."""
    if isinstance(value, bool):
        return shown(value)
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _source(text: str) -> str:
    """A source as it is written in a run file: an object in JSON is one in YAML."""
    return text if text.lstrip().startswith("{") else _written(text)


def _written(value: Any) -> str:
    """A value as it is written in a run file."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and not _AMBIGUOUS.fullmatch(value)
        return value if plain else yaml.safe_dump(value, default_style='"', allow_unicode=True, width=math.inf).strip()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value)


def _unmarked(name: str) -> str:
    """A name without the marks of its letters: `Nationalitat` for `Nationalität`."""
    return "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
