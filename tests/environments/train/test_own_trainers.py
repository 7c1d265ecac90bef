"""A team's own models, from packages of their own: they are trained, written and predicted with as ours are."""

import json

import numpy as np
import pytest
from conftest import players, predictions_of, requested

from cd4ml.contracts import model
from cd4ml.errors import TrainingError
from cd4ml.training.train import train

CODE = '''
from typing import Literal
from cd4ml import Epoch, Fitted, Trainer

class Rates(Trainer):
    """The label's rate by the values of one text: no network, no steps."""
    model: Literal["rates"] = "rates"
    by: str
    column: bool = False

    def fit(self, job):
        import keras, numpy as np, pyarrow.parquet as pq
        from cd4ml.contracts.model import features

        def read(split):
            table = pq.read_table(split)
            return features(table, job.contract)[self.by], job.contract.labels(table)

        values, labels = read(job.train)
        known = sorted(set(values))
        groups = [values == one for one in known]
        weights = np.ones(len(labels)) if job.weights is None else job.weights
        rates = np.array([0.0, *(np.average(labels[group], weights=weights[group]) for group in groups)], "float32")

        def score(values, labels):
            return job.contract.problem.score(labels, rates[1 + np.searchsorted(known, values)])

        inputs = [keras.Input((), dtype=one.dtype) for one in job.contract.inputs]
        [text] = [tensor for one, tensor in zip(job.contract.inputs, inputs) if one.name == self.by]
        found = keras.ops.take(rates, keras.layers.StringLookup(vocabulary=known, mask_token=None)(text))
        model = keras.Model(inputs, found[:, None] if self.column else found)
        measured = {"score": score(values, labels), "eval_score": score(*read(job.eval)), "loss": 0.0, "eval_loss": 0.0}
        return Fitted(model, [Epoch(epoch=1, seconds=0.0, metric="auc", **measured)])
'''
ENTRIES = "[cd4ml.trainers]\nrates = acme_models:Rates\n"


def test_a_network_of_a_team_is_trained_by_our_loop(inputs, tmp_path, documented):
    spec = documented("A new model")["candidate"] | {"units": 16, "epochs": 4, "batch_size": 128}

    found = train(requested(inputs, spec=spec), folder=tmp_path / "model")

    assert found.metadata["model"] == "wide"
    assert found.metrics["eval_auc"] > 0.75
    assert model.read_contract(tmp_path / "model").model["units"] == spec["units"]
    assert predictions_of(tmp_path / "model", players(5, seed=3)).shape == (5,)


HELD = """
from typing import Literal
import keras
from cd4ml import Network

class Small(keras.layers.Layer):
    def call(self, rows):
        self.add_loss(100.0 * keras.ops.mean(rows**2))
        return rows

class Held(Network):
    model: Literal["held"] = "held"
    by: str = ""

    def logit(self, features):
        kernel = keras.regularizers.L2(100.0) if self.by == "regularizer" else None
        logit = keras.layers.Dense(1, kernel_regularizer=kernel)(features.vector())
        return Small()(logit) if self.by == "add_loss" else logit
"""


def test_what_a_network_adds_to_the_loss_counts(inputs, tmp_path, installed):
    installed("acme_models", HELD, "[cd4ml.trainers]\nheld = acme_models:Held\n")
    spread = {}
    for by in ("", "regularizer", "add_loss"):
        spec = {"model": "held", "by": by, "epochs": 5, "batch_size": 64, "learning_rate": 0.01}
        train(requested(inputs, spec=spec), folder=tmp_path / f"model{by}")
        spread[by] = predictions_of(tmp_path / f"model{by}", players(500, seed=3)).std()

    assert spread[""] > 0.1
    assert max(spread["regularizer"], spread["add_loss"]) < 0.1 * spread[""]


def test_a_score_that_is_not_defined_is_left_out_and_told(inputs, tmp_path, installed):
    code = CODE.replace('measured = {"score": score(values, labels),', 'measured = {"score": float("nan"),')
    installed("acme_models", code, ENTRIES)

    found = train(requested(inputs, spec={"model": "rates", "by": "region"}), folder=tmp_path / "model")

    assert set(found.metrics) == {
        "eval_auc",
        "eval_loss",
        "train_loss",
        "best_epoch",
        "epochs",
        "seconds",
        "memory_gib",
    }
    [epoch] = json.loads((tmp_path / "model" / "history.json").read_text())
    assert set(epoch) == {"epoch", "seconds", "loss", "eval_loss", "eval_auc"}
    assert ", auc undefined; eval loss 0.0000, auc 0." in str(found.best)


def test_a_trainer_of_a_team_does_all_itself(inputs, tmp_path, installed):
    installed("acme_models", CODE, ENTRIES)
    table = players(4000, seed=1)
    labels, regions = table["took"].to_numpy(), np.array(table["region"].fill_null("").to_pylist())

    found = train(requested(inputs, spec={"model": "rates", "by": "region"}), folder=tmp_path / "model")

    assert found.rows == 4000
    assert found.epochs == 1
    assert found.metadata["headline"] == f"auc {found.best.eval_score:.3f}"
    expected = [labels[regions == region].mean() for region in regions]
    np.testing.assert_allclose(predictions_of(tmp_path / "model", table), expected, rtol=1e-6)


def test_a_trainer_of_a_team_is_given_the_weights(inputs, tmp_path, installed):
    installed("acme_models", CODE, ENTRIES)
    spec = {"model": "rates", "by": "region", "reweight": ["region"]}

    found = train(requested(inputs, spec=spec), folder=tmp_path / "model")

    assert found.metadata["reweighted"] != "no"
    assert np.ptp(predictions_of(tmp_path / "model", players(4000, seed=1))) < 1e-5


def test_a_trainer_that_gives_no_probability_a_row_is_told(inputs, tmp_path, installed):
    installed("acme_models", CODE, ENTRIES)

    with pytest.raises(TrainingError, match=r"model 'rates': Rates.fit gave a model of the output shape \(None, 1\)"):
        train(requested(inputs, spec={"model": "rates", "by": "region", "column": True}), folder=tmp_path / "model")
    assert not (tmp_path / "model").exists()
