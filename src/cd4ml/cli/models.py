"""Commands for published models: `cd4ml models`."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, moment, print_outcome, print_sections, print_whole, say, table
from cd4ml.errors import RegistryError, TrainingError
from cd4ml.storage import local_path, open_store

if TYPE_CHECKING:
    from cd4ml.contracts.reproduction import Differences, Reproduction, Tensor

models_app = typer.Typer(
    help="What is published: list, show, history, export, sign, reproduce; your own: test.", no_args_is_help=True
)
Model = Annotated[str, typer.Argument(metavar="MODEL", help="NAME@VERSION; or NAME, the champion.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", help="The version's number.")]

REPRODUCTIONS = "reproductions"
"""In the folder of the runs: those that make a version again, which no later run takes anything from."""
DIFFERS = 3
"""The exit code where what was made again is not what was published."""
MOST = 20
"""Tensors that are shown, those that differ the most."""


@models_app.command("list")
def list_models(store: asked.StoreOption = asked.STORE) -> None:
    """Lists the published versions of all models, the newest of each first."""
    from cd4ml.registry import deployments, models

    opened = open_store(store)
    shown = table("model", "published (UTC)", "dataset", "run", "state")
    for name in opened.children("models"):
        champion = deployments.latest(opened, name)
        for one in reversed(models.versions(opened, name)):
            dataset = f"{one.dataset.name}@{one.dataset.version}"
            state = "champion" if champion and champion.version == one.version else ""
            shown.add_row(f"{name}@{one.version}", moment(one.published_at), dataset, escape(one.run), state)
    if not shown.row_count:
        raise RegistryError(f"store {opened.location}: no model is published; the pipeline `training` publishes them")
    print_whole(shown)


@models_app.command()
def show(model: Model, store: asked.StoreOption = asked.STORE) -> None:
    """Shows a published version: where it comes from, what it takes and gives."""
    from cd4ml.prediction import loading
    from cd4ml.registry import named, promotions

    opened = open_store(store)
    version = named.find(opened, model)
    contract = loading.contract(opened, version)
    say("model", f"{version.name}@{version.version}, published {version.published_at} by {version.run}")
    say("digest", version.digest)
    say("dataset", f"{version.dataset.name}@{version.dataset.version}")
    copied = promotions.find(opened, version.name, version.version)
    if copied:
        say("copied", f"{copied.headline}, at {copied.at}")
    say("gives", contract.gives)
    say("files", opened.uri(version.folder))
    shown = table("column", "holds")
    for one in contract.inputs:
        shown.add_row(escape(one.name), one.kind)
    console.print()
    console.print(shown)


@models_app.command()
def history(
    name: Name,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, a list of events.")] = False,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Shows what happened to a model, the newest first: versions, approvals, deployments, and how these ended.

    Of each version: what it was trained on, by which run, and what it was evaluated to. `cd4ml deployments history`
    says what each deployment changed, and `cd4ml deployments show` has its steps.

    Example: cd4ml models history promotion-uptake
    """
    from cd4ml.registry import timeline

    found = timeline.of(open_store(store), name)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return
    shown = table("time (UTC)", "version", "event", "deployment", "")
    for one in found:
        number = "" if one.deployment is None else str(one.deployment)
        shown.add_row(moment(one.at), str(one.version), one.what, number, escape(one.said))
    print_whole(shown)


