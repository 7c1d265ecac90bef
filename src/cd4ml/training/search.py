"""What a run file says of a sweep: which settings of a model are tried, for what, and for how long."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, field_validator, model_validator

from cd4ml import settings
from cd4ml.contracts import chosen
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.contracts.ordinal import MEAN_CLASS_ERROR
from cd4ml.contracts.problems import PROBLEMS
from cd4ml.errors import TrainingError
from cd4ml.names import nearest, shown
from cd4ml.settings import OneOf, Seed, Strict, Whole
from cd4ml.training.trainers import Minutes, Trainer

MOST_TRIALS, MOST_PLACES, MOST_CHOICES = 1000, 64, 100
BESIDE = {"binary": ("auc_pr",), "ordinal": (MEAN_CLASS_ERROR,), "regression": ("mean_absolute_error",)}
"""By problem what a trial can be best by, beside the primary metric of the problem and the loss."""
LOSS = "loss"
RATES = {
    "binary": ("selection_rate", "true_positive_rate", "false_positive_rate", "precision"),
    "regression": ("mean_error", "mean_prediction", "mean_absolute_error"),
}
"""By problem what groups can be compared by: of two classes at a threshold."""
INNER = 0.381966
"""How far into a range the number lies that tells whether a setting takes fractions."""
FIXED = ("model", "function", "source")
"""What tells models apart, and no setting of one."""


class Range(Strict):
    """Numbers from one to another."""

    min: float
    max: float
    log: bool = False
    """Whether 0.001 to 0.01 is as likely as 0.01 to 0.1."""
    whole: bool = False
    """Whether the numbers are whole."""

    @model_validator(mode="after")
    def _has_numbers(self) -> "Range":
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} is not below max {self.max:g}; swap or widen them")
        if self.log and self.min <= 0:
            raise ValueError(f"min {self.min:g} has no logarithm; write one above 0, or leave log out")
        if self.whole and not (self.min.is_integer() and self.max.is_integer()):
            raise ValueError(f"min {self.min:g} and max {self.max:g} are to be whole; write whole numbers")
        return self

    @property
    def ends(self) -> tuple[Any, Any]:
        """The least and the most, as a setting has them."""
        return (int(self.min), int(self.max)) if self.whole else (self.min, self.max)


Choices = Annotated[list[Any], WithJsonSchema({"type": "array", "minItems": 2, "maxItems": MOST_CHOICES})]
AnyRange = Annotated[Range | Choices, OneOf(lambda content: _range(content), lambda: [Range, Choices])]


def _range(content: Any) -> Range | Choices:
    if isinstance(content, Range):
        return content
    if isinstance(content, Mapping):
        return settings.within(Range, content)
    if not isinstance(content, list) or not 2 <= len(content) <= MOST_CHOICES:
        raise ValueError(f"write {{min, max}}, or a list of 2 to {MOST_CHOICES} choices, not {shown(content)}")
    if any(one == other for place, one in enumerate(content) for other in content[:place]):
        raise ValueError("name each choice once")
    return content


Cut = Annotated[float | str, OneOf(chosen.cut, lambda: [Annotated[float, Field(gt=0, lt=1)], Literal["chosen"]])]
"""A threshold, or the one that the training of the trial chose."""


class EvalGap(Strict):
    """How far a rate may differ between groups on eval."""

    max_gap: Annotated[float, Field(ge=0)]
    threshold: Cut = 0.5
    """Above which a row counts as positive; a number that is predicted has none."""

    @property
    def cut(self) -> str:
        """The threshold, for people."""
        return self.threshold if isinstance(self.threshold, str) else f"{self.threshold:g}"


def _rate(name: str) -> str:
    known = [one for rates in RATES.values() for one in rates]
    if name not in known:
        raise ValueError(f"no sweep compares groups by {shown(name)}; {nearest(name, known)}")
    return name


def objectives(problem: str) -> tuple[str, ...]:
    """What a trial can be best by, of a problem that is named; the first where nothing is said."""
    return (PROBLEMS[problem].primary, *BESIDE.get(problem, ()), LOSS)


def _objective(name: str) -> str:
    known = dict.fromkeys(one for problem in PROBLEMS for one in objectives(problem))
    if name not in known:
        raise ValueError(f"no trial is measured by {shown(name)}; {nearest(name, known)}")
    return name


Rate = Annotated[str, AfterValidator(_rate)]


class Constraints(Strict):
    """What a trial must keep to win."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Of one row, on the machine of the trial."""
    size_mib: Annotated[float, Field(gt=0)] | None = None
    """Of the model's files."""
    fairness: dict[Annotated[str, Field(min_length=1)], dict[Rate, EvalGap]] = Field(default_factory=dict)
    """By sensitive column and rate."""

    @property
    def gaps(self) -> Iterator[tuple[str, str, str, EvalGap]]:
        """Each gap with its name, its column and its rate."""
        for column, rates in self.fairness.items():
            for rate, gap in rates.items():
                cut = f"@{gap.cut}" if rate in RATES["binary"] else ""
                yield f"fairness.{column}.{rate}{cut}", column, rate, gap

    @property
    def bounds(self) -> dict[str, float]:
        """By name the most that is allowed."""
        of_model = {"latency_ms": self.latency_ms, "size_mib": self.size_mib}
        gaps = {name: gap.max_gap for name, _, _, gap in self.gaps}
        return {name: most for name, most in of_model.items() if most is not None} | gaps


