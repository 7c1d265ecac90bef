"""`cd4ml.training.spec`: what a team may say about a model."""

import subprocess
import sys

import pytest

from cd4ml.errors import TrainingError
from cd4ml.training.spec import Dnn, Linear, parse


def test_a_model_needs_no_more_than_its_name():
    assert parse({"model": "linear"}) == Linear()
    assert parse({"model": "dnn"}) == Dnn()


def test_whole_numbers_may_come_as_kubeflow_sends_them():
    spec = parse({"model": "dnn", "epochs": 3.0, "batch_size": 64.0, "hidden": [16.0, 8.0]})

    assert spec == Dnn(epochs=3, batch_size=64, hidden=(16, 8))


def test_any_model_may_be_reweighted():
    assert parse({"model": "linear"}).reweight == ()
    assert parse({"model": "linear", "reweight": ["region"]}).reweight == ("region",)
    assert parse({"model": "dnn", "reweight": ["gender", "region"]}).reweight == ("gender", "region")


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
        ({}, "'model' is None; there are linear, dnn"),
        ({"model": "dn"}, r"'model' is dn; did you mean 'dnn'\?"),
        ({"model": ["dnn"]}, r"did you mean 'dnn'\?"),
        ({"model": "linear", "hidden": [8]}, "hidden: unknown; there are model, epochs"),
        ({"model": "dnn", "epochs": 2.5}, "epochs: .* not 2.5"),
        ({"model": "dnn", "hidden": [8, -1]}, "hidden.1: .* not -1"),
        ({"model": "dnn", "reweigh": ["region"]}, r"reweigh: unknown; did you mean 'reweight'\?"),
        ({"model": "dnn", "reweight": "region"}, "reweight: .* not 'region'"),
        ({"model": "dnn", "reweight": ["region", ""]}, "reweight.1: .* not ''"),
        ({"model": "dnn", "reweight": ["region", "region"]}, "reweight: name each column once"),
    ],
)
def test_a_wrong_specification_says_what_may_stand_there(spec, message):
    with pytest.raises(TrainingError, match=message):
        parse(spec)


def test_a_specification_is_checked_without_tensorflow():
    program = "import sys, cd4ml.training.spec; print('tensorflow' in sys.modules or 'pyarrow' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"
