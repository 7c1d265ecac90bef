"""The limits that a model must keep to be published."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ModelWrapValidatorHandler,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from cd4ml import settings
from cd4ml.contracts import chosen, problems
from cd4ml.contracts.binary import CRITERIA
from cd4ml.contracts.chosen import CHOSEN
from cd4ml.contracts.evaluation import at, of_class
from cd4ml.contracts.problem import Metric as Row
from cd4ml.contracts.problem import Problem
from cd4ml.contracts.slices import OVERALL, Pattern
from cd4ml.errors import EvaluationError
from cd4ml.evaluation import contradictions
from cd4ml.evaluation.contradictions import Held, Mistake
from cd4ml.names import nearest, shown
from cd4ml.settings import OneOf, Strict

EXAMPLE = "as_good_as: baseline"
EXAMPLE_BOOTSTRAP = "bootstrap: {auc: {min: 0.7}}"
PARTS = ("as_good_as", "fairness", "required_slices", "bootstrap")
"""What limits name beside metrics."""
_UNSAID: Mapping[str, Any] = {"slices": [OVERALL], "confident": False}
"""What holds of a limit where nothing is said."""


def _some(patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    if not patterns:
        raise ValueError(f"names no slice; write one, such as {OVERALL} or region=*")
    return patterns


def _known_metric(name: str) -> str:
    metric, found, threshold = name.partition("@")
    known = problems.metrics()
    at_thresholds = metric in known and known[metric].at_thresholds
    if at_thresholds and not found:
        raise ValueError(f"is measured at a threshold: write {at(name, 0.5)}, or {at(name, CHOSEN)}")
    if at_thresholds and not _is_threshold(threshold):
        raise ValueError(f"{threshold!r} is no threshold between 0 and 1, and not {CHOSEN!r}")
    of_classes = metric in known and known[metric].of_classes
    if of_classes and not threshold:
        raise ValueError(f"is measured for each class: write {of_class(metric, 'CLASS')} with the name of one")
    if metric not in known or (found and not at_thresholds and not of_classes):
        raise ValueError(f"unknown; {nearest(name, (*map(_named, known.values()), *PARTS))}")
    return name


def _named(metric: Row) -> str:
    """As limits name it."""
    if metric.of_classes:
        return of_class(metric.name, "CLASS")
    return at(metric.name, 0.5) if metric.at_thresholds else metric.name


def _is_threshold(text: str) -> bool:
    try:
        return text == CHOSEN or 0 < float(text) < 1
    except ValueError:
        return False


def _truth_value(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError(f"write true, or leave it out, not {shown(value)}")
    return value


def _from_text(_: Any, schema_of: GetCoreSchemaHandler) -> CoreSchema:
    as_text = core_schema.to_string_ser_schema()
    return core_schema.no_info_after_validator_function(Pattern.parse, schema_of(str), serialization=as_text)


Slices = Annotated[
    tuple[Annotated[Pattern, GetPydanticSchema(_from_text)], ...], Field(strict=False), AfterValidator(_some)
]
"""Names as in the summary; `region=*` is each region."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Metric = Annotated[str, AfterValidator(_known_metric)]


class _Settings(Strict):
    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        names = [name for name in type(self).model_fields if name not in ("slices", "threshold", "confident")]
        if all(getattr(self, name) is None for name in names):
            raise ValueError(f"names no limit; give {' or '.join(names)}")
        return self


class _OnSlices(_Settings):
    slices: Slices = Field(default=(Pattern.parse(OVERALL),), json_schema_extra={"default": [OVERALL]})
    """Where the bounds hold; not those of the changes within."""
    confident: bool = False
    """Whether the whole interval must keep the bounds: with `min_change: -0.005` a test of non-inferiority."""


class Change(_OnSlices):
    """How far a metric may be from that of another model."""

    min_change: float | None = None
    max_change: float | None = None


class FirstModelLimit(_OnSlices):
    """What one metric must be where no champion is needed to tell."""

    min: float | None = None
    max: float | None = None
    baseline: Change | None = None


class MetricLimit(FirstModelLimit):
    """What one metric must be."""

    champion: Change | None = None


Cut = Annotated[float | str, OneOf(chosen.cut, lambda: [Annotated[float, Field(gt=0, lt=1)], Literal["chosen"]])]
"""A threshold, or the one that training chose."""


class FairnessLimit(_Settings):
    """How far a rate may differ between groups."""

    max_gap: Fraction | None = None
    min_ratio: Fraction | None = None
    max_difference: Fraction | None = None
    """Of any group from all rows."""
    threshold: Cut | None = None
    """None: at every threshold of the evaluation; `chosen`: at the candidate's."""
    confident: bool = False


