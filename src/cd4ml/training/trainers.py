"""The trainers: what a team may say about a model, which one and its hyperparameters, and what trains it.

A trainer is settings, which are checked wherever a run is asked for, and a way to train, which runs where TensorFlow
is: it is imported within the methods. A team's own are rows of `TRAINERS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticKnownError

from cd4ml import settings
from cd4ml.contracts import calibrated
from cd4ml.errors import PluginError, TrainingError
from cd4ml.names import nearest, shown
from cd4ml.plugins import PluginPoint
from cd4ml.settings import OneOf, Strict, Whole
from cd4ml.training import code

if TYPE_CHECKING:
    import keras

    from cd4ml.training.job import Fitted, TrainingJob
    from cd4ml.training.network import Features


def _each_once(columns: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(columns)) < len(columns):
        raise ValueError("name each column once")
    return columns


def _by_value(columns: tuple[str, ...]) -> tuple[str, ...]:
    if columns:
        raise ValueError("this model knows a text by its value alone; leave it out, or train another model")
    return columns


Columns = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False), AfterValidator(_each_once)]
KnownByValue = Annotated[Columns, AfterValidator(_by_value)]
Epochs = Annotated[Whole, Field(ge=1, le=100_000)]
Rows = Annotated[Whole, Field(ge=1, le=2**24)]
Units = Annotated[Whole, Field(ge=1, le=2**16)]
Minutes = Annotated[float, Field(gt=0, le=100_000)]
STEPS, LEAST_BATCH, MOST_BATCH = 64, 32, 2048
"""Steps that an epoch has at least, and the rows of a step, a power of 2, where nothing else is said."""
LearningRate = Annotated[float, Field(gt=0, le=100)]
Accelerator = Literal["auto", "gpu", "cpu"]
Precision = Literal["float32", "mixed"]
Calibration = Literal["none", calibrated.Method]


def _function(name: str) -> str:
    code.parts(name)
    return name


def _packed(source: str) -> str:
    if source:
        code.unpacked(source)
    return source


def _class_weights(written: Any) -> Any:
    if written == BALANCED:
        return written
    if not isinstance(written, Mapping) or not written:
        raise ValueError(f"write `{BALANCED}`, or a weight by class, as {{fraud: 10}}, not {shown(written)}")
    for name, weight in written.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MOST_WEIGHT:
            raise ValueError(f"{name}: a weight is a number above 0, at most {MOST_WEIGHT:,}, not {shown(weight)}")
    return {shown(name) if isinstance(name, bool) else str(name): float(weight) for name, weight in written.items()}


BALANCED, MOST_WEIGHT = "balanced", 1_000_000
ClassWeights = Annotated[
    Literal["balanced"] | Mapping[str, Annotated[float, Field(gt=0, le=MOST_WEIGHT)]], BeforeValidator(_class_weights)
]


Cost = Annotated[float, Field(gt=0, le=1e12)]


class Costs(Strict):
    """What an error costs, in any unit."""

    false_positive: Cost = 1.0
    false_negative: Cost = 1.0


class FairnessGap(Strict):
    """How far a rate may be apart between the groups of each column."""

    columns: Annotated[Columns, Field(min_length=1)]
    metric: Literal["selection_rate", "true_positive_rate", "false_positive_rate"] = "true_positive_rate"
    most: Annotated[float, Field(ge=0, le=1)]


class ThresholdChoice(Strict):
    """By what the threshold of a model is chosen."""

    costs: Costs
    """A threshold is the better, the less its errors cost together."""
    fairness_gap: FairnessGap | None = None
    """What it has to keep."""


class Dates(Strict):
    """Which columns of dates or times a model sees, and what their age is."""

    columns: Annotated[Columns, Field(min_length=1)]
    """Of each its age, and where it stands in the year, the week and the day."""
    since: Annotated[str, Field(min_length=1)] | None = None
    """The column of the moment that ages are measured against, as that of a row's question; without, the latest moment
    of each column in train."""

    @property
    def named(self) -> tuple[str, ...]:
        """All columns that it is about, each once."""
        return tuple(dict.fromkeys([*self.columns, *([self.since] if self.since else [])]))


def _dates(written: Any) -> Any:
    """Columns alone, as the whole has them."""
    return {"columns": written} if isinstance(written, list | tuple) else written


def dates_of(written: Any) -> tuple[str, ...]:
    """The columns that a specification names as dates.

    Args:
        written: As it has them, columns or the whole; nothing where it names none.
    """
    return Dates.model_validate(_dates(written)).named if written else ()


def _no_dates(_: Dates) -> Dates:
    raise ValueError("this model knows no dates; leave it out, or train another model")


DateColumns = Annotated[Dates, BeforeValidator(_dates, json_schema_input_type=Columns | Dates)]
NoDates = Annotated[DateColumns, AfterValidator(_no_dates)]


class Trainer(Strict, ABC):
    """A way to train a model, with its hyperparameters as fields; what a team brings is a subclass."""

    may_be_shared: ClassVar[bool] = False
    """Whether several workers can train one of its models together."""
    may_start_warm: ClassVar[bool] = False
    """Whether it can begin with the weights of a model of its kind (`TrainingJob.start`)."""

    model: str
    """The name in the table of trainers; a subclass has it as `Literal["name"] = "name"`."""
    reweight: Columns = ()
    """Columns whose groups get the same label rate, by weights on the train rows (`cd4ml.training.reweight`)."""
    class_weights: ClassWeights | None = None
    """What train rows count by class: `balanced`, or a weight by class, as {fraud: 10}; without, all the same."""
    calibration: Calibration = "none"
    """How the probabilities of classes are fitted to the eval split once it is trained, within the model."""
    threshold: ThresholdChoice | None = None
    """By what the threshold above which a row counts as positive is chosen on eval; without, `thresholds` say it."""
    texts: Columns = ()
    """Columns of text that are known by their words and not by their values."""
    dates: DateColumns | None = None
    """Columns of dates or times that are known by their age and by where they stand in the year, the week and the day;
    those that are not named are no features."""

    @model_validator(mode="before")
    @classmethod
    def _with_whole_numbers(cls, content: Any) -> Any:
        return _whole(content)

    @model_validator(mode="after")
    def _calibrates_what_weights_move(self) -> "Trainer":
        if self.class_weights and self.calibration == "temperature":
            raise ValueError(
                "calibration: a temperature leaves the label rate that class_weights feign; of two classes write "
                "`isotonic`, of three and more leave calibration out"
            )
        return self

    @property
    def recorded(self) -> dict[str, Any]:
        """As the contract of its model has it."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def columns_named(self) -> dict[str, tuple[str, ...]]:
        """By setting the columns that it names."""
        gap = self.threshold.fairness_gap if self.threshold else None
        return {
            "reweight": self.reweight,
            "texts": self.texts,
            "dates": self.dates.named if self.dates else (),
            "threshold.fairness_gap": gap.columns if gap else (),
        }

    @abstractmethod
    def fit(self, job: "TrainingJob") -> "Fitted":
        """Trains a model: the one door of a team's own code, where TensorFlow is.

        Args:
            job: All that there is to train with; its `weights` count where they are given.

        Raises:
            TrainingError: The data does not allow it.
        """


