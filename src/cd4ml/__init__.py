"""Continuous delivery for machine learning on Kubeflow Pipelines.

The names of `__all__` are the public ones; each is imported when it is first asked for, and with it what it needs.

What a team brings: `Source` reads a table, `Trainer` trains a model, `Network` is one that brings its layers alone,
`Metric` is a row in the table of a `Problem`, and `Target` serves a model. An entry point makes each known
(docs/development.md).

`load_model` gives a published model, to ask it in a process of one's own (docs/using-a-model.md).

What a run leaves behind are `Document`s, to be read as `Summary.read("evaluation/summary.json")`.

What a user can mend is a `Cd4mlError`, whose message says what, where and what to do.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cd4ml.contracts.dataset import DatasetVersion as DatasetVersion
    from cd4ml.contracts.document import Document as Document
    from cd4ml.contracts.evaluation import Summary as Summary
    from cd4ml.contracts.findings import Finding as Finding
    from cd4ml.contracts.findings import Findings as Findings
    from cd4ml.contracts.model import Contract as Contract
    from cd4ml.contracts.predicted import Predicted as Predicted
    from cd4ml.contracts.problem import Metric as Metric
    from cd4ml.contracts.problem import Problem as Problem
    from cd4ml.contracts.release import Deployment as Deployment
    from cd4ml.contracts.release import Verification as Verification
    from cd4ml.contracts.release import Version as Version
    from cd4ml.contracts.verdict import Check as Check
    from cd4ml.contracts.verdict import Outcome as Outcome
    from cd4ml.contracts.verdict import Verdict as Verdict
    from cd4ml.data.sources import Source as Source
    from cd4ml.deployment.strategies import Strategy as Strategy
    from cd4ml.deployment.targets import Release as Release
    from cd4ml.deployment.targets import Served as Served
    from cd4ml.deployment.targets import Target as Target
    from cd4ml.deployment.targets import Unfinished as Unfinished
    from cd4ml.errors import ArgumentsError as ArgumentsError
    from cd4ml.errors import Cd4mlError as Cd4mlError
    from cd4ml.errors import DataError as DataError
    from cd4ml.errors import DeploymentError as DeploymentError
    from cd4ml.errors import DocumentError as DocumentError
    from cd4ml.errors import EnvironmentSetupError as EnvironmentSetupError
    from cd4ml.errors import EvaluationError as EvaluationError
    from cd4ml.errors import GateError as GateError
    from cd4ml.errors import KubeflowError as KubeflowError
    from cd4ml.errors import PluginError as PluginError
    from cd4ml.errors import RegistryError as RegistryError
    from cd4ml.errors import StorageError as StorageError
    from cd4ml.errors import TrainingError as TrainingError
    from cd4ml.prediction.loading import LoadedModel as LoadedModel
    from cd4ml.prediction.loading import load_model as load_model
    from cd4ml.training.fit import Epoch as Epoch
    from cd4ml.training.job import Fitted as Fitted
    from cd4ml.training.job import TrainingJob as TrainingJob
    from cd4ml.training.trainers import Network as Network
    from cd4ml.training.trainers import Trainer as Trainer

_PUBLIC = {
    "contracts.dataset": ["DatasetVersion"],
    "contracts.document": ["Document"],
    "contracts.evaluation": ["Summary"],
    "contracts.findings": ["Finding", "Findings"],
    "contracts.model": ["Contract"],
    "contracts.predicted": ["Predicted"],
    "contracts.problem": ["Metric", "Problem"],
    "contracts.release": ["Deployment", "Verification", "Version"],
    "contracts.verdict": ["Check", "Outcome", "Verdict"],
    "data.sources": ["Source"],
    "deployment.strategies": ["Strategy"],
    "deployment.targets": ["Release", "Served", "Target", "Unfinished"],
    "errors": [
        "ArgumentsError",
        "Cd4mlError",
        "DataError",
        "DeploymentError",
        "DocumentError",
        "EnvironmentSetupError",
        "EvaluationError",
        "GateError",
        "KubeflowError",
        "PluginError",
        "RegistryError",
        "StorageError",
        "TrainingError",
    ],
    "prediction.loading": ["LoadedModel", "load_model"],
    "training.fit": ["Epoch"],
    "training.job": ["Fitted", "TrainingJob"],
    "training.trainers": ["Network", "Trainer"],
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
