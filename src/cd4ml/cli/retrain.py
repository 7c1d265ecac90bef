"""Training a model again because of what production does: `cd4ml monitor retrain`, `cd4ml monitor retrainings`."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cd4ml import settings
from cd4ml.cli import address as kfp
from cd4ml.cli import asked
from cd4ml.cli import run as here
from cd4ml.cli.address import Experiment, ServiceAccount, Yes
from cd4ml.cli.application import moment, print_whole, say, table
from cd4ml.cli.monitor import Model, monitor_app
from cd4ml.errors import ArgumentsError, DataError
from cd4ml.storage import Store, local_path, open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from cd4ml.contracts.retraining import Gain
    from cd4ml.kubeflow.connection import Address
    from cd4ml.monitoring.retraining import Rules
    from cd4ml.registry.retrainings import Retraining


@monitor_app.command()
@kfp.options
def retrain(
    file: Annotated[
        Path,
        typer.Argument(parser=local_path, metavar="FILE", help="YAML: `training:` a run file, `when:` its rules."),
    ],
    address: "Address",
    submit: Annotated[bool, typer.Option("--submit", help="Train on KFP; on this machine if not said.")] = False,
    runs: asked.RunsOption = asked.RUNS,
    experiment: Experiment = None,
    service_account: ServiceAccount = None,
    yes: Yes = False,
) -> None:
    """Decides whether a model is trained again, and trains it where the answer is yes.

    The decision is kept with its reasons, also where it is no; the same no is kept once. What is trained learns from
    the dataset of the model and from the labelled rows of its windows, as far as labels are ripe, and goes the way of
    any other: gates, approval, rollout. Of several that decide at once one does.

    The exit code is 0 where the answer is no, or the run passed (with --submit: was handed over).

    Examples:
    cd4ml monitor retrain examples/promotions/retraining.yaml

    cd4ml monitor retrain examples/promotions/retraining.yaml --submit --host http://localhost:8080
    """
    from cd4ml.monitoring import retraining
    from cd4ml.registry import clock, retrainings

    rules = _rules(file)
    training = file.parent / rules.training
    wanted = asked.read(training, in_a_cluster=submit)
    if wanted.name != "training" or not wanted.store or not wanted.model:
        raise ArgumentsError(f"{training}: trains no model; name a file of the pipeline training")
    store, model = open_store(wanted.store), wanted.model
    checked = _learning(wanted.store, model, rules, until=clock.now())  # before a yes, which would stand in the way
    to_come = asked.read(training, in_a_cluster=submit, instead=checked)
    connection = kfp.connected(address, changes=True, sure=yes) if submit else None
    decision = retraining.decide(
        store,
        model,
        rules,
        backtest=lambda rows: _backtest(store, model, rows),
        check=None if submit else lambda: here.check_ready(to_come),
    )
    _print(decision)
    if not decision.decided.retrain:
        return
    try:
        until = decision.decided.ripe_until
        wanted = asked.read(training, in_a_cluster=submit, instead=_learning(wanted.store, model, rules, until=until))
        if connection:
            from cd4ml.cli.submit import named, submitted

            name = named(f"retraining-{model}-{decision.number}")
            run = submitted(connection, wanted, name=name, experiment=experiment, service_account=service_account)
            retrainings.start(store, decision, run)
            return
        folder = here.new_folder(runs, wanted.name)
        retrainings.start(store, decision, folder.name)
        code = here.execute(wanted, runs, folder=folder)
        if code:
            summary = json.loads((folder / "summary.json").read_text())
            retrainings.end(store, decision, summary["failure"] or "", stopped=summary["status"] == "stopped")
    except KeyboardInterrupt:
        retrainings.end(store, decision, "it was stopped", stopped=True)
        raise
    except Exception as error:
        retrainings.end(store, decision, str(error) or type(error).__name__)
        raise
    raise typer.Exit(code)


@monitor_app.command("retrainings")
def list_retrainings(model: Model, store: asked.StoreOption = asked.STORE) -> None:
    """Lists the decisions whether a model is trained again, with their reasons and what came of them."""
    from cd4ml.registry import clock, retrainings

    opened = open_store(store)
    found = [retrainings.settled(opened, one, clock.moment()) for one in retrainings.every(opened, model)]
    if not found:
        raise DataError(f"store {store}: nothing was decided of {model}; `cd4ml monitor retrain` decides")
    shown = table("", "decided (UTC)", "version", "decision", "came of it")
    for one in found:
        about = one.decided
        came = one.state if about.retrain else ""
        shown.add_row(str(one.number), moment(about.at), str(about.version), escape(about.headline), escape(came))
    print_whole(shown)


def _rules(file: Path) -> "Rules":
    from cd4ml.monitoring.retraining import Rules
    from cd4ml.running import yaml_file

    return settings.parse(Rules, content=yaml_file.plain(file), name=str(file), error=ArgumentsError)


def _learning(store: str, model: str, rules: "Rules", *, until: str) -> dict[str, Any]:
    """The arguments of a run that learns from windows too; none where none is ripe."""
    if not until:
        return {}
    source = {"windows": f"{store}/windows/{model}", "columns": dict(rules.columns), "until": until}
    return {"source": source, "mode": "merge"}


def _backtest(store: Store, model: str, rows: "pa.Table") -> "Gain | None":
    """What a retraining would gain, computed where there is scikit-learn."""
    import pyarrow.parquet as pq
    from pydantic import TypeAdapter

    from cd4ml.contracts.model import write_contract
    from cd4ml.contracts.retraining import Gain
    from cd4ml.registry import models, named
    from cd4ml.running.asking import ask

    with tempfile.TemporaryDirectory(prefix="cd4ml-backtest-") as folder:
        file = Path(folder) / "rows.parquet"
        pq.write_table(rows, file)
        write_contract(models.contract(store, named.find(store, model)), folder)
        return TypeAdapter(Gain | None).validate_python(ask("validate", "cd4ml.monitoring.backtest", str(file), folder))


def _print(decision: "Retraining") -> None:
    about = decision.decided
    for one in about.reasons:
        say(one.rule, f"{'asks for it' if one.asks else 'no'}: {one.said}")
    for said in about.against:
        say("against", said)
    if about.gain:
        say("backtest", about.gain.said)
    if about.gain_unknown:
        say("backtest", f"none: {about.gain_unknown}")
    say("decision", f"{decision.number}, {about.headline}")