def _whole(value: Any) -> Any:
    """Whole numbers as such: a task gets 64 as 64.0, for KFP makes no difference."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list() | tuple():
            return [_whole(one) for one in value]
        case Mapping():
            return {name: _whole(one) for name, one in value.items()}
    return value


class Network(Trainer):
    """A network on the preprocessed features, trained until the eval split's score gets no better."""

    may_be_shared: ClassVar[bool] = True
    may_start_warm: ClassVar[bool] = True

    epochs: Epochs = 50
    batch_size: Rows | None = None
    """Rows a step; without, so many that an epoch has at least 64 steps, but 32 to 2048."""
    learning_rate: LearningRate = 0.003
    """Of the first step; after each epoch without a better score on the eval split it is halved, to 1/64 at least."""
    patience: Epochs = 5
    """Epochs without a better score on the eval split before training ends."""
    minutes: Minutes | None = None
    """After which training ends, with the best epoch's weights; without, it takes the time that its epochs take."""
    precision: Precision = "float32"
    """Of the steps: `mixed` takes them in bfloat16 on GPUs that can; the weights, and what is served, are float32."""
    deterministic: bool = False
    """Whether GPUs add up in a fixed order, slower, so that the same seed gives the same weights on them too."""

    @abstractmethod
    def logit(self, features: "Features") -> "keras.KerasTensor":
        """The network: from the preprocessed features to its outputs, float32 [batch, `features.outputs`].

        That is the logit of the positive class, or of each of three and more classes, or the number to predict in
        standard deviations from its mean.
        """

    def fit(self, job: "TrainingJob") -> "Fitted":
        """Trains the network on what the encoder makes of the rows, and keeps the best epoch's weights."""
        from cd4ml.training import network

        return network.train(self, job)

    def batch(self, rows: int) -> int:
        """The rows of a step.

        Args:
            rows: Of the train split.
        """
        if self.batch_size:
            return self.batch_size
        most = max(rows // STEPS, LEAST_BATCH)
        return min(1 << most.bit_length() - 1, MOST_BATCH)


class Linear(Network, json_schema_extra={"required": ["model"]}):
    """Logistic, or of a number linear, regression on the preprocessed features: the baseline of the first day."""

    model: Literal["linear"] = "linear"
    learning_rate: LearningRate = 0.02

    def logit(self, features: "Features") -> "keras.KerasTensor":
        """A weight a feature, and one a value of the texts with many, for each output."""
        return _wide(features)


class Layered(Network):
    """A network with hidden layers."""

    hidden: Annotated[tuple[Units, ...], Field(min_length=1, max_length=64, strict=False)] = (64, 32)
    """Units of each hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def deep(self, features: "Features") -> "keras.KerasTensor":
        """Layer upon layer."""
        from keras import layers

        hidden = features.vector()
        for units in self.hidden:
            hidden = layers.Dense(units, activation="relu")(hidden)
            hidden = layers.Dropout(self.dropout)(hidden)
        return layers.Dense(features.outputs)(hidden)


class Dnn(Layered, json_schema_extra={"required": ["model"]}):
    """A network with hidden layers."""

    model: Literal["dnn"] = "dnn"

    def logit(self, features: "Features") -> "keras.KerasTensor":
        """The layers alone."""
        return self.deep(features)


class WideAndDeep(Layered, json_schema_extra={"required": ["model"]}):
    """Logistic regression and a network with hidden layers, trained together as one sum."""

    model: Literal["wide_and_deep"] = "wide_and_deep"

    def logit(self, features: "Features") -> "keras.KerasTensor":
        """The layers find what the weights leave over."""
        return _wide(features) + self.deep(features)


def _wide(features: "Features") -> "keras.KerasTensor":
    from keras import layers

    logit = layers.Dense(features.outputs, kernel_initializer="zeros")(features.dense)
    for weight in features.embedded(lambda _: features.outputs):
        logit = logit + weight
    return logit


class Trees(Trainer, json_schema_extra={"required": ["model"]}):
    """Gradient-boosted trees, grown until the eval split's score gets no better."""

    model: Literal["trees"] = "trees"
    trees: Annotated[Whole, Field(ge=1, le=1000)] = 300
    """At most; of three and more classes so many for each."""
    leaves: Annotated[Whole, Field(ge=2, le=64)] = 31
    """Of a tree, at most."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What a tree counts."""
    min_rows: Rows = 20
    """Train rows of a leaf, at least."""
    patience: Annotated[Whole, Field(ge=1, le=1000)] = 30
    """Trees without a better score on the eval split before training ends."""
    texts: KnownByValue = ()

    def fit(self, job: "TrainingJob") -> "Fitted":
        """Grows the trees, and keeps as many as had the best score."""
        from cd4ml.training import trees

        return trees.train(self, job)


def _constant(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str) or value == "":
        raise ValueError(f"write a text, a number, true or false, not {shown(value)}")
    return value


Constant = Annotated[bool | float | str, BeforeValidator(_constant)]
Constants = Annotated[tuple[Constant, ...], Field(min_length=1, max_length=10_000, strict=False)]


class Condition(Strict):
    """What the value of a column must be: one of some, within bounds, or missing; a missing one is neither of those."""

    values: Constants | None = None
    min: float | None = None
    max: float | None = None
    missing: bool | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Condition":
        bounded = self.min is not None or self.max is not None
        if (self.values is not None) + bounded + (self.missing is not None) != 1:
            raise ValueError("write one of: a value, a list of values, {min, max}, {missing: true}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"no number is at least {self.min:g} and at most {self.max:g}; swap min and max")
        return self


def _condition(written: Any) -> Any:
    """A value or a list of some says that the column must be it, or one of them."""
    if isinstance(written, Mapping | Condition):
        return written
    return {"values": written if isinstance(written, list | tuple) else [written]}


WrittenCondition = Annotated[
    Condition,
    BeforeValidator(_condition, json_schema_input_type=bool | float | str | list[bool | float | str] | Condition),
]
Probability = Annotated[float, Field(ge=0, le=1)]


class Rule(Strict):
    """A row of a table of rules."""

    when: Annotated[dict[str, WrittenCondition], Field(min_length=1)]
    """Conditions by column, all of which hold."""
    probability: Probability
    """Of the positive class."""


class Rules(Trainer, json_schema_extra={"required": ["model", "rules", "default"]}):
    """A table of rules, of which the first that holds says the probability: what there is before anything is learnt."""

    model: Literal["rules"] = "rules"
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=1000, strict=False)]
    """From the first on: conditions by column, and the probability where all of them hold."""
    default: Probability
    """The probability where no rule holds."""
    texts: KnownByValue = ()
    dates: NoDates | None = None

    @field_validator("reweight", "class_weights")
    @classmethod
    def _learns_nothing(cls, weighted: Any) -> Any:
        if weighted:
            raise ValueError("rules learn nothing from rows, so no weight changes them; leave it out")
        return weighted

    @property
    def columns_named(self) -> dict[str, tuple[str, ...]]:
        """With those of its conditions."""
        conditions = dict.fromkeys(name for rule in self.rules for name in rule.when)
        return {**super().columns_named, "rules": tuple(conditions)}

    @property
    def probabilities(self) -> tuple[float, ...]:
        """What each rule says, and last what is said where none holds."""
        return (*(rule.probability for rule in self.rules), self.default)

    def fit(self, job: "TrainingJob") -> "Fitted":
        """Writes the rules as they stand, and measures them."""
        from cd4ml.training import rules

        return rules.train(self, job)


