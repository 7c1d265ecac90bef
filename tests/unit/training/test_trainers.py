"""`cd4ml.training.trainers`: what a team may say about a model."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from cd4ml.errors import TrainingError
from cd4ml.training.trainers import AnyTrainer, Dnn, Linear, Trees, WideAndDeep, parse


def test_a_model_needs_no_more_than_its_name():
    assert parse({"model": "linear"}) == Linear()
    assert parse({"model": "dnn"}) == Dnn()
    assert parse({"model": "wide_and_deep"}) == WideAndDeep()
    assert parse({"model": "trees"}) == Trees()


def test_whole_numbers_may_come_as_kubeflow_sends_them():
    spec = parse({"model": "dnn", "epochs": 3.0, "batch_size": 64.0, "hidden": [16.0, 8.0]})

    assert spec == Dnn(epochs=3, batch_size=64, hidden=(16, 8))


@pytest.mark.parametrize(
    ("rows", "batch"), [(1, 32), (600, 32), (4095, 32), (4096, 64), (20_000, 256), (131_072, 2048), (10**8, 2048)]
)
def test_a_small_table_has_small_steps_so_that_an_epoch_has_some(rows, batch):
    assert parse({"model": "dnn"}).batch(rows) == batch
    assert parse({"model": "dnn", "batch_size": 100}).batch(rows) == 100


def test_any_model_may_be_reweighted():
    assert parse({"model": "linear"}).reweight == ()
    assert parse({"model": "linear", "reweight": ["region"]}).reweight == ("region",)
    assert parse({"model": "dnn", "reweight": ["gender", "region"]}).reweight == ("gender", "region")


def test_any_model_may_see_dates():
    assert parse({"model": "linear"}).dates is None
    assert parse({"model": "trees", "dates": ["born", "seen"]}).dates.named == ("born", "seen")
    whole = parse({"model": "dnn", "dates": {"columns": ["born", "asked"], "since": "asked"}})
    assert (whole.dates.columns, whole.dates.named) == (("born", "asked"), ("born", "asked"))
    assert parse({"function": "team:wide", "dates": {"columns": ["born"], "since": "at"}}).dates.named == ("born", "at")
    assert parse(whole.recorded) == whole


def test_every_mistake_is_reported_at_once():
    with pytest.raises(TrainingError) as caught:
        parse(
            {"model": "dnn", "epoch": 3, "batch_size": 0, "hidden": [], "dropout": 1.0, "learning_rate": float("nan")}
        )

    message = str(caught.value)
    assert len(message.splitlines()) == 1 + 5
    assert "\n  - epoch: unknown; did you mean 'epochs'?" in message
    for setting in ("batch_size", "hidden", "dropout", "learning_rate"):
        assert f"\n  - {setting}: " in message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "names no model; there are rules, linear, dnn, wide_and_deep, trees, function"),
        ({"model": "dn"}, r"'dn' is no model that is installed here; did you mean 'dnn'\?"),
        ({"model": ["dnn"]}, r"did you mean 'dnn'\?"),
        (
            {"model": "linear", "hidden": [8]},
            "hidden: unknown; there are model, reweight, class_weights, calibration, threshold, texts, dates, epochs",
        ),
        ({"model": "dnn", "epochs": 2.5}, "epochs: .* not 2.5"),
        ({"model": "dnn", "hidden": [8, -1]}, "hidden.1: .* not -1"),
        ({"model": "trees", "leaves": 65}, "leaves: .* 64"),
        ({"model": "trees", "trees": 1001}, "trees: .* 1000"),
        (
            {"model": "trees", "epochs": 5},
            "epochs: unknown; .*, calibration, threshold, texts, dates, trees, leaves",
        ),
        ({"model": "trees", "calibration": "platt"}, "calibration: .*'none', 'temperature' or 'isotonic', not 'platt'"),
        ({"model": "trees", "dates": []}, "dates.columns: "),
        ({"model": "trees", "dates": ["at", "at"]}, "dates.columns: name each column once"),
        ({"model": "trees", "dates": "at"}, "dates: .*, not 'at'"),
        ({"model": "trees", "dates": {"since": "at"}}, "dates.columns: "),
        ({"model": "trees", "dates": {"columns": ["at"], "until": "now"}}, "dates.until: unknown; there are columns"),
        ({"model": "trees", "texts": ["note"]}, "texts: this model knows a text by its value alone; leave it out"),
        (
            {"model": "dnn", "class_weights": "even"},
            "class_weights: write `balanced`, or a weight by class, as {fraud: 10}",
        ),
        ({"model": "dnn", "threshold": 0.3}, "threshold: .*, not 0.3"),
        ({"model": "dnn", "threshold": {"costs": {"false_positive": 0}}}, "threshold.costs.false_positive: .*, not 0"),
        ({"model": "dnn", "threshold": {"cost": {}}}, r"threshold.cost: unknown; did you mean 'costs'\?"),
        ({"model": "dnn", "class_weights": {}}, "class_weights: write `balanced`, or a weight by class"),
        ({"model": "dnn", "class_weights": {"a": 0}}, "class_weights: a: a weight is a number above 0, .*, not 0"),
        (
            {"model": "dnn", "class_weights": {"a": True}},
            "class_weights: a: a weight is a number above 0, .*, not true",
        ),
        ({"model": "dnn", "reweigh": ["region"]}, r"reweigh: unknown; did you mean 'reweight'\?"),
        ({"model": "dnn", "reweight": "region"}, "reweight: .* not 'region'"),
        ({"model": "dnn", "reweight": ["region", ""]}, "reweight.1: .* not ''"),
        ({"model": "dnn", "reweight": ["region", "region"]}, "reweight: name each column once"),
        ({"function": "team.models"}, "function: 'team.models' is no function; write MODULE:NAME, as team.models:wide"),
        ({"function": "team/models.py:wide"}, "function: .* is no function; write MODULE:NAME"),
        (
            {"function": "team.models:wide", "units": 3},
            "units: unknown; .*, calibration, threshold, texts, dates, function, settings",
        ),
        ({"function": "team.models:wide", "source": "e30="}, "source: is no module that cd4ml packed; leave it out"),
        ({"function": "team.models:wide", "minutes": 0}, "minutes: .* not 0"),
    ],
)
def test_a_wrong_specification_says_what_may_stand_there(spec, message):
    with pytest.raises(TrainingError, match=message):
        parse(spec)


def rules(*rows: dict[str, object], **others: object) -> dict[str, object]:
    return {"model": "rules", "rules": list(rows), "default": 0.1, **others}


def rule(**when: object) -> dict[str, object]:
    return {"when": when, "probability": 0.5}


def test_rules_may_be_written_briefly_or_in_full_and_are_the_same():
    brief = parse(
        rules(rule(region="north", age=[30.0, 31], subscribed=True, spend={"min": 2.0}, city={"missing": True}))
    )
    written = {"region": {"values": ["north"]}, "age": {"values": [30, 31]}, "subscribed": {"values": [True]}}
    full = parse(rules(rule(**written, spend={"min": 2}, city={"missing": True})))

    assert brief == full == parse(full.model_dump(mode="json", exclude_none=True))
    assert full.rules[0].when["age"].values == (30, 31)
    assert full.probabilities == (0.5, 0.1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": "rules"}, r"(?s)rules: missing.*default: missing"),
        (rules(), "rules: .* at least 1 item"),
        (rules(rule()), "rules.0.when: .* at least 1 item"),
        (rules({"when": {"age": 3}}), "rules.0.probability: missing"),
        (rules({"when": {"age": 3}, "probability": 1.5}), "rules.0.probability: .* 1.5"),
        (rules(rule(age=3), default=-0.1), "default: .* -0.1"),
        (rules(rule(age={"mni": 3})), r"rules.0.when.age.mni: unknown; did you mean 'min'\?"),
        (rules(rule(age={})), "rules.0.when.age: write one of: a value, a list of values"),
        (rules(rule(age={"min": 3, "missing": True})), "rules.0.when.age: write one of: a value"),
        (rules(rule(age={"min": 3, "max": 2})), "rules.0.when.age: no number is at least 3 and at most 2; swap"),
        (rules(rule(age={"min": float("nan")})), "rules.0.when.age.min: .* finite"),
        (rules(rule(age=None)), "rules.0.when.age.values.0: write a text, a number, true or false, not null"),
        (rules(rule(region="")), "rules.0.when.region.values.0: write a text, .* not ''"),
        (rules(rule(region=[])), "rules.0.when.region.values: .* at least 1 item"),
        (rules(rule(age=3), reweight=["region"]), "reweight: rules learn nothing from rows"),
        (rules(rule(age=3), dates=["at"]), "dates: this model knows no dates; leave it out, or train another model"),
        (rules(rule(age=3), texts=["note"]), "texts: this model knows a text by its value alone; leave it out"),
    ],
)
def test_a_rule_that_can_never_be_says_what_may_stand_there(spec, message):
    with pytest.raises(TrainingError, match=message):
        parse(spec)


def test_a_specification_is_checked_without_tensorflow():
    program = "import sys, cd4ml.training.trainers; print('tensorflow' in sys.modules or 'pyarrow' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"


WIDE = '''
from typing import Literal
from cd4ml import Network

class Wide(Network):
    """One wide layer."""
    model: Literal["wide"] = "wide"
    units: int = 64
    rates: list[float] = []
    sizes: dict[str, int] = {}

    def logit(self, features):
        from keras import layers
        return layers.Dense(1)(layers.Dense(self.units)(features.vector()))
'''


def test_a_teams_own_model_is_checked_as_others_are(installed):
    installed("acme_models", WIDE, "[cd4ml.trainers]\nwide = acme_models:Wide\n")

    assert parse({"model": "wide", "units": 8, "rates": [1, 0.5]}).model_dump() == {
        "model": "wide",
        "units": 8,
        "rates": [1.0, 0.5],
        "sizes": {},
        "reweight": (),
        "class_weights": None,
        "calibration": "none",
        "threshold": None,
        "texts": (),
        "dates": None,
        "precision": "float32",
        "deterministic": False,
        "epochs": 50,
        "batch_size": None,
        "learning_rate": 0.003,
        "patience": 5,
        "minutes": None,
    }
    with pytest.raises(TrainingError, match=r"unit: unknown; did you mean 'units'\?"):
        parse({"model": "wide", "unit": 8})
    with pytest.raises(TrainingError, match=r"'wid' is no model that is installed here; did you mean 'wide'\?"):
        parse({"model": "wid"})


def test_whole_numbers_of_a_teams_own_model_may_come_as_kubeflow_sends_them(installed):
    installed("acme_models", WIDE, "[cd4ml.trainers]\nwide = acme_models:Wide\n")

    found = parse({"model": "wide", "units": 8.0, "rates": [1.0, 0.5], "sizes": {"a": 3.0}, "epochs": 4.0})

    assert (found.units, found.rates, found.sizes, found.epochs) == (8, [1.0, 0.5], {"a": 3}, 4)
    with pytest.raises(TrainingError, match="units: .* not 2.5"):
        parse({"model": "wide", "units": 2.5})


def test_a_teams_own_model_is_a_part_of_the_arguments_and_their_schema(installed):
    installed("acme_models", WIDE, "[cd4ml.trainers]\nwide = acme_models:Wide\n")
    arguments = TypeAdapter(AnyTrainer)

    assert arguments.validate_python({"model": "wide", "units": 8}).units == 8
    with pytest.raises(ValidationError, match=r"(?s)units\n *Input should be a valid integer, not 'many'"):
        arguments.validate_python({"model": "wide", "units": "many"})
    schema = arguments.json_schema()
    assert [one["$ref"].rpartition("/")[2] for one in schema["anyOf"]] == [
        "Rules",
        "Linear",
        "Dnn",
        "WideAndDeep",
        "Trees",
        "Function",
        "Wide",
    ]
    assert schema["$defs"]["Wide"]["properties"]["model"]["const"] == "wide"
