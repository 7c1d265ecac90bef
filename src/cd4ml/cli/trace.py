"""Where something comes from and what came of it: the command `cd4ml trace`."""

import json
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from cd4ml.cli import asked
from cd4ml.cli.application import app, errors, moment
from cd4ml.errors import ArgumentsError, RegistryError
from cd4ml.monitoring import spans
from cd4ml.storage import NUMBER, Store, check_uri, is_name, open_store

if TYPE_CHECKING:
    from cd4ml.monitoring.trace import Node, Trace

Kind = Literal["row", "dataset", "model", "run", "request"]
WAYS = {"made_of": "comes from", "led_to": "led to"}


@app.command()
def trace(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT",
            help="MODEL@VERSION, DATASET@VERSION, the id or name of a run, the id of a request; or a row: DATASET "
            "key=VALUE, or COLUMN=VALUE, several where it takes several.",
        ),
    ],
    kind: Annotated[
        Kind | None, typer.Option(help="What it is, where its name can be of several.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="The model that a request was sent to.")] = "",
    at: Annotated[
        datetime | None,
        typer.Option(parser=spans.moment, metavar="TIME", help="When a request came in, about: 2026-11-29T08:00Z."),
    ] = None,
    capture: Annotated[
        str, typer.Option(metavar="PLACE", help="What a router captured; that of the model if not said.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Shows where something comes from and what came of it, from a row of a dataset to a request, and back.

    A row is in versions of its dataset; models were trained on these, and deployed; requests were answered by these
    deployments, and some have labels by now. From a request it goes the other way. All of it is from the store; what
    that has no more is told.

    Examples:
    cd4ml trace uptake@3

    cd4ml trace players key=p00017

    cd4ml trace 0194f0c2-7a01-7d3e-9b5e-0242ac120002 --model uptake --json
    """
    from cd4ml.monitoring.trace import Trace

    opened = open_store(store)
    tracing = Trace(opened, lambda said: errors.print(f"[dim]{escape(said)}[/]", soft_wrap=True))
    found = _traced(tracing, what, kind or _kind(opened, what), of=(model, at, check_uri(capture) if capture else ""))
    if as_json:
        typer.echo(json.dumps(found.content, indent=2, ensure_ascii=False))
        return
    Console(width=1_000).print(_tree(found))


def _traced(tracing: "Trace", what: list[str], kind: Kind, *, of: tuple[str, datetime | None, str]) -> "Node":
    """What is found of something, of which one knows what it is."""
    from cd4ml.monitoring.one_request import Asked
    from cd4ml.registry import named, records

    if len(what) > 1 and kind != "row":
        raise ArgumentsError(f"{' '.join(what)}: a {kind} is one word; only a row takes several: DATASET key=VALUE")
    name = what[0]
    match kind:
        case "row":
            return tracing.row(name, _values(tracing.store, name, what[1:]))
        case "dataset":
            dataset, _, version = name.partition("@")
            return tracing.dataset(dataset, version or "latest")
        case "model":
            return tracing.model(named.find(tracing.store, name))
        case "run":
            return tracing.run(records.read(tracing.store, name))
    model, at, capture = of
    return tracing.request(Asked(name, at, capture), model)


def _values(store: Store, dataset: str, words: list[str]) -> dict[str, str]:
    """The values by which a row is found; `key` is the key of the dataset where no column is called so."""
    from cd4ml.data.versions import Datasets

    pairs = [word.partition("=") for word in words]
    if not pairs or not all(column and cut for column, cut, _ in pairs):
        raise ArgumentsError(f"{' '.join([dataset, *words])}: name the row by its key: DATASET key=VALUE")
    found = Datasets(store).find(dataset)
    own = found.latest.about.key_in_table
    if "key" in (column for column, *_ in pairs) and "key" not in {one.name for one in found.columns(found.latest)}:
        if len(own) > 1:
            raise ArgumentsError(
                f"{dataset}: the key is of several columns; name each: {' '.join(f'{c}=…' for c in own)}"
            )
        pairs = [(own[0] if column == "key" else column, cut, text) for column, cut, text in pairs]
    twice = [one for one, times in Counter(column for column, *_ in pairs).items() if times > 1]
    if twice:
        raise ArgumentsError(
            f"{' '.join([dataset, *words])}: column {twice[0]!r} is named twice; a row has one value of it"
        )
    return {column: text for column, _, text in pairs}


def _kind(store: Store, what: list[str]) -> Kind:
    """What something is, as its name tells.

    Raises:
        ArgumentsError: It may be several things.
    """
    from cd4ml.registry import records

    name, _, version = what[0].partition("@")
    if len(what) > 1:
        return "row"
    known: list[Kind] = []
    if is_name(name):
        known += ["dataset"] * (name in store.children("datasets"))
        known += ["model"] * (name in store.children("models") and (not version or bool(NUMBER.fullmatch(version))))
    if len(known) > 1:
        raise ArgumentsError(f"{what[0]}: is a dataset and a model here; say which with --kind")
    if known or version:
        return known[0] if known else "model"  # which says what there is
    try:
        records.read(store, name)
    except RegistryError as error:
        if "several runs" in str(error):
            raise
        return "request"
    return "run"


def _tree(found: "Node") -> Tree:
    """What was found, for people: a branch for each way where it goes both."""
    top = Tree(_line(found), guide_style="dim")
    for way, called in WAYS.items():
        nodes = getattr(found, way)
        if nodes:
            _grow(top.add(f"[dim]{called}[/]"), nodes)
    return top


def _grow(tree: Tree, nodes: "tuple[Node, ...]") -> None:
    for one in nodes:
        _grow(tree.add(_line(one)), one.made_of + one.led_to)


def _line(one: "Node") -> str:
    at = f" [dim]{moment(one.at)}[/]" if one.at else ""
    said = f": {escape(one.said)}" if one.said else ""
    return f"{one.kind} [bold]{escape(one.name)}[/]{at}{said}"