class Function(Trainer, json_schema_extra={"required": ["function"]}):
    """What a function of your own trains (docs/your-model.md)."""

    model: Literal["function"] = "function"
    function: Annotated[str, AfterValidator(_function)]
    """Its module and name, `team.models:wide`: of `team/models.py` beside the run file, or of an installed package."""
    settings: Mapping[str, Any] = {}
    """What it finds as `job.settings`."""
    minutes: Minutes = 24 * 60
    """After which it is ended, and the training fails."""
    source: Annotated[str, AfterValidator(_packed)] = ""
    """Of its module, where that lies beside the run file; filled in by cd4ml alone."""

    @property
    def recorded(self) -> dict[str, Any]:
        """With the digest of its code in place of the code."""
        written = {name: value for name, value in super().recorded.items() if name != "source"}
        return {**written, "code": code.digest(self.function, self.source)}

    def fit(self, job: "TrainingJob") -> "Fitted":
        """Calls it, and looks at what it gives."""
        from cd4ml.training import function

        return function.train(self, job)


TRAINERS: PluginPoint[type[Trainer]] = PluginPoint(
    kind="model",
    group="cd4ml.trainers",
    of=Trainer,
    built_in={
        "rules": "cd4ml.training.trainers:Rules",
        "linear": "cd4ml.training.trainers:Linear",
        "dnn": "cd4ml.training.trainers:Dnn",
        "wide_and_deep": "cd4ml.training.trainers:WideAndDeep",
        "trees": "cd4ml.training.trainers:Trees",
        "function": "cd4ml.training.trainers:Function",
    },
)