class Search(Strict):
    """A sweep over the settings of the candidate."""

    ranges: Annotated[dict[Annotated[str, Field(min_length=1)], AnyRange], Field(min_length=1, max_length=32)]
    """By setting what is tried; one of a function's own as `settings.depth`."""
    trials: Annotated[Whole, Field(ge=1, le=MOST_TRIALS)] | None = None
    """How many, at most."""
    minutes: Minutes | None = None
    """After which no further round of trials begins."""
    objective: Annotated[str, AfterValidator(_objective)] | None = None
    """What is best on eval: a metric that training measures, or `loss`; without, the primary metric of the problem."""
    constraints: Constraints = Field(default_factory=Constraints)
    """What the winner must keep on eval."""
    parallel: Annotated[Whole, Field(ge=1, le=MOST_PLACES)] = 1
    """How many trials run side by side; what the next are follows from all before them."""
    seed: Seed = 0
    """Of what is tried."""

    @model_validator(mode="after")
    def _ends(self) -> "Search":
        if self.trials is None and self.minutes is None:
            raise ValueError("has no end; write how many `trials`, or for how many `minutes`")
        return self

    @field_validator("ranges")
    @classmethod
    def _vary_one_model(cls, ranges: dict[str, Any]) -> dict[str, Any]:
        for name in ranges:
            if name in FIXED:
                raise ValueError(f"{name}: a sweep varies the settings of one model; sweep each in a run of its own")
            if name == "calibration":
                raise ValueError(f"{name}: is fitted to eval, which so cannot judge it; write one in the candidate")
            if within := next((one for one in ranges if one.startswith(f"{name}.")), None):
                raise ValueError(f"{name}: {within} lies within it; leave out one of both")
        return ranges

    @property
    def most(self) -> int:
        """How many trials there are at most."""
        return self.trials or MOST_TRIALS


Nothing = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "maxProperties": 0})]


def _checked(content: Any) -> Search | None:
    if isinstance(content, Search) or content is None:
        return content
    return settings.within(Search, content) if content else None


AnySearch = Annotated[Search | None, OneOf(_checked, lambda: [Search, Nothing])]
"""A sweep as a part of other settings; none where it is empty."""


def parse(content: Mapping[str, Any]) -> Search:
    """Checks what a run file says of a sweep.

    Raises:
        TrainingError: With every mistake, each on its line.
    """
    return settings.parse(Search, content=content, name="sweep", error=TrainingError)


def places(content: Mapping[str, Any]) -> list[str]:
    """The numbers of the places of a sweep beside the first, which is the candidate's own; none without a sweep.

    Raises:
        TrainingError: The sweep is wrong.
    """
    return [str(number) for number in range(1, parse(content).parallel)] if content else []


def varied(spec: Mapping[str, Any], tried: Mapping[str, Any]) -> dict[str, Any]:
    """A specification with some of its settings in the place of those that it has.

    Args:
        spec: As in a pipeline's arguments.
        tried: By the names of ranges.
    """
    found: dict[str, Any] = dict(spec)
    for name, value in tried.items():
        setting, _, inner = name.partition(".")
        found[setting] = varied(found.get(setting, {}), {inner: value}) if inner else value
    return found


def found(spec: Mapping[str, Any], name: str) -> Any:
    """The value of a setting of a specification, by the name of a range."""
    setting, _, inner = name.partition(".")
    return found(spec[setting], inner) if inner else spec[setting]


def mistakes(search: Search, trainer: Trainer, *, problem: str) -> Iterator[str]:
    """What of a sweep does not fit the model whose settings it varies, or the problem.

    Args:
        search: The sweep.
        trainer: The model.
        problem: Its name, or `auto`.
    """
    for name, tried in search.ranges.items():
        yield from _unfit(name, tried, trainer)
    for name, _, _, gap in search.constraints.gaps:
        if gap.threshold == CHOSEN and not trainer.threshold:
            yield f"sweep.constraints.{name}: no threshold is chosen; write a number, or a `threshold` of the candidate"
    if problem not in PROBLEMS:
        return
    known, rates = objectives(problem), RATES.get(problem, ())
    if search.objective and search.objective not in known:
        yield f"sweep.objective: {search.objective} means nothing here; {nearest(search.objective, known)}"
    for name, _, rate, _ in search.constraints.gaps:
        if rate not in rates:
            yield f"sweep.constraints.{name}: {rate} means nothing here; {nearest(rate, rates)}"


def _unfit(name: str, tried: Range | Choices, trainer: Trainer) -> Iterator[str]:
    setting, _, inner = name.partition(".")
    known = [one for one in type(trainer).model_fields if one not in FIXED]
    place = f"sweep.ranges.{name}"
    if setting not in known:
        yield f"{place}: {trainer.model!r} has no such setting; {nearest(setting, known)}"
        return
    held, outer = getattr(trainer, setting), setting
    for part in inner.split(".") if inner else ():
        if not isinstance(held, Mapping):
            yield f"{place}: {outer} has no settings within it; leave out what follows the point"
            return
        held, outer = held.get(part, {}), f"{outer}.{part}"
    values = tried.ends if isinstance(tried, Range) else tried
    refused = [said for value in values if (said := _refused(trainer, name, value))]
    if refused:
        yield f"{place}: {refused[0]}"
    elif isinstance(tried, Range) and not tried.whole:
        fraction = tried.min + INNER * (tried.max - tried.min)
        if _refused(trainer, name, fraction):
            yield f"{place}: {setting} takes whole numbers alone; write `whole: true`"


def _refused(trainer: Trainer, name: str, value: Any) -> str:
    """Why a model does not take a value; empty where it does."""
    spec = trainer.model_dump(mode="json", exclude_unset=True)
    try:
        type(trainer).model_validate(varied(spec, {name: value}))
    except ValidationError as invalid:
        return "; ".join(settings.sentence(one, type(trainer)) for one in settings.mistakes(invalid))
    return ""
