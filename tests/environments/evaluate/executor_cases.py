"""Draws what an evaluation is asked for, and on which examples.

A case is one run of TFMA: examples, slices and models that are drawn, and ten or more configurations of a metric (its
class, settings, classes or ranks, aggregation and weighting), each drawn too. TFMA needs seconds to set up a run,
whatever it computes: a run for each configuration would take half an hour.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tensorflow_model_analysis.proto import config_pb2

METRICS_A_CASE = 12
FLOATS = st.sampled_from([np.float32, np.float64])
THRESHOLDS = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0]), min_size=1, max_size=4, unique=True)
TIES = [0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0]
PROBABILITIES = st.sampled_from(TIES) | st.integers(1, 99).map(lambda tenth: tenth / 100) | st.floats(0, 1, width=32)
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, 3.25])
TEXTS = st.sampled_from(["north", "süd", "東", "1", "", "a b", None])
NUMBERS = st.integers(-1, 2)


@dataclass(frozen=True)
class Case:
    """A configuration, and columns of examples."""

    config: config_pb2.EvalConfig
    columns: dict[str, np.ndarray]


def metric(class_name: str, **settings: Any) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=class_name, config=json.dumps(settings)[1:-1])


# What a metric is drawn from: its class, and its settings.
ThresholdsOrNot = st.fixed_dictionaries({}, optional={"thresholds": THRESHOLDS.map(sorted)})
COUNTED = ["TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision", "Recall"]
RATES = ["Specificity", "FPR", "FNR", "F1Score", "NPV", "MatthewsCorrelationCoefficient", "PredictedPositiveRate"]
RATES += ["BalancedAccuracy", "ThreatScore", "DiagnosticOddsRatio", "Prevalence", "FalseOmissionRate", "Informedness"]
BINARY = st.one_of(
    st.tuples(st.sampled_from(COUNTED + RATES), ThresholdsOrNot),
    st.tuples(
        st.sampled_from(["AUC", "AUCPrecisionRecall"]),
        st.fixed_dictionaries({}, optional={"num_thresholds": st.sampled_from([3, 11, 200])}),
    ),
    st.tuples(st.just("AUC"), ThresholdsOrNot),
    st.tuples(st.just("ConfusionMatrixAtThresholds"), st.fixed_dictionaries({"thresholds": THRESHOLDS})),
    st.tuples(st.just("SpecificityAtSensitivity"), st.just({"sensitivity": 0.5})),
    st.tuples(st.just("BinaryAccuracy"), st.fixed_dictionaries({}, optional={"threshold": st.sampled_from(TIES)})),
    st.tuples(st.just("PrecisionAtRecall"), st.just({"recall": 0.5})),
    st.tuples(st.just("ThresholdAtRecall"), st.just({"recall": 0.5})),
    st.tuples(st.just("ConfusionMatrixPlot"), st.fixed_dictionaries({"num_thresholds": st.sampled_from([3, 11])})),
    st.tuples(st.just("CalibrationPlot"), st.fixed_dictionaries({"num_buckets": st.sampled_from([1, 10])})),
    st.tuples(st.sampled_from(["MeanLabel", "MeanPrediction", "Calibration"]), st.just({})),
)
ROWS = st.one_of(
    st.tuples(st.sampled_from(["ExampleCount", "WeightedExampleCount"]), st.just({})),
    st.tuples(st.just("Mean"), st.just({"feature_key_path": ["features", "number"]})),
)
PAIRED = st.one_of(
    st.tuples(st.sampled_from(["BinaryCrossEntropy", "MeanSquaredError", "MeanAbsoluteError"]), st.just({})),
    st.tuples(st.sampled_from(["CoefficientOfDiscrimination", "RelativeCoefficientOfDiscrimination"]), st.just({})),
    st.tuples(st.just("BinaryCrossEntropy"), st.just({"label_smoothing": 0.25})),
    st.tuples(st.just("BinaryCrossEntropy"), st.just({"from_logits": True})),
)
REGRESSION = st.one_of(
    st.tuples(
        st.sampled_from(
            ["MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError"]
        ),
        st.just({}),
    ),
    st.tuples(
        st.sampled_from(["MeanLabel", "MeanPrediction", "Calibration", "SquaredPearsonCorrelation"]), st.just({})
    ),
    st.tuples(st.just("ConfusionMatrixAtThresholds"), st.fixed_dictionaries({"thresholds": THRESHOLDS})),
)
KERAS = st.tuples(
    st.sampled_from(["LogCoshError", "Hinge", "RootMeanSquaredError", "Poisson", "BinaryCrossentropy", "KLDivergence"]),
    st.just({}),
)
KERAS_SPARSE = st.tuples(
    st.sampled_from(["SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy"]),
    st.just({}),
)
KERAS_DENSE = st.tuples(
    st.sampled_from(["CategoricalAccuracy", "CategoricalCrossentropy", "CosineSimilarity", "TopKCategoricalAccuracy"]),
    st.just({}),
)
CLASSES = st.one_of(
    st.tuples(st.just("MultiClassConfusionMatrixPlot"), ThresholdsOrNot),
    st.tuples(st.just("MultiClassConfusionMatrixPlot"), st.just({"num_thresholds": 5})),
    st.tuples(st.just("MultiClassConfusionMatrixAtThresholds"), st.fixed_dictionaries({"thresholds": THRESHOLDS})),
    st.tuples(st.just("MultiLabelConfusionMatrixPlot"), st.just({})),
)


@st.composite
def asked(draw: st.DrawFn, metrics: Any, several: bool = False, **given: Any) -> list[config_pb2.MetricsSpec]:
    """Several configurations of a metric, each with a name of its own."""
    specs = []
    # TFMA cannot sort averages over classes of which some are weighted and some are not.
    weighted = draw(st.booleans()) if several else None
    for number in range(draw(st.integers(METRICS_A_CASE - 2, METRICS_A_CASE))):
        name, settings = draw(metrics)
        spec = config_pb2.MetricsSpec(metrics=[metric(name, name=f"metric_{number}", **settings)], **given)
        if weighted is not None:
            spec.example_weights.CopyFrom(_weighting(weighted, not weighted))
        elif name == "Mean":  # it takes its weights from its settings
            spec.example_weights.unweighted = True
        elif draw(st.booleans()):
            spec.example_weights.CopyFrom(_weighting(draw(st.booleans()), draw(st.booleans())))
        if several and not name.startswith(("Multi", "Sparse", "Categorical", "TopK", "Cosine")):
            draw(classes(spec))
        specs.append(spec)
    return specs


def _weighting(weighted: bool, unweighted: bool) -> config_pb2.ExampleWeightOptions:
    return config_pb2.ExampleWeightOptions(weighted=weighted, unweighted=unweighted)


@st.composite
def classes(draw: st.DrawFn, spec: config_pb2.MetricsSpec) -> None:
    """Which classes, ranks or averages of them a metric is of."""
    kind = draw(st.sampled_from(["class", "k", "top_k", "micro", "micro top_k", "macro", "weighted"]))
    averaging = not spec.metrics[0].class_name.endswith(("Plot", "BinaryAccuracy")) and _is_one_number(spec.metrics[0])
    if kind == "class" or not averaging:
        spec.binarize.class_ids.values.extend(draw(st.lists(st.integers(0, 2), min_size=1, max_size=2, unique=True)))
    elif kind == "k":
        spec.binarize.k_list.values.append(draw(st.integers(1, 3)))
    elif kind == "top_k" and spec.metrics[0].class_name in COUNTED:
        spec.binarize.top_k_list.values.append(draw(st.integers(1, 3)))
    elif kind == "macro":
        spec.aggregate.macro_average = True
        spec.aggregate.class_weights.update({0: 1.0, 1: 0.5, 2: 0.25})
    elif kind == "weighted":
        spec.aggregate.weighted_macro_average = True
        spec.aggregate.class_weights.update({0: 1.0, 2: 1.0})
    else:
        spec.aggregate.micro_average = True
        if kind == "micro top_k" and not spec.metrics[0].class_name.startswith(("Mean", "Calibration")):
            spec.aggregate.top_k_list.values.append(draw(st.integers(1, 3)))
        elif draw(st.booleans()):
            spec.aggregate.class_weights.update({0: 0.5, 1: 2.0})


SLICING = st.lists(
    st.sampled_from(
        [
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=["text"]),
            config_pb2.SlicingSpec(feature_keys=["number"]),
            config_pb2.SlicingSpec(feature_keys=["text", "number"]),
            config_pb2.SlicingSpec(feature_values={"text": "süd"}),
            config_pb2.SlicingSpec(feature_values={"text": "1"}),
            config_pb2.SlicingSpec(feature_values={"number": "1"}),
            config_pb2.SlicingSpec(feature_values={"number": "7"}),
            config_pb2.SlicingSpec(feature_keys=["text"], feature_values={"number": "1"}),
        ]
    ),
    max_size=4,
).map(lambda specs: [config_pb2.SlicingSpec(), *specs] if len(specs) < 3 else specs)


@st.composite
def columns(draw: st.DrawFn, rows: int, **numeric: Any) -> dict[str, np.ndarray]:
    """Columns of examples, and those that make slices."""
    made = {name: np.array([draw(one) for _ in range(rows)], draw(kind)) for name, (one, kind) in numeric.items()}
    texts = np.array([draw(TEXTS) for _ in range(rows)], object)
    texts[0] = "north"  # a column of no value at all has no type
    return {**made, "text": texts, "number": np.array([draw(NUMBERS) for _ in range(rows)])}


@st.composite
def binary(draw: st.DrawFn) -> Case:
    """One model of two classes, with or without weights, of whole or fractional labels."""
    rows = draw(st.sampled_from([1, 2, 3, 8, 20]))
    labels = draw(st.sampled_from([st.sampled_from([0, 1]), st.sampled_from([0.0, 0.25, 0.3, 1.0])]))
    made = draw(columns(rows, label=(labels, FLOATS), prediction=(PROBABILITIES, FLOATS), weight=(WEIGHTS, FLOATS)))
    if draw(st.booleans()):
        made["label"] = np.round(made["label"]).astype(np.int64)
    model = config_pb2.ModelSpec(label_key="label", prediction_key="prediction")
    if draw(st.booleans()):
        model.example_weight_key = "weight"
    specs = draw(asked(BINARY | BINARY | PAIRED | ROWS | KERAS))
    return Case(_config([model], specs, draw(SLICING)), made)


@st.composite
def regression(draw: st.DrawFn) -> Case:
    """One model of numbers, which may be none."""
    rows = draw(st.sampled_from([1, 2, 8, 20]))
    values = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 0.1])
    predictions = draw(st.sampled_from([values, values | st.just(float("nan"))]))
    labels = draw(st.sampled_from([FLOATS, st.just(np.int64)]))
    made = draw(columns(rows, label=(values, labels), prediction=(predictions, FLOATS), weight=(WEIGHTS, FLOATS)))
    model = config_pb2.ModelSpec(label_key="label", prediction_key="prediction")
    if draw(st.booleans()):
        model.example_weight_key = "weight"
    fractional = made["label"].max() > 1
    metrics = REGRESSION.filter(lambda one: not (fractional and one[0].startswith("Confusion")))
    return Case(_config([model], draw(asked(metrics | ROWS)), draw(SLICING)), made)


@st.composite
def several_classes(draw: st.DrawFn) -> Case:
    """One model of three classes, its labels class numbers or one a class."""
    rows = draw(st.sampled_from([1, 2, 8, 20]))
    shares = st.sampled_from(
        [(0.25, 0.5, 0.25), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.125, 0.125, 0.75), (0.0, 0.25, 0.75)]
    )
    made = draw(columns(rows, weight=(WEIGHTS, FLOATS)))
    made["prediction"] = np.array([draw(shares) for _ in range(rows)], draw(FLOATS))
    made["label"] = np.array([draw(st.integers(0, 2)) for _ in range(rows)])
    metrics = BINARY | BINARY | CLASSES
    if draw(st.booleans()):
        made["label"] = np.eye(3)[made["label"]]
        metrics = metrics | KERAS_DENSE
    else:
        metrics = metrics | KERAS_SPARSE
    model = config_pb2.ModelSpec(label_key="label", prediction_key="prediction")
    if draw(st.booleans()):
        model.example_weight_key = "weight"
    return Case(_config([model], draw(asked(metrics, several=True)), draw(SLICING)), made)


TWO_MODELS = ["SymmetricPredictionDifference"]
BOUND = st.sampled_from([-0.25, 0.0, 0.3, 0.5, 1.0])
DIRECTIONS = st.sampled_from([config_pb2.MetricDirection.LOWER_IS_BETTER, config_pb2.MetricDirection.HIGHER_IS_BETTER])


@st.composite
def thresholds(draw: st.DrawFn, change: bool) -> config_pb2.MetricThreshold:
    """A limit of a value, or of its change against the baseline."""
    if not change:
        bounds = draw(st.fixed_dictionaries({}, optional={"lower_bound": BOUND, "upper_bound": BOUND}))
        wrapped = {name: {"value": value} for name, value in bounds.items()}
        return config_pb2.MetricThreshold(value_threshold=config_pb2.GenericValueThreshold(**wrapped))
    bounds = draw(st.fixed_dictionaries({"absolute": BOUND}, optional={"relative": BOUND}))
    wrapped = {name: {"value": value} for name, value in bounds.items()}
    limit = config_pb2.GenericChangeThreshold(direction=draw(DIRECTIONS), **wrapped)
    return config_pb2.MetricThreshold(change_threshold=limit)


@st.composite
def two_models(draw: st.DrawFn) -> Case:
    """A candidate and its baseline, with limits by slice and across slices."""
    rows = draw(st.sampled_from([1, 3, 20]))
    labels = st.sampled_from([0, 1])
    made = draw(
        columns(
            rows,
            label=(labels, FLOATS),
            candidate=(PROBABILITIES, FLOATS),
            baseline=(PROBABILITIES, FLOATS),
            weight=(WEIGHTS, FLOATS),
        )
    )
    models = [
        config_pb2.ModelSpec(name="candidate", label_key="label", prediction_key="candidate"),
        config_pb2.ModelSpec(name="baseline", label_key="label", prediction_key="baseline", is_baseline=True),
    ]
    if draw(st.booleans()):
        for model in models:
            model.example_weight_key = "weight"
    slicing = draw(SLICING)
    crossing = draw(
        st.lists(
            st.builds(_crossing, st.sampled_from(slicing), st.lists(st.sampled_from(slicing), max_size=2)), max_size=1
        )
    )
    flips = st.tuples(st.sampled_from(TWO_MODELS), st.just({}))
    specs = draw(asked((BINARY | PAIRED | flips).filter(lambda one: not one[0].endswith("Plot"))))
    for spec in specs:
        one = spec.metrics[0]
        if one.class_name in TWO_MODELS:
            spec.example_weights.CopyFrom(config_pb2.ExampleWeightOptions(unweighted=True))
        if not _is_one_number(one):
            continue
        if draw(st.booleans()):
            one.threshold.CopyFrom(draw(thresholds(draw(st.booleans()))))
        for sliced in draw(st.lists(st.sampled_from(slicing), max_size=1)):
            limit = draw(thresholds(draw(st.booleans())))
            one.per_slice_thresholds.append(config_pb2.PerSliceMetricThreshold(slicing_specs=[sliced], threshold=limit))
        if crossing and draw(st.booleans()):
            limit = draw(thresholds(False))
            one.cross_slice_thresholds.append(
                config_pb2.CrossSliceMetricThreshold(cross_slicing_specs=crossing, threshold=limit)
            )
    config = _config(models, specs, slicing)
    config.cross_slicing_specs.extend(crossing)
    return Case(config, made)


def _is_one_number(one: config_pb2.MetricConfig) -> bool:
    """Whether TFMA can hold a limit against it."""
    asked_at = json.loads(f"{{{one.config}}}").get("thresholds", [])
    return one.class_name not in TWO_MODELS and "AtThresholds" not in one.class_name and len(asked_at) < 2


def _crossing(baseline: config_pb2.SlicingSpec, others: list[config_pb2.SlicingSpec]) -> config_pb2.CrossSlicingSpec:
    return config_pb2.CrossSlicingSpec(baseline_spec=baseline, slicing_specs=others)


@st.composite
def two_outputs(draw: st.DrawFn) -> Case:
    """One model with two outputs, each with labels and perhaps weights of its own, and averages of both."""
    rows = draw(st.sampled_from([1, 3, 20]))
    made = draw(
        columns(
            rows,
            **{f"label_{name}": (st.sampled_from([0, 1]), FLOATS) for name in "xy"},
            **{f"prediction_{name}": (PROBABILITIES, FLOATS) for name in "xy"},
            **{f"weight_{name}": (WEIGHTS, FLOATS) for name in "xy"},
        )
    )
    model = config_pb2.ModelSpec(
        label_keys={name: f"label_{name}" for name in "xy"},
        prediction_keys={name: f"prediction_{name}" for name in "xy"},
    )
    if draw(st.booleans()):
        model.example_weight_keys.update({name: f"weight_{name}" for name in "xy"})
    averaged = draw(st.sampled_from([{}, {"x": 1.0, "y": 0.5}]))
    metrics = (BINARY | PAIRED).filter(lambda one: not (averaged and ("At" in one[0] or one[0].endswith("Plot"))))
    specs = draw(asked(metrics, output_names=["x", "y"], output_weights=averaged))
    return Case(_config([model], specs, draw(SLICING)), made)


def _config(
    models: list[config_pb2.ModelSpec], specs: list[config_pb2.MetricsSpec], slicing: list[config_pb2.SlicingSpec]
) -> config_pb2.EvalConfig:
    return config_pb2.EvalConfig(model_specs=models, metrics_specs=specs, slicing_specs=slicing)
