"""Commands for what is in production, and was: `cd4ml deployments`, `cd4ml stop`."""

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from cd4ml.cli import address as kfp
from cd4ml.cli import asked
from cd4ml.cli.address import ServiceAccount, Yes
from cd4ml.cli.application import (
    app,
    console,
    errors,
    moment,
    print_outcome,
    print_sections,
    print_whole,
    say,
    table,
    writing,
)
from cd4ml.cluster import accounts
from cd4ml.contracts import document
from cd4ml.errors import DeploymentError, RegistryError, StorageError
from cd4ml.monitoring import spans
from cd4ml.storage import Store, check_uri, local_path, open_store

if TYPE_CHECKING:
    from cd4ml.contracts.approval import What
    from cd4ml.contracts.model import Contract
    from cd4ml.contracts.release import Deployment, Version
    from cd4ml.deployment.evidence.divided import Divided
    from cd4ml.kubeflow.connection import Address

deployments_app = typer.Typer(
    help="What was deployed, and is to be: list, show, history, diff, page, approve, promote, abort, rollback, stop, "
    "freeze, unfreeze, freezes, analyse, replay.",
    no_args_is_help=True,
)
PEOPLE = "What people decide"
"""The panel of the commands by which they do, in the help."""
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The deployment's number, of `list`.")]
Reason = Annotated[str, typer.Option(help="Why; one line.")]
By = Annotated[str, typer.Option(help="Who says so; whoever is logged in here if not said.")]