class AmountLimit(FairnessLimit):
    """The same of what is no share of rows, in its own unit."""

    max_gap: Amount | None = None
    max_difference: Amount | None = None


FOUR_FIFTHS = FairnessLimit(min_ratio=0.8)


def _of_no_threshold(limit: FairnessLimit) -> FairnessLimit:
    if limit.threshold is not None:
        raise ValueError("is of no threshold; leave threshold out")
    return limit


def _of_no_ratio(limit: FairnessLimit) -> FairnessLimit:
    if limit.min_ratio is not None:
        raise ValueError("may be below 0, so groups have no ratio of it; leave min_ratio out")
    return limit


def _limit_of(metric: Row) -> Any:
    if metric.at_thresholds:
        return FairnessLimit | None
    kind: Any = FairnessLimit if metric.top == 1 else AmountLimit
    checks = [_of_no_threshold] + [_of_no_ratio] * (metric.bottom != 0)
    return Annotated[kind, *map(AfterValidator, checks)] | None


_rates: dict[str, Any] = {one.name: (_limit_of(one), None) for one in problems.among_groups()}
_ByRate = create_model("_ByRate", __base__=_Settings, **_rates)


class FairnessLimits(_ByRate):  # type: ignore[valid-type, misc]
    """What the groups of one sensitive column must keep, by rate and by criterion."""

    demographic_parity: FairnessLimit | None = None
    equal_opportunity: FairnessLimit | None = None
    equalised_odds: FairnessLimit | None = None
    predictive_parity: FairnessLimit | None = None
    four_fifths: Annotated[Literal[True], BeforeValidator(_truth_value)] | None = None

    def by_rate(self) -> Iterator[tuple[str, str, FairnessLimit]]:
        """Each limit with the name that it was given under, and the rate that it is about."""
        for name in type(self).model_fields:
            limit = getattr(self, name)
            if limit is not None:
                for rate in CRITERIA.get(name, (name,)):
                    yield name, rate, FOUR_FIFTHS if limit is True else limit


class Limits(Strict):
    """What the gate holds the candidate against."""

    metrics: dict[Metric, MetricLimit] = Field(default_factory=dict)
    as_good_as: Literal["baseline"] | None = None
    """The model than which the candidate may not be worse by the primary metric of its problem, on all rows."""
    fairness: dict[str, FairnessLimits] = Field(default_factory=dict)
    """By sensitive column, or columns with a comma between them."""
    required_slices: Slices | None = None
    """Those that must be there with rows enough to judge; `region=*` is at least one region, and each."""
    bootstrap: dict[Metric, FirstModelLimit] | None = None
    """What holds in place of the changes against the champion, as long as there is none."""

    @model_validator(mode="wrap")
    @classmethod
    def _with_every_mistake(cls, content: dict[str, Any], read: ModelWrapValidatorHandler[Self]) -> Self:
        """Reports the mistakes that need more than one place beside those of one place."""
        errors: list[InitErrorDetails] = []
        try:
            found = read(content)
        except ValidationError as invalid:
            errors = [
                InitErrorDetails(type=one["type"], loc=one["loc"], input=one["input"], ctx=one.get("ctx", {}))
                for one in invalid.errors()
            ]
            found = read(_without(content, [one["loc"] for one in errors]))
        errors += [
            InitErrorDetails(type=PydanticCustomError("value_error", "{said}", {"said": said}), loc=place, input=None)
            for place, said in dict.fromkeys((*_missing(content), *_mistakes(found)))
        ]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return found


def parse(limits: Mapping[str, Any]) -> Limits:
    """Checks limits, before anything runs.

    Args:
        limits: By metric, and in the parts beside metrics, as `docs/limits.md` has them.

    Raises:
        EvaluationError: With every mistake.
    """
    return settings.parse(
        Limits, content=grouped(limits), name="model limits", error=EvaluationError, unnamed="metrics"
    )


def recorded(limits: Mapping[str, Any]) -> Limits:
    """Reads limits as the record of a run has them: with the metrics as one part, and with all that was not written.

    Raises:
        EvaluationError: They are not as they should be.
    """
    return parse(as_written(limits))


