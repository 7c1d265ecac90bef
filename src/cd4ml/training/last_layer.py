"""The last layer of a model that is written: what it is given for each row, and the model with others of its weights.

It is found in the graph that is served, so that what is learnt goes through the very preprocessing that production
asks. Of a new model only the file of the weights is another: its graph and its contract stay to the byte.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.python.framework import function_def_to_graph

from cd4ml.contracts import model
from cd4ml.contracts.model import SAVED_MODEL, Contract
from cd4ml.errors import TrainingError
from cd4ml.training.examples import tensor

MODELS = ("linear", "dnn")
"""Those whose output is a weighted sum of what their last layer is given."""
ROWS = 8192
"""That are encoded at once."""
_ADDS = ("Add", "AddV2", "BiasAdd")
_WEIGHTS = "variables/variables"


@dataclass(frozen=True)
class Given:
    """What the last layer is given for some rows, and what is added to what it makes of it."""

    inputs: np.ndarray
    """float32 [rows, width]."""
    added: np.ndarray
    """float32 [rows, outputs]: of a linear model, the weights of texts of many values; else zeros."""


class LastLayer:
    """The last layer of a model: `outputs = inputs @ kernel + bias + added`."""

    def __init__(self, folder: Path) -> None:
        """Loads a model.

        Args:
            folder: Its files (layout: `cd4ml.contracts.model`).

        Raises:
            TrainingError: It is of another kind, or cannot be loaded.
        """
        self._folder, self.contract = folder, model.read_contract(folder)
        self._check_kind(self.contract)
        try:
            self._loaded = tf.saved_model.load(str(folder / SAVED_MODEL))
            self._signature = self._loaded.signatures["serving_default"]
            graph = _Graph(self._signature)
            self._kernel, self._bias = (self._variable(graph.resources[name]) for name in graph.weights)
        except (OSError, LookupError, ValueError, tf.errors.OpError) as error:
            raise TrainingError(f"{folder}: its last layer cannot be found ({error}); train the model again") from error
        self.kernel: np.ndarray = self._kernel.numpy()
        """float32 [width, outputs]."""
        self.bias: np.ndarray = self._bias.numpy()
        """float32 [outputs]."""
        self._encode, self._answer = graph.encoder(self.contract), graph.answer(self.contract)

    def given(self, table: pa.Table) -> Given:
        """What the layer is given for the rows of a table, some of them at a time.

        Args:
            table: Has the columns that the contract names, of the types that it takes.

        Raises:
            DataError: A column is missing, or of another type.
        """
        parts = [self._encoded(table.slice(begin, ROWS)) for begin in range(0, max(len(table), 1), ROWS)]
        inputs, added = (np.concatenate(some) for some in zip(*parts, strict=True))
        return Given(inputs, added)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """What the model gives, float32 [rows, *shape], where its last layer gives these outputs, [rows, outputs]."""
        parts = [outputs[begin : begin + 2**16] for begin in range(0, max(len(outputs), 1), 2**16)]
        return np.concatenate([self._answer(tf.constant(one, tf.float32)).numpy() for one in parts])

    def write(self, folder: Path, *, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Writes the model's folder anew, with other weights in its last layer; its lineage is left out."""
        shutil.copytree(self._folder, folder, ignore=shutil.ignore_patterns("lineage.json"))
        self._kernel.assign(kernel.astype(np.float32))
        self._bias.assign(bias.astype(np.float32))
        with tempfile.TemporaryDirectory(prefix="cd4ml-") as temporary:
            now = tf.train.Checkpoint(root=self._loaded).write(f"{temporary}/weights")
            _replace(folder / SAVED_MODEL / _WEIGHTS, tf.train.load_checkpoint(now))
        self._kernel.assign(self.kernel)
        self._bias.assign(self.bias)

    def _check_kind(self, contract: Contract) -> None:
        kind = contract.model.get("model")
        if kind not in MODELS:
            raise TrainingError(
                f"{self._folder}: a model of the kind {kind!r} is trained as a whole; learn online with "
                f"{' or '.join(MODELS)}, or train this one anew"
            )

    def _variable(self, resource: tf.Tensor) -> tf.Variable:
        return next(one for one in self._signature.variables if one.handle is resource)

    def _encoded(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        raw = model.columns(table, self.contract).values()
        inputs, added = self._encode(*map(tensor, raw))
        return inputs.numpy(), added.numpy()


class _Graph:
    """The graph that a signature calls."""

    def __init__(self, signature: Any) -> None:
        call = next(one for one in signature.graph.get_operations() if "PartitionedCall" in one.type)
        function = signature.graph._functions[call.get_attr("f").name]
        whole = function_def_to_graph.function_def_to_graph(function.cached_definition)
        outside = {id(inner): outer for outer, inner in signature.graph.captures}
        there = dict(zip((one.op.name for one in whole.inputs), call.inputs, strict=True))
        self._definition: graph_pb2.GraphDef = whole.as_graph_def()
        for node in self._definition.node:  # what has to run beside it is of the whole graph alone
            node.input[:] = [name for name in node.input if not name.startswith("^")]
        self.resources: Mapping[str, tf.Tensor] = {
            name: outside[id(one)] for name, one in there.items() if id(one) in outside
        }
        self._raw = {one.op.name.lower(): name for name, one in there.items() if id(one) not in outside}
        self._output = whole.outputs[0].name
        self._find(whole)

    def _find(self, whole: Any) -> None:
        """The product of the last layer, what its bias makes of it, and the sum that is its output."""
        products = [
            one for one in whole.get_operations() if one.type == "MatMul" and one.inputs[1].op.type == "ReadVariableOp"
        ]
        product = products[-1]
        biased = product.outputs[0].consumers()[0]
        if biased.type not in _ADDS:
            raise LookupError("it has no bias")
        last = biased
        while (after := last.outputs[0].consumers()) and after[0].type in _ADDS and _sums_tensors(after[0]):
            last = after[0]
        self._given, self._biased, self._last = product.inputs[0].name, biased.outputs[0].name, last.outputs[0].name
        self.weights = tuple(one.op.inputs[0].op.name for one in (product.inputs[1], biased.inputs[1]))

    def encoder(self, contract: Contract) -> Any:
        """From raw features, one tensor a column of the contract, to what the layer is given and what is added."""
        names = [self._given, self._biased, self._last]
        definition = _leading_to(self._definition, names)

        def encode(*raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            given = {self._raw[one.tensor.lower()]: tensor for one, tensor in zip(contract.inputs, raw, strict=True)}
            known = {f"{name}:0": tensor for name, tensor in {**self.resources, **given}.items()}
            inputs, biased, last = tf.graph_util.import_graph_def(
                definition, input_map=_there(known, definition), return_elements=names
            )
            return inputs, last - biased

        return tf.function(encode, input_signature=[tf.TensorSpec([None], one.dtype) for one in contract.inputs])

    def answer(self, contract: Contract) -> Any:
        """From the outputs of the layer to what the model gives."""
        cut = graph_pb2.GraphDef()
        cut.CopyFrom(self._definition)
        last = self._last.split(":")[0]
        for node in cut.node:
            if node.name == last:
                node.Clear()
                node.name, node.op = last, "Placeholder"
                node.attr["dtype"].type = tf.float32.as_datatype_enum
        definition = _leading_to(cut, [self._output])

        def answer(outputs: tf.Tensor) -> tf.Tensor:
            known = {f"{name}:0": tensor for name, tensor in self.resources.items()} | {self._last: outputs}
            (found,) = tf.graph_util.import_graph_def(
                definition, input_map=_there(known, definition), return_elements=[self._output]
            )
            return found

        width = int(np.prod(contract.shape))
        return tf.function(answer, input_signature=[tf.TensorSpec([None, width], tf.float32)])


def _sums_tensors(one: Any) -> bool:
    """Whether an addition is of what differs by row, and not of a constant."""
    return all(given.op.type not in ("Const", "ReadVariableOp") for given in one.inputs)


def _leading_to(definition: graph_pb2.GraphDef, names: Sequence[str]) -> graph_pb2.GraphDef:
    """The part of a graph that some tensors are made by."""
    nodes, found, wanted = {one.name: one for one in definition.node}, graph_pb2.GraphDef(), [*names]
    part = set[str]()
    while wanted:
        name = wanted.pop().partition(":")[0]
        if name not in part:
            part.add(name)
            wanted += nodes[name].input
    found.CopyFrom(definition)
    del found.node[:]
    found.node.extend(one for one in definition.node if one.name in part)
    return found


def _there(known: Mapping[str, tf.Tensor], definition: graph_pb2.GraphDef) -> dict[str, tf.Tensor]:
    """What a part of the graph takes, within the graph that is being made."""
    names, graph = {f"{node.name}:0" for node in definition.node}, tf.compat.v1.get_default_graph()
    return {name: graph.capture(one) for name, one in known.items() if name in names}


def _replace(prefix: Path, now: Any) -> None:
    """Writes the weights of a model anew: the same under the same names, those that have changed as they are now."""
    before = tf.train.load_checkpoint(str(prefix))
    shapes = now.get_variable_to_shape_map()
    names = sorted(before.get_variable_to_shape_map())
    values = [(now if name in shapes and not name.startswith("_") else before).get_tensor(name) for name in names]
    unfinished = prefix.with_name("unfinished")
    tf.raw_ops.SaveV2(
        prefix=str(unfinished),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.convert_to_tensor(one) for one in values],
    )
    for file in prefix.parent.glob(f"{prefix.name}.*"):
        file.unlink()
    # A single shard, as a SavedModel's.
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(unfinished)], destination_prefix=str(prefix), delete_old_dirs=False
    )