@deployments_app.command("list")
def list_deployments(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The model's name; what is in production of all if not said."),
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Lists all deployments of a model, the newest first, and what became of each; or what is in production of all.

    In production is, at each target, the last one that held; nothing is where that one was stopped.
    """
    opened = open_store(store)
    if name is None:
        _list_production(opened)
    else:
        _list_all(opened, name)


def _list_production(store: Store) -> None:
    from cd4ml.registry import deployments

    shown = table("model", "number", "version", "target", "since (UTC)", "endpoint")
    for name in store.children("deployments"):
        standing = deployments.in_production(deployments.every(store, name))
        for one in filter(None, (series.deployment for series in standing)):
            since = moment(one.deployed_at)
            shown.add_row(name, str(one.number), str(one.version), one.target, since, escape(one.endpoint))
    if not shown.row_count:
        raise RegistryError(f"store {store.location}: nothing is in production; the pipeline `training` deploys")
    print_whole(shown)


def _list_all(store: Store, name: str) -> None:
    from cd4ml.registry import deployments

    found = deployments.every(store, name)
    if not found:
        raise RegistryError(f"store {store.location}: {name} was never deployed")
    serving = {series.begun.number for series in deployments.in_production(found)}
    shown = table("no.", "version", "target", "state", "run", "begun (UTC)")
    for series in reversed(found):
        begun = series.begun
        state = "in production" if begun.number in serving else series.state
        number, at = str(begun.number), moment(begun.at)
        shown.add_row(number, str(begun.version), begun.target, state, escape(begun.run), at)
    print_whole(shown)


@deployments_app.command()
def show(
    name: Name,
    number: Number,
    page: Annotated[
        Path | None, typer.Option(parser=local_path, metavar="FILE", help="Write all of it there, as HTML.")
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Shows the events of a deployment: when it began, its steps, whether it held, and how it ended.

    Example: cd4ml deployments show promotion-uptake 4 --page deployment.html
    """
    from cd4ml.contracts.deployment import WORDS
    from cd4ml.registry import approvals, deployments
    from cd4ml.reports import deployed

    opened = open_store(store)
    series = deployments.read(opened, name, number)
    rows = [
        *((one.at, one.what, one.headline) for one in approvals.of(opened, series, deployments.every(opened, name))),
        *((one.at, WORDS[type(one)], one.headline) for one in series.events),
    ]
    experiment = deployments.experiment(opened, series.begun)
    if experiment:
        rows.append((experiment.ended, "experiment", experiment.headline))
    shown = table("at (UTC)", "event", "")
    for at, what, said in sorted(rows, key=lambda row: row[0]):
        shown.add_row(moment(at, to="seconds"), what, escape(said))
    console.print(shown)
    if page:
        deployed.write(series.events, experiment, page)
        console.print(f"the page is {page}")


@deployments_app.command()
def history(name: Name, store: asked.StoreOption = asked.STORE) -> None:
    """Lists what was in production, the newest first, and what each deployment changed: data, code, settings, quality.

    Example: cd4ml deployments history promotion-uptake
    """
    from cd4ml.registry import shipped

    opened = open_store(store)
    found = shipped.every(opened, name)
    if not found:
        raise RegistryError(f"store {opened.location}: {name} was never in production")
    shown = table("number", "version", "begun (UTC)", "state", "what it changed")
    for before, one in reversed(list(zip([None, *found], found, strict=False))):
        begun = one.series.begun
        shown.add_row(
            str(begun.number),
            str(begun.version),
            moment(begun.at),
            one.series.state,
            escape(shipped.changed(before, one)),
        )
    console.print(shown)


@deployments_app.command()
def diff(
    name: Name,
    before: Annotated[int, typer.Argument(metavar="BEFORE", help="A deployment's number, of `list`.")],
    after: Annotated[int, typer.Argument(metavar="AFTER", help="Another's.")],
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Shows in what two deployments differ: how they went, their data, code, model, settings and figures.

    Example: cd4ml deployments diff promotion-uptake 3 4
    """
    from cd4ml.registry import shipped

    opened = open_store(store)
    found = [shipped.find(opened, name, number) for number in (before, after)]
    print_sections(shipped.differences(found), [f"deployment {number}" for number in (before, after)])


@deployments_app.command("page")
def write_page(
    name: Name,
    html: Annotated[
        Path | None,
        typer.Option("--html", parser=local_path, metavar="FILE", help="Write it there instead, to show to others."),
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Makes the page of a model anew, in the store: what was shipped when, by whom and why, and what it changed.

    Each deployment that ends makes it; this is for what was deployed before there were pages, and for who has no right
    to write the store.

    Example: cd4ml deployments page promotion-uptake --html uptake.html
    """
    from cd4ml.registry import deployments, model_page, models

    opened = open_store(store)
    if not deployments.every(opened, name) and not models.versions(opened, name):
        raise RegistryError(f"store {opened.location}: there is no model {name}; `cd4ml models list` has all")
    if html is None:
        say("wrote", model_page.write(opened, name))
        return
    text = model_page.text(opened, name)
    with writing(html, "--html"):
        document.write_text(html, text)
    say("wrote", str(html))


COLOURS = {"passed": "green", "inconclusive": "yellow", "error": "red", "failed": "red"}
"""Of the outcomes of a check."""


@deployments_app.command()
def analyse(
    folder: Annotated[
        str,
        typer.Argument(parser=check_uri, metavar="FOLDER", help="What a router captured; or s3://bucket/prefix."),
    ],
    champion: Annotated[str, typer.Option(metavar="ARM", help="The arm that has served so far.")],
    challenger: Annotated[str, typer.Option(metavar="ARM", help="The arm that is held against it.")],
    limits: Annotated[
        Path, typer.Option(parser=local_path, metavar="FILE", help="YAML: limits, as docs/comparing.md has them.")
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="The model, which says what limits fit it, and what its labels can be.")
    ] = "",
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=spans.moment, metavar="TIME", help="The first moment that counts, as 2026-11-29T08:00Z; all if none."
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=spans.moment, metavar="TIME", help="The moment that does not count any more."),
    ] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Holds one arm against another by the requests that a router captured of both.

    Limits are of errors, latency, predictions and rewards; of accuracy, the Brier score and the absolute error, where
    feedback has labels; and of gaps between groups. May be asked as often as one likes while requests come in: the
    error that the limits state holds all the same.

    Example: cd4ml deployments analyse capture --champion deployment-3 --challenger deployment-4 --limits limits.yaml
    """
    from cd4ml.deployment.evidence import analysis, compared, divided
    from cd4ml.deployment.evidence import limits as rollout_limits
    from cd4ml.deployment.evidence.late import Late
    from cd4ml.deployment.evidence.reading import Captured
    from cd4ml.running import yaml_file

    said = yaml_file.read(limits)
    if said.mistakes:
        lines = "".join(f"\n  - {'.'.join(place)}: {what}" for place, what in said.mistakes.items())
        raise DeploymentError(f"{limits}: not as it should be{lines}")
    wanted = rollout_limits.parse(said.value)
    late = Late(open_store(store), model, since=since) if model else None
    captured = Captured(folder, compared.BY_CHANCE, since=since, needed=wanted.needed, late=late)
    found = divided.read(captured, champion=champion, challenger=challenger, until=until)
    if not found.count:
        then = " at that time" if since or until else ""
        raise DeploymentError(
            f"{folder}: has no request that {champion} or {challenger} had a chance to get{then}; name the folder of a "
            "capture, and arms that both have a weight"
        )
    contract = _contract(found, open_store(store), model) if model or wanted.of_labels else None
    if contract:
        rollout_limits.check_fits(wanted, contract)
    classes = contract.classes if contract else None
    verdict = analysis.analyse(found, wanted, about={"champion": champion, "challenger": challenger}, classes=classes)
    for check in verdict.checks:
        print_outcome(check.outcome, COLOURS[check.outcome], check.reason)
    if not verdict.passed:
        raise typer.Exit(1)


def _contract(found: "Divided", store: Store, name: str) -> "Contract":
    """That of the newest version that answered."""
    from cd4ml.registry import models

    if not name:
        raise DeploymentError("a limit takes labels: name the model with --model, and its --store")
    newest = found.table["version"][-1].as_py()
    if not newest.isdigit():
        raise DeploymentError(f"the version that answered is {newest!r}, which is none of {name} in a store")
    return models.contract(store, models.read(store, name, int(newest)))


@deployments_app.command()
def replay(
    name: Name,
    policy: Annotated[str, typer.Option(help="`thompson` or `epsilon-greedy`.")] = "thompson",
    floor: Annotated[float, typer.Option(help="The least share of either arm.")] = 0.1,
    every: Annotated[str, typer.Option(help="How often the shares are set anew.")] = "5 minutes",
    outcome: Annotated[str, typer.Option(help="What counts of feedback: `reward` or `label`.")] = "reward",
    window: Annotated[str, typer.Option(help="How long after a request what it is given counts.")] = "1 hour",
    key: Annotated[
        list[str] | None, typer.Option(help="A captured feature that tells whose row a label in bulk is; repeatable.")
    ] = None,
    missing: Annotated[
        float | None,
        typer.Option(help="What a caller counts as who is given nothing; such a one does not if not said."),
    ] = None,
    outcomes: Annotated[
        tuple[float, float], typer.Option("--range", help="The least and the greatest outcome that there can be.")
    ] = (0.0, 1.0),
    error: Annotated[float, typer.Option(help="How often each interval may miss.")] = 0.05,
    capture: Annotated[
        str | None,
        typer.Option(parser=check_uri, help="What a router captured; what that of this machine did if not said."),
    ] = None,
    champion: Annotated[
        str | None, typer.Option(metavar="ARM", help="Those that were divided last if none is said.")
    ] = None,
    challenger: Annotated[str | None, typer.Option(metavar="ARM", help="Is said with --champion.")] = None,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Estimates what a bandit would have earned of the requests that a router has captured, before it may go live.

    The requests have to be those of a canary or an experiment, which chance divided between two arms. What the policy
    would have earned is told beside what was earned, and what the champion alone would have.

    Example: cd4ml deployments replay promotion-uptake --policy thompson --floor 0.1
    """
    from cd4ml import settings
    from cd4ml.deployment.evidence import replay as replays
    from cd4ml.deployment.evidence.designs import Bandit
    from cd4ml.deployment.evidence.late import Late
    from cd4ml.deployment.targets.machine import Machine

    said = {"policy": policy, "floor": floor, "every": every, "outcome": outcome, "window": window, "error": error}
    said |= {"range": list(outcomes), "key": list(key or ()), "for": replays.NO_END}
    said |= {} if missing is None else {"missing": missing}
    if bool(champion) != bool(challenger):
        raise DeploymentError("name both arms, --champion and --challenger, or neither")
    opened, bandit = open_store(store), settings.parse(Bandit, content=said, name="replay", error=DeploymentError)
    found = replays.read(
        bandit,
        capture or Machine(opened, name).capture,
        until=datetime.now(UTC),
        champion=champion,
        challenger=challenger,
        late=Late(opened, name, bandit.key),
    )
    shown = table(
        "shares",
        "of the challenger",
        f"{found.outcome} [{1 - found.error:g} interval] a caller",
        "SNIPS",
        "IPS",
        "effective callers",
    )
    for row in replays.rows(found):
        shown.add_row(*row)
    print_whole(shown)
    console.print(escape(found.said), soft_wrap=True)


