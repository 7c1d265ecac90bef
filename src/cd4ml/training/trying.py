"""One trial of a sweep, in a process of its own, so that whatever ends it ends nothing else.

    python -m cd4ml.training.trying FOLDER

FOLDER holds `asked.json` (`Asked`), and takes the trial as `trial.json`, written again after each epoch.
"""

import json
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cd4ml.contracts import document
from cd4ml.contracts.sweep import Sweep, Trial
from cd4ml.errors import Cd4mlError, TrainingError
from cd4ml.training.request import Request
from cd4ml.training.search import LOSS, Search, parse, varied

if TYPE_CHECKING:
    from cd4ml.training.fit import Epoch

ASKED, TRIAL = "asked.json", "trial.json"


@dataclass(frozen=True)
class Asked:
    """What a trial is told; a folder that holds it."""

    search: Search
    sweep: Sweep
    trial: Trial
    """As it begins."""
    before: Sequence[Trial]
    """All trials of the rounds before."""
    request: Request
    """The training whose settings are varied."""

    def write(self, folder: Path) -> None:
        """Writes it into the folder of the trial."""
        content = {
            "search": self.search.model_dump(mode="json", exclude_none=True),
            "sweep": self.sweep.content,
            "trial": self.trial.content,
            "before": [one.content for one in self.before],
            "request": self.request.content,
        }
        document.write(folder / ASKED, content)

    @classmethod
    def read(cls, folder: Path) -> "Asked":
        """Reads what `write` wrote."""
        content = json.loads((folder / ASKED).read_text(encoding="utf-8"))
        trial, *before = (
            Trial.parse(json.dumps(one), str(folder / ASKED)) for one in (content["trial"], *content["before"])
        )
        sweep = Sweep.parse(json.dumps(content["sweep"]), str(folder / ASKED))
        request = Request.parse(json.dumps(content["request"]), str(folder / ASKED))
        return cls(parse(content["search"]), sweep, trial, before, request)


class _PrunedError(Cd4mlError):
    """One of ours, so that it is not told as a fault of a team's own function."""


def main(folder: Path) -> None:
    """Tries what is asked for; how it ended is in the folder.

    Args:
        folder: As above.
    """
    from cd4ml.training.suggest import Suggestion

    asked = Asked.read(folder)
    suggestion = Suggestion(
        asked.search,
        number=asked.trial.number,
        before=asked.before,
        bounds=asked.sweep.constraints,
        better=asked.sweep.better,
    )
    trial = replace(asked.trial, settings=suggestion.settings).write(folder / TRIAL)
    print(f"trial {trial.number}: {_said(trial.settings)}", flush=True)  # noqa: T201 (the task's log)

    def watch(epochs: Sequence["Epoch"]) -> None:
        nonlocal trial
        name = "eval_loss" if asked.sweep.objective == LOSS else "eval_score"
        told = ((one.epoch, getattr(one, name)) for one in epochs)
        trial = replace(trial, values=tuple((epoch, value) for epoch, value in told if math.isfinite(value)))
        trial.write(folder / TRIAL)
        if suggestion.is_worse(trial.values):
            raise _PrunedError

    try:
        value, measured = _tried(asked, trial, folder, watch=watch)
        trial = replace(trial, state="ended", value=value, measured=measured)
    except _PrunedError:
        trial = replace(trial, state="pruned")
    except Cd4mlError as error:
        trial = replace(trial, state="failed", error=str(error))
    except Exception as error:  # whatever it is, the other trials are worth more
        traceback.print_exc()
        trial = replace(trial, state="failed", error=f"{type(error).__name__}: {error}")
    trial.write(folder / TRIAL)


def _tried(
    asked: Asked, trial: Trial, folder: Path, *, watch: Callable[[Sequence["Epoch"]], None]
) -> tuple[float, dict[str, float | None]]:
    """Trains the model of a trial: its objective, and what is constrained."""
    from cd4ml.training.train import train

    made, objective = folder / "model", asked.sweep.objective
    request = replace(asked.request, spec=varied(asked.sweep.model, trial.settings))
    trained = train(request, folder=made, watch=watch)
    loss = trained.calibration.loss[1] if trained.calibration else trained.best.eval_loss
    of_loss = trained.calibration and trained.problem.lower_is_better  # the order, by which all else goes, is the same
    score = loss if of_loss else trained.best.eval_score
    value = {trained.problem.primary: score, LOSS: loss}.get(objective)
    measured: dict[str, float | None] = {}
    if value is None or asked.sweep.constraints:
        from cd4ml.training.on_eval import Measured

        found = Measured(made, Path(request.eval))
        value = found.objective(objective) if value is None else value
        measured = found.constrained(asked.search.constraints)
    if not math.isfinite(value):
        raise TrainingError(f"{objective} is not defined on the eval split; name another objective")
    return value, measured


def _said(settings: Mapping[str, Any]) -> str:
    texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in settings.items()}
    return ", ".join(f"{name} {text}" for name, text in texts.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