def as_written(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as a person writes them, of those that the record of a run has."""
    parts = {name: one for name, one in recorded.items() if name != "metrics"}
    return _without_unsaid({**recorded.get("metrics", {}), **parts})


def _without_unsaid(content: Mapping[str, Any]) -> dict[str, Any]:
    """Without what holds where nothing is said."""
    said = {name: one for name, one in content.items() if _UNSAID.get(name) != one}
    return {name: _without_unsaid(one) if isinstance(one, Mapping) else one for name, one in said.items()}


def misfits(allowed: Limits, problem: Problem) -> Iterator[str]:
    """What the limits name that is no metric of a problem, with those that it has.

    Args:
        allowed: The limits, which may be of any problem.
        problem: What the candidate predicts.
    """
    known = ", ".join(one.name for one in problem.metrics)
    for name in dict.fromkeys((*allowed.metrics, *(allowed.bootstrap or {}))):
        if name not in problem:
            yield f"{name}: no metric of {problem.task}; there are {known}"
    compared = ", ".join(one.name for one in problem.among_groups)
    for key, rates in allowed.fairness.items():
        for name, rate, _ in rates.by_rate():
            if rate not in problem:
                yield f"fairness.{key}.{name}: {rate} is no metric of {problem.task}; compare groups by {compared}"


def grouped(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as a person writes them, with the metrics as one part beside the others."""
    metrics = {name: limit for name, limit in limits.items() if name not in PARTS}
    return {"metrics": metrics, **{name: limits[name] for name in PARTS if name in limits}}


def digest(allowed: Limits) -> str:
    """Tells limits from all others: `sha256:` over their canonical JSON."""
    content = allowed.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _without(content: Mapping[str, Any], places: list[tuple[int | str, ...]]) -> dict[str, Any]:
    """The limits that are good by themselves."""
    wrong = {place[:2] for place in places}
    return {
        part: {name: limit for name, limit in limits.items() if (part, name) not in wrong}
        for part, limits in content.items()
        if isinstance(limits, dict) and (part,) not in wrong
    }


def _missing(content: Mapping[str, Any]) -> Iterator[Mistake]:
    if not any(content.get(part) for part in ("metrics", "as_good_as", "fairness")):
        yield (), f"there is no limit, so every model would pass; write at least one, such as {EXAMPLE}"
    if content.get("bootstrap") == {}:
        yield ("bootstrap",), f"names no limit; write at least one, such as {EXAMPLE_BOOTSTRAP}"
    compared = [name for name, limit in content["metrics"].items() if isinstance(limit, dict) and limit.get("champion")]
    if compared and content.get("bootstrap") is None:
        row = problems.metrics().get(compared[0].partition("@")[0])
        bound = "max_change" if row and row.better == "lower" else "min_change"
        yield (
            (compared[0], "champion"),
            "a first model has no champion to be compared with; say what it must keep, such as "
            f"bootstrap: {{{compared[0]}: {{baseline: {{{bound}: 0}}}}}}",
        )


def _mistakes(found: Limits) -> Iterator[Mistake]:
    held = list(_held(found))
    for one in held:
        yield from contradictions.out_of_range(one)
    yield from contradictions.between(held)
    for place, metric, limit in _metric_limits(found):
        yield from _idle(place, limit)
        of_others = [((*place, other), change) for other, change in changes(limit)]
        parts: list[tuple[tuple[str, ...], _OnSlices]] = [(place, limit), *of_others]
        for where, part in parts:
            if problems.metric(metric).of == "model" and any(one.columns for one in part.slices):
                yield (*where, "slices"), f"{metric} is of the whole model and of no slice; leave slices out"
            if problems.metric(metric).interval is None and part.confident:
                yield (*where, "confident"), f"{metric} has no interval, so this could never be kept; leave it out"


def _metric_limits(found: Limits) -> Iterator[tuple[tuple[str, ...], str, FirstModelLimit]]:
    yield from (((name,), name, limit) for name, limit in found.metrics.items())
    yield from ((("bootstrap", name), name, limit) for name, limit in (found.bootstrap or {}).items())


def _held(found: Limits) -> Iterator[Held]:
    for place, metric, limit in _metric_limits(found):
        for pattern in limit.slices:
            yield Held(place, "", metric, pattern, ("min", limit.min), ("max", limit.max))
        for other, change in changes(limit):
            for pattern in change.slices:
                low, high = ("min_change", change.min_change), ("max_change", change.max_change)
                yield Held((*place, other), other, metric, pattern, low, high)


def changes(limit: FirstModelLimit) -> Iterator[tuple[str, Change]]:
    """The limits of a metric against the other models."""
    for other in ("baseline", "champion"):
        change = getattr(limit, other, None)
        if change:
            yield other, change


def _idle(place: tuple[str, ...], limit: FirstModelLimit) -> Iterator[Mistake]:
    if limit.min is not None or limit.max is not None:
        return
    for name in sorted({"slices", "confident"} & limit.model_fields_set):
        others = " and ".join(other for other, _ in changes(limit))
        yield (*place, name), f"is about min and max, and neither is given; write it under {others}"