def parse(spec: Mapping[str, Any]) -> Trainer:
    """Checks a specification and fills in its defaults.

    Args:
        spec: As in a pipeline's arguments: `{"model": "dnn", "hidden": [64, 32]}`.

    Raises:
        TrainingError: With every mistake, each on its line.
    """
    try:
        trainer = _named(spec)
    except PluginError as unknown:
        raise TrainingError(f"model specification: {unknown}") from unknown
    name = spec.get("model", "function")
    return settings.parse(trainer, content=spec, name=f"model specification of {name!r}", error=TrainingError)


def check_workers(trainer: Trainer, workers: int, *, sweep: bool = False) -> None:
    """Makes sure that as many workers can train a model together as were asked for.

    Args:
        trainer: The model.
        workers: How many are asked for.
        sweep: Whether its settings are searched first.

    Raises:
        TrainingError: They cannot.
    """
    if workers > 1 and not trainer.may_be_shared:
        raise TrainingError(
            f"workers: {trainer.model!r} is trained by one process, and {workers} are asked for; leave workers out, "
            "or train a network (linear, dnn, wide_and_deep)"
        )
    if workers > 1 and sweep:
        raise TrainingError(
            "workers: each trial of a sweep is one process; leave workers out, and train with the settings that win "
            "in another run"
        )