@deployments_app.command(rich_help_panel=PEOPLE)
def approve(
    name: Name,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version's number.")],
    reason: Reason,
    by: By = "",
    days: Annotated[int, typer.Option(help="How long the approval stands.", min=1, max=90)] = 7,
    despite_freeze: Annotated[
        bool, typer.Option("--despite-freeze", help="Also while nothing else is deployed.")
    ] = False,
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Lets a published version into production: for a run that waits for `approvals`, or in a step `approve`.

    With --despite-freeze also now that nothing is deployed: as many people have to say that as are asked, one at least.
    What goes on is `promote` and `abort` of one rollout that is under way, and `rollback` of what is served.

    Example: cd4ml deployments approve promotion-uptake 4 --reason "better in the south" --store s3://cd4ml
    """
    from cd4ml.registry import approvals, freezes, models

    opened = open_store(store)
    found = models.read(opened, name, version)
    newer = approvals.newer_in_production(opened, found)
    made = approvals.approve(
        opened,
        found,
        by=by or asked.whoever(),
        reason=reason,
        valid=timedelta(days=days),
        despite_freeze=despite_freeze,
    )
    standing = approvals.standing(opened, found)
    console.print(
        f"{escape(made.by)} approves {name} version {version}, {found.digest}, until {made.until}; "
        f"{len(standing)} {'person approves' if len(standing) == 1 else 'people approve'} it now",
        soft_wrap=True,
    )
    if newer:
        console.print(
            f"it is to take the place of version {newer.version}, which is newer, in production since "
            f"{newer.deployed_at}",
            soft_wrap=True,
        )
    frozen = freezes.now(opened)
    if frozen and not despite_freeze:
        console.print(f"{escape(frozen.headline)}; with --despite-freeze it is deployed before", soft_wrap=True)


@deployments_app.command(rich_help_panel=PEOPLE)
def promote(name: Name, number: Number, reason: Reason, by: By = "", store: asked.StoreOption = asked.STORE) -> None:
    """Gives a release all requests now: for a rollout that is under way, and shall wait for nothing more.

    The rollout heeds it at its next look, within seconds where it holds or analyses. Where it had to be approved by
    several people, as many have to promote it.

    Example: cd4ml deployments promote promotion-uptake 4 --reason "the old one has a security hole"
    """
    _decide(open_store(store), name, number, what="promoted", by=by, reason=reason)


@deployments_app.command(rich_help_panel=PEOPLE)
def abort(name: Name, number: Number, reason: Reason, by: By = "", store: asked.StoreOption = asked.STORE) -> None:
    """Has a rollout undone: for one that is under way, and shall not be; what was served before is served again.

    Example: cd4ml deployments abort promotion-uptake 4 --reason "callers see odd answers"
    """
    _decide(open_store(store), name, number, what="aborted", by=by, reason=reason)


def _decide(store: Store, name: str, number: int, *, what: "What", by: str, reason: str) -> None:
    from cd4ml.deployment import decided
    from cd4ml.registry import approvals

    made = approvals.decide(store, name, number, what=what, by=by or asked.whoever(), reason=reason)
    console.print(f"deployment {number} of {name}: {what} by {escape(made.headline)}", soft_wrap=True)
    console.print(escape(decided.became(store, name, number, what=what)), soft_wrap=True)


@deployments_app.command(rich_help_panel=PEOPLE)
def freeze(
    window: Annotated[
        str,
        typer.Argument(
            metavar="WINDOW",
            help="A time of each week, `fri 16:00..mon 08:00 Europe/Berlin`, or of a year, "
            "`2026-12-18 12:00..2027-01-04 08:00 Europe/Berlin`.",
        ),
    ],
    reason: Reason,
    by: By = "",
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Has nothing deployed from a store at a time, whatever the model.

    A deployment that comes then is refused, and told until when. What was in production before comes back all the same
    (`rollback`), and so does a version that was approved with --despite-freeze meanwhile.

    Example: cd4ml deployments freeze "fri 16:00..mon 08:00 Europe/Berlin" --reason "nobody is here" --store s3://cd4ml
    """
    from cd4ml.registry import freezes

    opened = open_store(store)
    number = freezes.add(opened, window, by=by or asked.whoever(), reason=reason)
    frozen = freezes.now(opened)
    said = frozen.headline if frozen else "nothing is frozen now"
    console.print(f"freeze {number}: {escape(window)}; {escape(said)}", soft_wrap=True)


@deployments_app.command(rich_help_panel=PEOPLE)
def unfreeze(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The freeze's number, of `freezes`.")],
    reason: Reason,
    by: By = "",
    store: asked.StoreOption = asked.STORE,
) -> None:
    """Lifts a freeze, for good.

    Example: cd4ml deployments unfreeze 1 --reason "the new team works on Fridays" --store s3://cd4ml
    """
    from cd4ml.registry import freezes

    lifted = freezes.lift(open_store(store), number, by=by or asked.whoever(), reason=reason)
    console.print(f"freeze {number} is lifted: {escape(lifted.headline)}", soft_wrap=True)


@deployments_app.command("freezes", rich_help_panel=PEOPLE)
def list_freezes(store: asked.StoreOption = asked.STORE) -> None:
    """Lists when nothing is deployed from a store, and whether that is now."""
    from cd4ml.registry import freezes

    opened = open_store(store)
    frozen = freezes.now(opened)
    shown = table("number", "when", "by", "reason", "since (UTC)")
    for number, one in freezes.standing(opened).items():
        shown.add_row(str(number), escape(one.window), escape(one.by), escape(one.reason), moment(one.at))
    console.print(shown)
    console.print(escape(frozen.headline) if frozen else "nothing is frozen now", soft_wrap=True)


@deployments_app.command(rich_help_panel=PEOPLE)
@kfp.options
def rollback(
    name: Name,
    address: "Address",
    reason: Reason,
    by: By = "",
    to: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="VERSION", min=1, help="The version; the one that was in production before if not said."
        ),
    ] = None,
    store: asked.StoreOption = asked.STORE,
    runs: asked.RunsOption = asked.RUNS,
    service_account: ServiceAccount = accounts.DEPLOYER,
    yes: Yes = False,
) -> None:
    """Puts an earlier version back: for what is served, and has to go; on this machine, or by KFP.

    It goes the way of any deployment: the verdict that it was published with has to have passed, it is verified, and
    the history has it. Where it fails, what was served before is served again.

    To the version that was in production before, nobody else is asked, also while it is frozen. Any other waits for as
    many people as the newest one in production did, of whom you are one, and a freeze refuses it.

    Example: cd4ml deployments rollback promotion-uptake --reason "callers see odd answers"
    """
    from cd4ml.cli.submit import named, submitted, wait_for
    from cd4ml.deployment.targets import IN_A_CLUSTER
    from cd4ml.registry import deployments, models
    from cd4ml.running.run_file import RunFile

    opened = open_store(store)
    found = deployments.every(opened, name)
    now, earlier = deployments.last(found), deployments.before(found)
    if now is None:
        raise RegistryError(f"store {opened.location}: nothing of {name} was ever in production")
    if to is None and earlier is None:
        raise RegistryError(
            f"store {opened.location}: nothing was in production before version {now.version} of {name}; name a "
            "published version with --to"
        )
    version = to or (earlier.version if earlier else now.version)
    back = models.read(opened, name, version)
    asks = 0 if deployments.is_way_back(found, back) else deployments.persons(found)
    approve = partial(_approve_rollback, opened, back, by=by or asked.whoever(), reason=reason, asks=asks)
    if now.target in IN_A_CLUSTER:
        arguments = {"name": name, "version": version, "store": store, "target": now.target}
        if asks:
            arguments["approvals"] = asks
        wanted = asked.checked(RunFile(Path("rollback"), "deployment", arguments), in_a_cluster=True)
        connection = kfp.connected(address, changes=True, sure=yes)
        approve()
        run_id = submitted(connection, wanted, name=named("rollback"), service_account=service_account, cache=False)
        raise typer.Exit(wait_for(connection, run_id, wanted))
    approve()
    _deploy_here(opened, now, version, approvals=asks, folder=runs / named(f"rollback-{name}"))