@models_app.command()
def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(parser=local_path, metavar="FOLDER", help="To be made.")],
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Writes a published version as a Python package, which needs TensorFlow and nothing of cd4ml.

    Example: cd4ml models export churn@3 churn-3
    """
    from cd4ml.prediction import package

    version = package.export(store, model, folder)
    say("wrote", f"{folder}: {version.name}@{version.version}, {version.digest}")
    say("use", f"pip install {folder.resolve()}; from {package.package_of(version)} import predict")


@models_app.command()
def sign(name: Name, version: Number, store: asked.StoreOption = asked.STORE) -> None:
    """Signs a published version with the key whose file CD4ML_SIGNING_KEY names.

    For versions that were published unsigned, or signed by a key that is trusted no more. Who signs vouches for what
    lies in the store: compare the digest with that of the run that published it.
    """
    from cd4ml.registry import signing

    signed = signing.sign(open_store(store), name, version)
    console.print(f"{name} version {version} is signed: {signed.digest}, published by run {signed.run}", soft_wrap=True)


@models_app.command()
def test(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="team/models.py, or team/models.py:NAME; acme.models:NAME of an installed package; or a run file.",
        ),
    ],
) -> None:
    """Tries a function that trains a model of your own, in seconds, before any run waits for it.

    It is trained on a few rows, written, loaded and asked, in the train environment of this machine. The rows are those
    of the source where a run file is named, and its settings are used; else they are made up, of every kind of column,
    with a date.

    Examples:
    cd4ml models test team/models.py

    cd4ml models test training.yaml
    """
    from cd4ml.running import trials

    values = None
    file, _, name = what.partition(":")
    if Path(file).suffix in (".yaml", ".yml"):
        values = asked.read(local_path(file)).values
        functions = trials.of_run(values)
        if not functions:
            raise TrainingError(f"{what}: names no function to try; write one, as `candidate: {{function: ...}}`")
    elif Path(file).suffix == ".py":
        functions = trials.of_file(local_path(file), name)
    else:
        functions = [trials.installed(what)]
    for function in functions:
        say("function", function.function)
        for word, found in trials.try_out(function, values).items():
            say(word, found)
        print_outcome("passed", "green", "as a run would train it, it can be served")


@models_app.command()
def reproduce(
    name: Name, version: Number, store: asked.StoreOption = asked.STORE, runs: asked.RunsOption = asked.RUNS
) -> None:
    """Makes a published version again from what the store keeps of it, and compares the two to the byte.

    The version says which rows of which dataset it was trained on, how they were split, with which settings and seed.
    The tasks of `training` that made it (split, validate, train the candidate) run on this machine, as `cd4ml run` runs
    them, in RUNS/reproductions. The store is only read: nothing is published, and nothing of before is reused.

    The code of a function that trained it is kept in the store, and runs with your rights: name a store whose writers
    you trust.

    Where the two differ, it says in what: files, weights and by how much, answers for the rows that were kept; and what
    was otherwise when it was trained: settings, splits, versions of packages, kind of CPU, GPUs, code.

    The exit code is 0 where it is the same, 3 where it differs, and 1 where it cannot be made again, with why: rows
    were erased, the dataset or the package of its model is gone, the code that is kept is not that which trained it, or
    another cd4ml trained it, or one that kept less.

    Example: cd4ml models reproduce churn 3 --store s3://cd4ml
    """
    from cd4ml.cli.run import execute, new_folder
    from cd4ml.running import reproduction
    from cd4ml.running.run_file import RunFile

    opened = open_store(store)
    of = reproduction.origin(opened, name, version)
    say("model", f"{name}@{version}, {of.version.digest}, published by {of.version.run}")
    say("data", f"{of.dataset.name}@{of.dataset.version}, {of.dataset.digest}")
    arguments = of.arguments(asked.pipeline(reproduction.PIPELINE), store)
    wanted = asked.checked(RunFile(Path(of.version.folder, "version.json"), reproduction.PIPELINE, arguments))
    folder = new_folder(runs / REPRODUCTIONS, f"{name}-{version}")
    beside = wanted.arguments | {"store": str(folder / "store")}
    unpublished = replace(wanted, arguments=beside, store=None, model=None, port=None, target=None)
    code = execute(unpublished, runs / REPRODUCTIONS, part=of.part, folder=folder)
    if code:
        raise typer.Exit(code)
    found = reproduction.compare(of, folder / reproduction.TRAINS / "model").write(folder / "reproduction.json")
    _tell(found)
    raise typer.Exit(0 if found.same else DIFFERS)


def _tell(found: "Reproduction") -> None:
    """Whether a version is the same when it is made again, and in what it is not."""
    from cd4ml.reports.comparison import Row, Section

    if found.same:
        print_outcome("same", "green", f"{found.name}@{found.version} is made again to the byte: {found.rebuilt}")
    elif found.stored != found.published:
        changed = f"the store has {found.stored} as it, and {found.published} was published: it was changed since"
        print_outcome("differs", "red", f"{found.name}@{found.version}: {changed}; made again it is {found.rebuilt}")
    else:
        print_outcome("differs", "red", f"{found.name}@{found.version}: made again it is {found.rebuilt}")
    if found.differences:
        _tell_differences(found.differences)
    settings = [Row(name, both) for name, both in found.settings.items()]
    print_sections([Section("What was otherwise", settings)], ["published", "made again"])


def _tell_differences(found: "Differences") -> None:
    from cd4ml.reports.comparison import Row, Section

    files = [Row(name, [said]) for name, said in found.files.items()]
    print_sections([Section("files", files)], ["difference"])
    largest = sorted(found.tensors, key=lambda one: -(one.largest or float("inf")))
    weights = [Row(one.name, (one.published, one.rebuilt, _distance(one))) for one in largest[:MOST]]
    title = f"weights, and {len(largest) - MOST:,} more" if len(largest) > MOST else "weights"
    print_sections([Section(title, weights)], ["published", "made again", "difference"])
    answers = found.answers
    said = f"{answers.differing:,} of {answers.rows:,} that were kept differ, by {answers.largest:.3g} at most"
    console.print()
    say("answers", said)


def _distance(one: "Tensor") -> str:
    if not one.values:
        return ""
    by = "" if one.largest is None else f", by {one.largest:.3g} at most"
    return f"{one.values:,} value{'s' * (one.values > 1)}{by}"


app.add_typer(models_app, name="models")
app.add_typer(models_app, name="model", hidden=True)