def _named(spec: Mapping[str, Any]) -> type[Trainer]:
    if "model" not in spec and "function" in spec:
        return Function
    if "model" not in spec:
        raise PluginError(f"names no model; {nearest('', TRAINERS.names)}")
    return TRAINERS.load(str(spec["model"]))


def _checked(spec: Any) -> Trainer:
    """Checks a specification by the model that it names, so that the mistakes are about that one alone."""
    if isinstance(spec, Trainer):
        return spec
    if not isinstance(spec, Mapping):
        raise PydanticKnownError("dict_type")
    return settings.within(_named(spec), spec)


AnyTrainer = Annotated[Trainer, OneOf(_checked, lambda: map(TRAINERS.load, TRAINERS.names))]
"""A specification as a part of other settings."""


def with_code(spec: Any, folder: Path) -> Any:
    """A specification, with the module beside the run file that it names.

    Args:
        spec: As in a pipeline's arguments; what is none stays as it is.
        folder: That of the run file.

    Raises:
        TrainingError: The module cannot be read, or is too large.
    """
    function = spec.get("function") if isinstance(spec, Mapping) else None
    if not isinstance(function, str) or ":" not in function:
        return spec
    source = code.beside(function, folder)
    return {**spec, "source": source} if source else spec


def check_columns(columns: Sequence[Any]) -> Sequence[str]:
    """Makes sure that these are names of columns.

    Raises:
        TrainingError: One is none.
    """
    wrong = [one for one in columns if not (one and isinstance(one, str))]
    if wrong:
        raise TrainingError(f"{shown(wrong[0])} is no name of a column; write names, in quotes where they are numbers")
    return columns
