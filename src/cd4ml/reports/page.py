"""Reports: one self-contained HTML file each, from a Jinja2 template that extends `page.html.j2`."""

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cd4ml.names import amount, counted, lasting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

Inputs = ParamSpec("Inputs")
Drawn = TypeVar("Drawn", bound=Markup | None)

PALETTE = ("#2563eb", "#f59e0b", "#10b981", "#db2777", "#7c3aed", "#64748b")
"""The colours of the models and groups, in their order: candidate, baseline, champion, ..."""
GREY = "#94a3b8"
"""What is beside the point."""


def render(template: str, path: str | Path, title: str, **context: Any) -> None:
    """Writes a report.

    Args:
        template: The template's file name in `templates/`.
        path: The HTML file to write; its folder is made.
        title: What the report is about, shown on top.
        context: What the template names; a name that is missing is an error.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text(template, title, **context), encoding="utf-8")


def text(template: str, title: str, **context: Any) -> str:
    """The text of a report, as `render` writes it."""
    return _environment().get_template(template).render(title=title, **context)


def picture(draw: Callable[Inputs, Drawn]) -> Callable[Inputs, Drawn | Markup]:
    """Has a function draw in the style of the figures; where it fails, a line stands in the picture's place.

    A report is worth more than one of its pictures: the fault is logged, and the task goes on.
    """

    @wraps(draw)
    def drawn(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Drawn | Markup:
        try:
            with _figure_style(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the font
                return draw(*args, **kwargs)
        except Exception as error:
            log.warning("%s: a picture could not be drawn", draw.__name__, exc_info=True)
            told = "This picture could not be drawn ({}: {}). The traceback is in the log of the task."
            return Markup('<p class="note">{}</p>').format(told.format(type(error).__name__, error))

    return drawn


def figure_svg(figure: "Figure", *, tight: bool = True) -> Markup:
    """A matplotlib figure as inline SVG that takes the width of its column.

    Args:
        figure: What is drawn.
        tight: Cut to what is drawn; or all of the figure, so that pictures in a row are of one size.
    """
    buffer = io.StringIO()
    box = "tight" if tight else None
    figure.savefig(buffer, format="svg", bbox_inches=box, transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return Markup(svg[svg.index("<svg") :])  # noqa: S704 (drawn by matplotlib, which escapes its texts)


def short(text: object, longest: int = 40) -> str:
    """A text of the data on one line, without what cannot be printed, not too long; `(blank)` where nothing is left."""
    start = str(text)[: 4 * longest]
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in start).split()) or "(blank)"
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _figure_style() -> AbstractContextManager[None]:
    import matplotlib as mpl

    style: AbstractContextManager[None] = mpl.rc_context(
        {
            "axes.prop_cycle": mpl.cycler(color=PALETTE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#94a3b8",
            "axes.labelcolor": "#475569",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e2e8f0",
            "xtick.color": "#475569",
            "ytick.color": "#475569",
            "font.family": "sans-serif",
            "font.size": 9.5,
            "legend.frameon": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "cd4ml",
            "text.parse_math": False,  # a name may have dollars in it
        }
    )
    return style


def _number(value: float | None, digits: int = 3) -> str:
    """A number for people: `12,345` for counts, `0.861` for rates, `–` for none."""
    if value is None or value != value:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def _amount(value: float | None, sign: str = "") -> str:
    """A number in any unit, `–` for none."""
    return "–" if value is None or value != value else amount(value, sign)


def _percent(value: float | None, digits: int = 1) -> str:
    """A fraction in [0, 1] as `12.3 %`."""
    return "–" if value is None or value != value else f"{value * 100:.{digits}f} %"


def _markdown(text: str) -> Markup:
    """Markdown as HTML; HTML within it stays text."""
    from markdown_it import MarkdownIt

    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))  # noqa: S704


def minute(at: str) -> str:
    """A time in ISO 8601 as `2026-11-29 08:00 UTC`; what is none stays as it is."""
    with suppress(ValueError):
        return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} UTC"
    return at


def _sentence(words: object) -> str:
    text = str(words)
    return f"{text[:1].upper()}{text[1:]}."


def _code(text: str) -> Markup:
    """A sentence in which names stand between backticks."""
    return Markup("").join(
        Markup("<code>{}</code>").format(short(part)) if place % 2 else part
        for place, part in enumerate(text.split("`"))
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cd4ml.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=_number,
        amount=_amount,
        percent=_percent,
        counted=counted,
        markdown=_markdown,
        short=short,
        code=_code,
        minute=minute,
        lasting=lasting,
        sentence=_sentence,
    )
    return environment
