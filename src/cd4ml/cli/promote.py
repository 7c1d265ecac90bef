"""Bringing a version from one environment into another: the command `cd4ml promote`."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cd4ml.cli import asked
from cd4ml.cli.application import app, console, print_outcome, say
from cd4ml.errors import ArgumentsError
from cd4ml.storage import local_path

if TYPE_CHECKING:
    from cd4ml.promotion.environments import Environments

FILE = Path("environments.yaml")


@app.command()
def promote(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version's number.")],
    to: Annotated[str, typer.Option(metavar="NAME", help="The environment that takes it.")],
    origin: Annotated[
        str, typer.Option("--from", metavar="NAME", help="The one that it comes from; as the file says if not said.")
    ] = "",
    by: Annotated[str, typer.Option(help="Who promotes or approves; whoever is logged in here if not said.")] = "",
    approve: Annotated[
        bool, typer.Option("--approve", help="Say that it may come there, and copy nothing; with --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why it is approved; one line.")] = "",
    days: Annotated[int, typer.Option(help="How long an approval stands.", min=1, max=90)] = 7,
    environments: Annotated[
        Path, typer.Option(parser=local_path, metavar="FILE", help="YAML: the environments, as docs/promotion.md has.")
    ] = FILE,
) -> None:
    """Copies a published version, as it is, into the store of another environment, such as production.

    It has to be whole, signed by a key that is trusted there, keep the limits of that environment, and be approved by
    those whom it asks. Its number stays. A version that is there already is left as it is.

    Examples:
    cd4ml promote promotion-uptake 3 --to production

    cd4ml promote promotion-uptake 3 --to production --approve --reason "better in the south"
    """
    from cd4ml.promotion import promoting
    from cd4ml.promotion.promoting import Wanted

    known = _read(environments)
    wanted = Wanted(known, name, version, to=to, origin=known.origin(to, origin), file=str(environments))
    who = by or asked.whoever()
    if approve:
        made = promoting.approve(wanted, by=who, reason=reason, valid=timedelta(days=days))
        said = f"{made.by} lets {name} version {version}, {made.digest}, into {to} until {made.until}"
        console.print(escape(said), soft_wrap=True)
        return
    if reason:
        raise ArgumentsError("--reason: is that of an approval; say --approve, or leave it out")
    done = promoting.promote(wanted, by=who)
    found = done.promotion
    state, colour = ("promoted", "green") if done.new else ("there", "yellow")
    since = "" if done.new else f", since {found.at}; nothing was copied"
    print_outcome(state, colour, f"{name} version {version} is in {to}: {found.headline}{since}")
    say("digest", found.digest)
    say("signed", f"by {', '.join(one[:16] for one in found.signed_by)}" if found.signed_by else "by nobody")
    for check in found.verdict.checks if found.verdict else ():
        say(check.outcome, check.reason)


def _read(file: Path) -> "Environments":
    from cd4ml.promotion.environments import parse
    from cd4ml.running import yaml_file

    if not file.exists():
        raise ArgumentsError(f"{file}: is not there; write the environments into it, or name another (--environments)")
    return parse(yaml_file.plain(file), str(file))
