"""Pipelines on the runners of Beam, whose failures are told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions

from cd4ml.errors import Cd4mlError


@contextmanager
def pipeline(runner: str, options: Sequence[str], *, reached: str, told: type[Cd4mlError]) -> Iterator[beam.Pipeline]:
    """A pipeline of Beam, which runs to its end when what is in it has been named.

    Args:
        runner: The name of a runner of Beam, such as FlinkRunner, SparkRunner or DataflowRunner.
        options: The options of the pipeline, as on Beam's command line: `--flink_master=...`.
        reached: What the runner's workers have to reach, for the message of a failure.
        told: The error of the stage that runs it.

    Raises:
        Cd4mlError: As `told`: Beam knows no such runner or does not take its options, no job server answers, or the
            runner failed.
    """
    try:
        wanted = PipelineOptions(list(options))
        wanted.get_all_options()  # finds what is wrong with them
        made = beam.Pipeline(runner, wanted)
    except (ValueError, ImportError, SystemExit) as error:  # Beam's parser of options ends the process
        raise told(f"runner: {error}; name one of Beam's, such as FlinkRunner, and its options") from error
    yield made
    try:
        made.run().wait_until_finish()
    except grpc.FutureTimeoutError as error:
        raise told(f"runner: {runner}: no job server answers; see to it, and name it by --job_endpoint") from error
    except (RuntimeError, OSError, ValueError, grpc.RpcError) as error:
        raise told(f"runner: {runner} failed: {error}; its workers must reach {reached}") from error
