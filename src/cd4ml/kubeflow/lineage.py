"""What the tasks of a run made, from ML Metadata: KFP 2's REST API names no artifact.

ML Metadata speaks gRPC. KFP's UI hands it on as gRPC-Web, which is one POST a question, so that the address and the
credentials of the UI are enough. Of its messages (`metadata_store.proto`) only what is read here is declared.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory, struct_pb2

from cd4ml.contracts.task_tree import State
from cd4ml.errors import KubeflowError
from cd4ml.kubeflow.connection import UI_VARIABLE, Connection, NotFoundError

_RUN_CONTEXT = "system.PipelineRun"
_OUTPUT = 4
_GROUP = "system.DAGExecution"
_STATES: dict[int, State] = {2: "running", 3: "passed", 4: "failed", 5: "passed", 6: "skipped"}
"""By ML Metadata's number; a canceled execution is one that was not to run."""
_CACHED = 5
_LOGS = "executor-logs"
_NO_METADATA = ("display_name", "store_session_info")
_FRAME = struct.Struct(">BI")


@dataclass(frozen=True)
class Artifact:
    """One output artifact of a task."""

    name: str
    uri: str
    metadata: Mapping[str, Any]


@dataclass
class TaskRecord:
    """What ML Metadata holds of a task."""

    name: str
    """Its place in the pipeline, as `train-model-2`, or `for-loop-1.0.train-model` in a loop's first iteration."""
    display_name: str
    """Its own, and in which group it is."""
    is_group: bool
    """Whether it is a group of tasks: a loop, an iteration, a condition's, an exit handler's."""
    state: State
    cached: bool
    pod: str
    began: datetime
    changed: datetime
    """The last time; its end, where it has ended."""
    artifacts: list[Artifact] = field(default_factory=list)


def tasks(connection: Connection, run_id: str) -> list[TaskRecord]:
    """The tasks and groups of a run that have begun, in this order, each with what its last attempt made.

    Raises:
        KubeflowError: ML Metadata cannot be asked there.
    """
    context = _call(connection, "GetContextByTypeAndName", type_name=_RUN_CONTEXT, context_name=run_id).context
    if not context.id:
        return []
    executions = sorted(
        _call(connection, "GetExecutionsByContext", context_id=context.id).executions, key=lambda one: one.id
    )
    artifacts = {one.id: one for one in _call(connection, "GetArtifactsByContext", context_id=context.id).artifacts}
    names = _names(executions)
    records = {}
    for execution in executions:
        properties = _values(execution.custom_properties)
        name = names[execution.id]
        own, within = str(properties.get("display_name") or properties.get("task_name", "")), name.rpartition(".")[0]
        records[execution.id] = TaskRecord(
            name=name,
            display_name=f"{own} ({within})" if within else own,
            is_group=execution.type == _GROUP,
            state=_STATES.get(execution.last_known_state, "waiting"),
            cached=execution.last_known_state == _CACHED,
            pod=str(properties.get("pod_name", "")),
            began=_time(execution.created_ms),
            changed=_time(execution.changed_ms),
        )
    if records:
        for event in _call(connection, "GetEventsByExecutionIDs", execution_ids=list(records)).events:
            if event.type == _OUTPUT and event.artifact_id in artifacts:
                artifact = artifacts[event.artifact_id]
                values = _values(artifact.custom_properties)
                metadata = {key: value for key, value in values.items() if key not in _NO_METADATA}
                output = next((step.key for step in event.path.steps if step.key), values.get("display_name", ""))
                if output != _LOGS:
                    records[event.execution_id].artifacts.append(Artifact(str(output), artifact.uri, metadata))
    # The last attempt of each; what has no name is the pipeline itself.
    return list({record.name: record for record in records.values() if record.name}.values())