def _approve_rollback(store: Store, version: "Version", *, by: str, reason: str, asks: int) -> None:
    """Keeps who goes back and why; a way back that nobody has to approve goes on where that cannot be."""
    from cd4ml.registry import approvals

    try:
        approvals.approve(store, version, by=by, reason=reason)
    except StorageError as error:
        if asks:
            raise
        errors.print(f"who goes back and why could not be kept: {error}", markup=False, soft_wrap=True)
    if asks:
        people = "a person approves" if asks == 1 else f"{asks} people approve"
        console.print(
            f"version {version.version} is not the one that was in production before: it waits until {people} it, of "
            f"whom {escape(by)} is one",
            soft_wrap=True,
        )


def _deploy_here(store: Store, now: "Deployment", version: int, *, approvals: int, folder: Path) -> None:
    """Serves a version in place of what a deployment on this machine serves, for good."""
    from cd4ml.deployment import release
    from cd4ml.deployment.targets import servers
    from cd4ml.registry import models

    os.environ[servers.KEEP_SERVING] = "1"
    console.print(f"version {version} is raised beside version {now.version}, and verified", soft_wrap=True)
    files = [str(folder / name) for name in ("version.json", "verdict.json")]
    models.find(store.location, now.name, version).write(*files)
    deployed = release.deploy(
        store.location,
        published_file=files[0],
        verdict_file=files[1],
        target=now.target,
        port=urlsplit(now.endpoint).port or 0,
        run=folder.name,
        folder=str(folder),
        report_file=str(folder / "report.html"),
        approvals=approvals,
    )
    shown = (
        f"{now.name} version {version} is served at {deployed.deployment.endpoint}: {deployed.verification.headline}"
    )
    print_outcome("rolled back", "green", shown)


app.add_typer(deployments_app, name="deployments")


@deployments_app.command()
@app.command()
def stop(
    name: Name,
    store: asked.StoreOption = asked.STORE,
    target: Annotated[str, typer.Option(help="Where it is served: `machine`, `cluster`, `kserve`.")] = "machine",
) -> None:
    """Ends what is served of a model, such as the server that `cd4ml run --keep-serving` left up.

    The history says that its deployment was stopped: it is no champion any more, and is not verified.
    """
    from cd4ml.deployment import rollout, targets
    from cd4ml.registry import model_page

    opened = open_store(store)
    stopped = rollout.stop(targets.TARGETS.load(target)(opened, name))
    model_page.refresh(opened, name)
    if stopped.halfway:
        console.print(f"{name}: a rollout that was killed halfway was undone; what it replaced is not served again")
    if stopped.served:
        console.print(f"{name}: the server at {stopped.served.url} has ended")
