"""What the training pipeline takes."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from cd4ml.cluster import placing
from cd4ml.contracts import problems, question
from cd4ml.contracts.binary import BINARY
from cd4ml.contracts.dataset import ROWS, Duplicates, Mode, check_key
from cd4ml.contracts.model import Contract
from cd4ml.contracts.ordinal import ORDINAL, check_classes
from cd4ml.data import curated, masks
from cd4ml.data.masks import Masks
from cd4ml.data.sources import AnySource
from cd4ml.data.split import AnySplit
from cd4ml.deployment import strategies, targets, waiting
from cd4ml.deployment.evidence.limits import check_fits
from cd4ml.deployment.strategies import AnyStrategy
from cd4ml.evaluation import arguments as evaluation
from cd4ml.evaluation.written import ModelLimits
from cd4ml.names import shown
from cd4ml.running.arguments import (
    Arguments,
    Means,
    Name,
    Store,
    Text,
    Within,
    checked_by,
    on_this_machine,
    told,
    written,
)
from cd4ml.settings import MAX_SEED
from cd4ml.training import search
from cd4ml.training.search import AnySearch
from cd4ml.training.trainers import Accelerator, AnyTrainer, check_columns, check_workers
from cd4ml.validation import waivers as waivers_of
from cd4ml.validation.limits import Limits as DataLimits

MAX_GPUS = 64
"""More than any node has."""
MAX_WORKERS = 64
_COLUMN = {"type": "string", "minLength": 1}
_COLUMNS = {"type": "array", "items": _COLUMN}
_CLASSES = {"type": "array", "items": {"anyOf": [_COLUMN, {"type": "integer"}]}, "uniqueItems": True}


SOME_CLASSES = ("one", "another", "a third")
"""Of a label of which no more is known than that it has several."""
_RUNNER = WithJsonSchema({"type": "array", "items": {"type": "string"}})


class Training(Arguments):
    """A run of the training pipeline."""

    name: Annotated[Name, Means.MODEL]
    """The model's name in the registry."""
    source: Annotated[AnySource, Means.TEXT_IN_KFP]
    """The table: a path, an `s3://` URI or a web address; or an object such as `{file: PATH}` (JSON, in KFP)."""
    dataset: Name
    """The dataset's name in the store; its versions are kept there."""
    key: Annotated[
        Any, checked_by(check_key), WithJsonSchema({"anyOf": [_COLUMN, {**_COLUMNS, "minItems": 1}]}), Means.TEXT_IN_KFP
    ]
    """The column that tells rows apart; a list of several; or `rows`, where only all of them do (JSON, in KFP)."""
    label: Text
    """The column to predict."""
    store: Store
    """A folder, or `s3://bucket/prefix`: datasets, published models, deployments."""
    problem: Annotated[str, checked_by(question.check_problem), WithJsonSchema({"enum": question.PROBLEMS})] = (
        question.AUTO
    )
    """What the label asks for; `auto` finds it (docs/training.md)."""
    positive: str = ""
    """The value of the label that counts as positive; found where it is empty, as `1`, `true` or `yes`."""
    classes: Annotated[list[Any], checked_by(check_classes), WithJsonSchema(_CLASSES)] = written([])
    """The values of the label from the lowest to the highest, where they have an order; three at least."""
    time_column: str = ""
    """The column that says when a row came to be; empty where there is none."""
    mode: Mode = ""
    """How rows meet those of before: `replace`, `append`, `merge` by key; unsaid: replace, unless most were lost."""
    owner: str = ""
    """Who answers for the data: a person or a team."""
    duplicates: Duplicates = "keep"
    """Whether of equal rows all are kept or one, where `key` is `rows`."""
    columns: Masks = written({})
    """Columns that the dataset is not to hold as the source has them: dropped, hashed, in buckets (docs/data.md)."""
    split: AnySplit = written({})
    """How the rows are split; where empty by a hash of the key, a tenth each for eval and test."""
    curated_schema: Annotated[str, checked_by(curated.check), Means.PLACE] = ""
    """A TFDV schema that people keep: a path or `s3://` URI of its text proto; inferred from train where empty."""
    exclude: Annotated[list[Any], checked_by(check_columns), WithJsonSchema(_COLUMNS)] = written([])
    """Columns that are no features, beside the label, the key and the times."""
    sensitive: Annotated[list[Any], checked_by(evaluation.sensitive), WithJsonSchema(_COLUMNS)] = written([])
    """Columns whose groups must be treated fairly."""
    slices: Annotated[
        list[Any],
        checked_by(evaluation.columns),
        WithJsonSchema({"type": "array", "items": {"anyOf": [_COLUMN, {**_COLUMNS, "minItems": 1}]}}),
    ] = written([])
    """Columns, or lists of columns to cross, by which the model is evaluated."""
    data_limits: DataLimits = written({})
    """What the dataset must keep (docs/limits.md)."""
    statistics_runner: Annotated[list[Any], checked_by(evaluation.runner), _RUNNER] = written([])
    """A runner of Beam and its options, on which TFDV's statistics are computed; empty computes in the task."""
    waivers: Annotated[list[Any], checked_by(waivers_of.parse), WithJsonSchema(waivers_of.SCHEMA)] = written([])
    """Why findings about the data do not count, until when, and who says so (docs/audit.md)."""
    baseline: Annotated[AnyTrainer, Means.SPECIFICATION] = written({"model": "linear"})
    """The model that the candidate has to beat."""
    candidate: Annotated[AnyTrainer, Means.SPECIFICATION] = written({"model": "dnn"})
    """The model that is to be published."""
    sweep: AnySearch = written({})
    """Settings of the candidate that are tried first, to train it with those that win (docs/training.md)."""
    warm_start: bool = False
    """Whether the candidate begins with the weights of the model in production (docs/training.md)."""
    seed: Annotated[int, Within(0, MAX_SEED)] = 0
    """Makes training repeatable."""
    gpus: Annotated[int, Within(0, MAX_GPUS), Means.TEXT_IN_KFP] = 1
    """GPUs for each training; 0 trains on the CPU."""
    workers: Annotated[int, Within(1, MAX_WORKERS), Means.TEXT_IN_KFP] = 1
    """Machines that train the candidate together, each with what is said of one training here (docs/training.md)."""
    accelerator: Accelerator = "auto"
    """Whether trainings take GPUs: where there are, else the CPU (`auto`); in any case (`gpu`); or not (`cpu`)."""
    cpu_request: Annotated[Any, checked_by(placing.cores), WithJsonSchema(placing.CORES), Means.TEXT_IN_KFP] = 1
    """Cores that the pod of each training has at least, as 1, 0.5 or 500m."""
    cpu_limit: Annotated[Any, checked_by(placing.cores), WithJsonSchema(placing.CORES), Means.TEXT_IN_KFP] = 2
    """Cores that it has at most."""
    memory: Annotated[str, checked_by(placing.check_memory), Field(json_schema_extra=placing.MEMORY)] = "8G"
    """The memory that it has, no less and no more, as 8G or 16Gi."""
    tolerations: Annotated[list[Any], checked_by(placing.check_tolerations), WithJsonSchema(placing.TOLERATIONS)] = (
        written([])
    )
    """Taints of nodes that it does not mind, beside that of GPUs (docs/admin.md)."""
    node_selector: Annotated[
        dict[str, Any], checked_by(placing.check_node_selector), WithJsonSchema(placing.NODE_SELECTOR)
    ] = written({})
    """Labels of the nodes that it may run on; empty: any."""
    thresholds: Annotated[
        list[Any],
        checked_by(evaluation.thresholds),
        WithJsonSchema(
            {
                "type": "array",
                "items": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "minItems": 1,
            }
        ),
    ] = written([0.5])
    """Probabilities above which a row counts as positive; a number that is predicted has none."""
    runner: Annotated[list[Any], checked_by(evaluation.runner), _RUNNER] = written([])
    """A runner of Beam and its options, on which TFMA itself computes; empty computes in the task."""
    model_limits: ModelLimits = written({"as_good_as": "baseline"})
    """What the candidate must keep to be published (docs/limits.md)."""
    target: Annotated[str, checked_by(targets.check), WithJsonSchema({"enum": targets.TARGETS.names}), Means.TARGET] = (
        targets.MACHINE
    )
    """Where the model is served: `machine` (this one), or in the run's namespace `cluster` (Seldon) or `kserve`."""
    approvals: Annotated[int, Within(0, waiting.MOST)] = 0
    """How many people have to approve the version before it is deployed (docs/deploying.md)."""
    strategy: Annotated[AnyStrategy, Means.TEXT_IN_KFP] = "replace"
    """How the model gets the requests: `replace`, another strategy, or steps (docs/comparing.md; JSON, in KFP)."""
    port: Annotated[int, Within(1024, 65535), Means.PORT] = 9500
    """Where the model is served on this machine."""
    revision: Annotated[str, Means.REVISION] = ""
    """The revision of the code, for the model's lineage."""

    def mistakes_together(self) -> Iterator[str]:
        """What of limits, duplicates and target does not fit the other arguments."""
        yield from told(
            lambda: evaluation.check_together(
                self.model_limits,
                thresholds=self.thresholds,
                slices=self.slices,
                sensitive=self.sensitive,
                problem=self._problem,
                chosen=self.candidate.threshold is not None,
            )
        )
        if self.sweep:
            yield from search.mistakes(self.sweep, self.candidate, problem=self._problem)
        yield from told(lambda: check_workers(self.candidate, self.workers, sweep=bool(self.sweep)))
        if self.sweep and self.warm_start:
            yield "warm_start: begins with the weights of one model, and `sweep` tries many; leave one of them out"
        if self.warm_start and not self.candidate.may_start_warm:
            said = f"{self.candidate.model!r} begins anew each time"
            yield f"warm_start: {said}; leave it out, or take a network as the candidate: linear, dnn, wide_and_deep"
        if self.duplicates == "drop" and self.key != ROWS:
            said = f"means nothing where the key is {shown(self.key)}"
            yield f"duplicates: `drop` {said}; leave it out, or write `key: {ROWS}`"
        freshness = self.data_limits.freshness
        if freshness and freshness.max_age is not None and not self.time_column:
            yield "data_limits.freshness.max_age: is about the `time_column`; name one, or write `max_arrival_age`"
        yield from self._mistakes_of_the_problem()
        yield from self._mistakes_of_features()
        yield from masks.unfit(self.columns, self._columns_named())
        if self.accelerator == "gpu" and not self.gpus:
            yield "accelerator: `gpu` means at least one; write how many as `gpus`, or leave it out"
        if placing.cores(self.cpu_request) > placing.cores(self.cpu_limit):
            yield f"cpu_request: {self.cpu_request} is more than the cpu_limit, {self.cpu_limit}; raise the limit"
        yield from told(lambda: targets.check_together(self.target, self.store, self.name))
        yield from told(
            lambda: strategies.check_together(strategies.parse(self.strategy), self.target, approvals=self.approvals)
        )

    @property
    def _problem(self) -> str:
        """What is asked for, by its name; `auto` where only the label tells."""
        return question.named(self.problem, classes=self.classes)

    def _mistakes_of_classes(self) -> Iterator[str]:
        """What of the order of the classes does not fit the problem."""
        if self.problem == ORDINAL.name and not self.classes:
            yield "classes: are not given, and the problem is ordinal; name the values of the label in their order"
        if self.classes and self._problem != ORDINAL.name:
            remedy = "write `problem: ordinal`, or leave it out" if self.problem == "multiclass" else "leave them out"
            yield f"classes: are those of an order, and the problem is {self.problem}; {remedy}"

    def _mistakes_of_the_problem(self) -> Iterator[str]:
        """What means nothing for a label that has no positive class."""
        yield from self._mistakes_of_classes()
        asked = problems.PROBLEMS.get(self._problem)
        if asked is None or asked is BINARY:
            return
        said = f"is of {'two ' if asked.has_classes else ''}classes, and the problem is {asked.name}; leave it out"
        if self.positive:
            yield f"positive: {said}"
        for name, model in (("baseline", self.baseline), ("candidate", self.candidate)):
            if model.reweight and not asked.has_classes:
                yield f"{name}.reweight: {said}"
            if model.class_weights and not asked.has_classes:
                yield f"{name}.class_weights: {said}"
            if model.threshold:
                yield f"{name}.threshold: {said}"
            if model.calibration != "none" and not asked.has_classes:
                yield f"{name}.calibration: {said}"
            elif model.calibration == "isotonic":
                remedy = "leave it out" if model.class_weights else "write `temperature`"
                yield f"{name}.calibration: isotonic {said.removesuffix('leave it out')}{remedy}"
            if model.model == "rules":
                yield f"{name}.model: `rules` says a probability, and the problem is {asked.name}; take another model"
        for name in ("max_label_rate_gap", *(() if asked.has_classes else ("min_class_rows",))):
            if name in self.data_limits.model_fields_set:
                yield f"data_limits.{name}: {said}"
        model_of_it = Contract(self.label, SOME_CLASSES if asked.has_classes else (), (), {}, asked)
        for held in strategies.parse(self.strategy).limits:
            yield from told(partial(check_fits, held, model_of_it))

    def _mistakes_of_features(self) -> Iterator[str]:
        """Columns that a model is to see, and does not."""
        named = self._columns_named()
        for model in ("baseline", "candidate"):
            for setting in ("texts", "dates", "rules"):
                for other in ("label", "key", "exclude"):
                    yield from _in_both(named, f"{model}.{setting}", other)
            yield from _in_both(named, f"{model}.dates", f"{model}.texts")

    def mistakes_in_a_cluster(self) -> Iterator[str]:
        """What a cluster cannot use; also a target that is the machine of the task."""
        yield from on_this_machine("source", self.source.place)
        if self.accelerator == "cpu" and self.gpus:
            yield f"gpus: {self.gpus} would be held and not used beside `accelerator: cpu`; write `gpus: 0`"
        yield from super().mistakes_in_a_cluster()
        yield from targets.mistakes_in_a_cluster(self.target)

    def _columns_named(self) -> dict[str, Sequence[str]]:
        """By argument the columns that it names, and by setting of a model as `candidate.dates`."""
        models = {"baseline": self.baseline, "candidate": self.candidate}
        fairness = self.sweep.constraints.fairness if self.sweep else {}
        return {
            "key": [self.key] if isinstance(self.key, str) else list(self.key),
            "label": [self.label],
            "time_column": [self.time_column, *self.split.times],
            "split": [name for name in self.split.complete if name not in self.split.times],
            "exclude": self.exclude,
            "sensitive": self.sensitive,
            "slices": [name for one in self.slices for name in ([one] if isinstance(one, str) else one)],
            **{f"{model}.{name}": those for model, one in models.items() for name, those in one.columns_named.items()},
            "sweep.constraints.fairness": list(fairness),
        }


def _in_both(named: Mapping[str, Sequence[str]], one: str, other: str) -> Iterator[str]:
    """Columns that two arguments name, of which one alone can be meant."""
    for column in dict.fromkeys(named.get(one, ())):
        if column in named[other]:
            yield f"{one}: {column!r} is in `{other}` too; leave one of them out"
