"""The model card: what a model is for, what it was made from, how good it is and for whom.

Its parts are those of Mitchell et al. (2019), "Model Cards for Model Reporting". They are filled from what the run
knows; what it cannot know is said to be left to the team.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from cd4ml.contracts import problems
from cd4ml.contracts.evaluation import CANDIDATE, OVERALL, TOO_MANY_CLASSES, at
from cd4ml.contracts.slices import columns_of
from cd4ml.contracts.verdict import Verdict
from cd4ml.reports import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cd4ml.contracts.evaluation import Fairness, Slice, Summary
    from cd4ml.contracts.model import Contract
    from cd4ml.contracts.release import Version


def text(version: Version, *, contract: Contract, verdict: Verdict, summary: Summary) -> str:
    """The card of a version, in Markdown.

    Args:
        version: What is published.
        contract: What the model takes and gives.
        verdict: What the gate said of it.
        summary: What `evaluate_model` found.
    """
    problem = contract.problem
    slices = list(summary.of(CANDIDATE).values())
    fairness = [one for one in summary.fairness if one.model == CANDIDATE]
    return (
        _environment()
        .get_template("card.md.j2")
        .render(
            version=version,
            contract=contract,
            verdict=verdict,
            summary=summary,
            problem=problem,
            gives=problem.gives(_code(contract.label), [_code(one) for one in contract.classes]),
            metrics=headlines(summary),
            overall=summary.of(CANDIDATE)[OVERALL],
            unitary=[one for one in slices if len(one.values) <= 1],
            intersectional=[one for one in slices if len(one.values) > 1],
            factors=_columns(slices),
            sensitive=summary.sensitive
            or list(dict.fromkeys(name for one in fairness for name in columns_of(one.column))),
            too_many_classes=TOO_MANY_CLASSES,
            fairness=fairness,
            widest=widest(fairness),
            caveats=caveats(verdict, summary),
            inputs=[one.name for one in contract.inputs],
        )
    )


def html(card: str, verdict: Verdict) -> str:
    """The same card as a page of its own.

    Args:
        card: What `text` gave.
        verdict: What the gate said of the model.
    """
    title, *parts = re.split(r"^##? ", card, flags=re.MULTILINE)[1:]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "card.html"
        sections = [part.partition("\n")[::2] for part in parts]
        page.render("card.html.j2", file, title.strip(), sections=sections, verdict=verdict)
        return file.read_text(encoding="utf-8")


def headlines(summary: Summary) -> list[str]:
    """The metrics that say most of a model, by their names in a summary."""
    problem = summary.problem
    return [
        at(name, summary.thresholds[0]) if problem.metric(name).at_thresholds else name for name in problem.headlines
    ]


def caveats(verdict: Verdict, summary: Summary) -> list[str]:
    """What whoever uses the model has to know, a sentence each."""
    small = dict.fromkeys(
        f"{one.column} {group}" for one in summary.fairness if one.model == CANDIDATE for group in one.too_small
    )
    return [
        *(f"{warning}." for warning in verdict.warnings),
        *([f"Groups too small to judge by at least one rate: {'; '.join(small)}."] if small else []),
        "It is as good as this on rows like those of the test split; on others it is not known.",
    ]


def _columns(slices: Sequence[Slice]) -> list[str]:
    """What the slices are by, each kind once: `gender × region`."""
    return list(dict.fromkeys(" × ".join(one.values) for one in slices if one.values))


def widest(fairness: Sequence[Fairness]) -> list[Fairness]:
    """By column the rate with the widest gap; of what is no share of rows only that which groups are compared by first.

    So calibration is left out, and of a number the mean error tells.
    """
    judged = [
        one
        for one in fairness
        if one.gap is not None and (_of_rows(one.metric) or problems.metric(one.metric).place_among_groups == 1)
    ]
    columns = dict.fromkeys(one.column for one in judged)
    return [max((one for one in judged if one.column == column), key=lambda one: one.gap or 0) for column in columns]


def _of_rows(metric: str) -> bool:
    """Whether it is a share of rows."""
    return problems.metric(metric).interval == "share"


def _environment() -> Environment:
    environment = Environment(  # noqa: S701 (Markdown, not HTML)
        loader=PackageLoader("cd4ml.registry", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=_plain, code=_code, number=_number, interval=_interval)
    return environment


def _plain(value: object) -> str:
    """A text of the data within Markdown: it stays text, on one line."""
    escaped = re.sub(r"([\\`*_~|])", r"\\\1", " ".join(str(value).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")


def _code(value: object) -> str:
    """A name or a digest, within a line or a table."""
    shown = " ".join(str(value).split()) or f'"{value}"'
    return "`" + shown.replace("`", "'").replace("|", "\\|") + "`"


def _number(value: float | None, metric: str, sign: str = "") -> str:
    return problems.metric(metric).written(value, sign)


def _interval(ends: Sequence[float] | None, metric: str) -> str:
    return f" [{_number(ends[0], metric)}, {_number(ends[1], metric)}]" if ends else ""