def _names(executions: Sequence[Any]) -> dict[int, str]:
    """By execution: the names of its groups and its own; an iteration of a loop has its number in place of a name."""
    names: dict[int, str] = {}
    for execution in executions:  # a group has a lower number than what is in it
        properties = _values(execution.custom_properties)
        group, index = names.get(properties.get("parent_dag_id", 0), ""), properties.get("iteration_index")
        own = str(properties.get("task_name", "") if index is None else index)
        names[execution.id] = f"{group}.{own}" if group else own
    return names


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _call(connection: Connection, method: str, **request: Any) -> Any:
    body = _message(f"{method}Request")(**request).SerializeToString()
    url = f"{connection.ui}/ml_metadata.MetadataStoreService/{method}"
    response = _message(f"{method}Response")()
    try:
        answer = connection.fetch(url, _FRAME.pack(0, len(body)) + body, "application/grpc-web+proto")
        for flag, content in _frames(answer):
            if not flag & 0x80:
                response.ParseFromString(content)
            elif b"grpc-status:0" not in content.replace(b" ", b""):
                raise KubeflowError(
                    f"{connection.ui}: ML Metadata fails: {content.decode(errors='replace').strip()}; "
                    "see the log of the pod metadata-grpc"
                )
    except (NotFoundError, struct.error, message.DecodeError) as error:
        raise KubeflowError(
            f"{connection.ui}: does not hand on ML Metadata, as KFP's UI does; name the UI with {UI_VARIABLE}"
        ) from error
    return response


def _frames(answer: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(answer):
        flag, length = _FRAME.unpack_from(answer, position)
        position += _FRAME.size
        yield flag, answer[position : position + length]
        position += length


def _values(properties: Any) -> dict[str, Any]:
    """Properties by name, as plain values; numbers that are whole become so."""
    values: dict[str, Any] = {}
    for one in properties:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind) if kind else None
        values[one.key] = json_format.MessageToDict(value) if kind == "struct_value" else value
    return dict(sorted(values.items()))


_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {"int": _FIELD.TYPE_INT64, "float": _FIELD.TYPE_DOUBLE, "text": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL}
# By message: its fields as name: (number, type, repeated). A map is, on the wire, a repeated pair of key and value.
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Value": {
        "int_value": (1, "int", False),
        "double_value": (2, "float", False),
        "string_value": (3, "text", False),
        "struct_value": (4, ".google.protobuf.Struct", False),
        "bool_value": (6, "bool", False),
    },
    "Property": {"key": (1, "text", False), "value": (2, "Value", False)},
    "Context": {"id": (1, "int", False)},
    "Artifact": {"id": (1, "int", False), "uri": (3, "text", False), "custom_properties": (5, "Property", True)},
    "Execution": {
        "id": (1, "int", False),
        "type": (7, "text", False),
        "last_known_state": (3, "int", False),
        "created_ms": (8, "int", False),
        "changed_ms": (9, "int", False),
        "custom_properties": (5, "Property", True),
    },
    "Step": {"index": (1, "int", False), "key": (2, "text", False)},
    "Path": {"steps": (1, "Step", True)},
    "Event": {
        "artifact_id": (1, "int", False),
        "execution_id": (2, "int", False),
        "path": (3, "Path", False),
        "type": (4, "int", False),
    },
    "GetContextByTypeAndNameRequest": {"type_name": (1, "text", False), "context_name": (2, "text", False)},
    "GetContextByTypeAndNameResponse": {"context": (1, "Context", False)},
    "GetExecutionsByContextRequest": {"context_id": (1, "int", False)},
    "GetExecutionsByContextResponse": {"executions": (1, "Execution", True)},
    "GetArtifactsByContextRequest": {"context_id": (1, "int", False)},
    "GetArtifactsByContextResponse": {"artifacts": (1, "Artifact", True)},
    "GetEventsByExecutionIDsRequest": {"execution_ids": (1, "int", True)},
    "GetEventsByExecutionIDsResponse": {"events": (1, "Event", True)},
}


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    """The messages, in a pool of their own: another library may have declared all of ML Metadata."""
    file = descriptor_pb2.FileDescriptorProto(
        name="metadata_store.proto", package="ml_metadata", dependency=["google/protobuf/struct.proto"]
    )
    for name, fields in _MESSAGES.items():
        declared_message = file.message_type.add(name=name)
        if name == "Value":
            declared_message.oneof_decl.add(name="value")
        for field_name, (number, kind, repeated) in fields.items():
            declared = declared_message.field.add(
                name=field_name,
                number=number,
                label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
                type=_KINDS.get(kind, _FIELD.TYPE_MESSAGE),
            )
            if kind not in _KINDS:
                declared.type_name = kind if kind.startswith(".") else f".ml_metadata.{kind}"
            if name == "Value":
                declared.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"ml_metadata.{name}"))
