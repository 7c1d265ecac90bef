"""Compiled pipelines on KFP, one version a revision of the code."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api

from cd4ml import revision
from cd4ml.kubeflow.connection import Connection
from cd4ml.kubeflow.runs import named

REVISION_LENGTH = 12


@dataclass(frozen=True)
class Version:
    """A version of a pipeline on KFP."""

    pipeline_id: str
    version_id: str
    name: str
    new: bool
    """Whether it was not there before."""


def version_name(compiled: str) -> str:
    """The name of a pipeline's version: the revision, and what tells two states of an uncommitted one apart."""
    described = revision.of_working_folder(REVISION_LENGTH) or "unversioned"
    if described != "unversioned" and not described.endswith("-dirty"):
        return described
    return f"{described}-{hashlib.sha256(compiled.encode()).hexdigest()[:8]}"


def upload(connection: Connection, pipeline: Any, name: str) -> Version:
    """Uploads a pipeline as a version of its own, unless that version is there.

    Args:
        connection: The KFP that takes it.
        pipeline: What `dsl.pipeline` made.
        name: The pipeline's name.

    Raises:
        KubeflowError: KFP refuses.
    """
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        version = version_name(file.read_text(encoding="utf-8"))
        pipeline_id = _pipeline_id(connection, name)
        found = connection.ask(
            connection.pipelines.pipeline_service_list_pipeline_versions, pipeline_id, filter=named(version)
        ).pipeline_versions
        if found:
            return Version(pipeline_id, found[0].pipeline_version_id, version, new=False)
        made = connection.ask(
            connection.uploads.upload_pipeline_version,
            str(file),
            name=version,
            display_name=version,
            pipelineid=pipeline_id,
        )
    return Version(pipeline_id, made.pipeline_version_id, version, new=True)


def _pipeline_id(connection: Connection, name: str) -> str:
    """The id of the pipeline that takes the versions, which is made where it is not there."""
    found = connection.ask(
        connection.pipelines.pipeline_service_list_pipelines, filter=named(name), **connection.within
    ).pipelines
    if not found:
        wanted = kfp_server_api.V2beta1Pipeline(display_name=name, name=name, namespace=connection.namespace)
        return str(connection.ask(connection.pipelines.pipeline_service_create_pipeline, wanted).pipeline_id)
    return str(found[0].pipeline_id)
