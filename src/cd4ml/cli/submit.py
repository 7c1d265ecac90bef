"""A run on KFP: `cd4ml submit`."""

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cd4ml.cli import address as kfp
from cd4ml.cli import asked
from cd4ml.cli.address import Experiment, ServiceAccount, Yes
from cd4ml.cli.application import app, console, errors, print_outcome, say
from cd4ml.cli.progress import progress
from cd4ml.errors import Cd4mlError, DataError, EnvironmentSetupError, KubeflowError, StorageError

if TYPE_CHECKING:
    from cd4ml.kubeflow.connection import Address, Connection

INTERRUPTED = 130


@app.command()
@kfp.options
def submit(
    file: asked.RunFileArgument,
    address: "Address",
    wait: Annotated[bool, typer.Option(help="Wait for the end, and show the tasks as they go on.")] = True,
    experiment: Experiment = None,
    run_name: Annotated[
        str | None, typer.Option(help="The run's name; the pipeline's and the time if not said.")
    ] = None,
    service_account: ServiceAccount = None,
    cache: Annotated[bool, typer.Option(help="Reuse the results of earlier runs where nothing changed.")] = True,
    yes: Yes = False,
) -> None:
    """Runs a pipeline on KFP: the file that `cd4ml run` takes, with a store and a source that a cluster can reach.

    The exit code is 0 when the run passed, and 1 when it did not.

    Example: cd4ml submit examples/promotions/training-cluster.yaml --host http://localhost:8080
    """
    wanted = asked.read(file, in_a_cluster=True)
    try_functions(wanted)
    connection = kfp.connected(address, changes=True, sure=yes)
    name = run_name or named(wanted.name)
    run_id = submitted(
        connection, wanted, name=name, experiment=experiment, service_account=service_account, cache=cache
    )
    if wait:
        raise typer.Exit(wait_for(connection, run_id, wanted))
    say("wait", f"cd4ml runs show {run_id}")


def try_functions(wanted: asked.Asked) -> None:
    """Tries the functions that are to train models, before a cluster waits for them, where this machine can.

    Raises:
        TrainingError: One cannot be used.
    """
    from cd4ml.running import trials

    for function in trials.of_run(wanted.values):
        try:
            found = trials.try_out(function, wanted.values)
        except (EnvironmentSetupError, DataError, StorageError) as error:
            say("untried", f"{function.function}: {error}")
        else:
            say("tried", f"{function.function}: {found['trained']}")


def named(what: str) -> str:
    """The name of a run that begins now."""
    return f"{what}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def submitted(
    connection: "Connection",
    wanted: asked.Asked,
    *,
    name: str,
    experiment: str | None = None,
    service_account: str | None,
    cache: bool = True,
) -> str:
    """Submits a run, and says where to look at it; its id."""
    from cd4ml.kubeflow import runs

    run_id = runs.submit(
        connection,
        pipeline=wanted.pipeline,
        arguments=wanted.arguments,
        name=name,
        experiment=experiment or wanted.name,
        service_account=service_account,
        cached=cache,
    )
    say("run", f"{name}, id {run_id}")
    link = connection.link(f"runs/details/{run_id}")
    if link:
        say("look", link)
    return run_id


def wait_for(connection: "Connection", run_id: str, wanted: asked.Asked) -> int:
    """Shows a run as it goes on; the exit code that its end asks for."""
    from cd4ml.kubeflow import runs
    from cd4ml.running import compiled

    started = time.monotonic()
    tree = compiled.tree(wanted.pipeline, Path())
    look = f"the run goes on; look at it with `cd4ml runs show {run_id}`"
    try:
        with progress(tree) as changed:
            state = runs.follow(
                connection,
                run_id=run_id,
                tree=tree,
                changed=changed,
                lost=lambda reason: errors.print(f"{reason}; trying again"),
            )
    except KeyboardInterrupt:
        print_outcome("not waiting any more", "yellow", look)
        return INTERRUPTED
    except Cd4mlError as error:
        raise KubeflowError(f"{error}\n{look}") from error
    console.print()
    if state == "passed":
        print_outcome("passed", "green", f"in {time.monotonic() - started:.0f} s")
        unseen = [task.display_name for task in tree.tasks if task.state == "waiting"]
        if unseen:
            errors.print(
                f"KFP does not know {', '.join(unseen)}: its workflow has grown too large to be read; "
                "an admin lets it grow with Argo's MAX_WORKFLOW_SIZE (docs/admin.md)"
            )
        return 0
    if state == "failed":
        failed = [task.name for task in tree.tasks if task.state == "failed"]
        print_outcome("failed", "red", runs.failure(connection, run_id, failed))
    else:
        print_outcome(state, "yellow", "The run was ended on KFP.")
    return 1
