"""A place of a sweep: it tries one trial after the other, beside other places, until the sweep is over.

What there is to try comes in rounds of as many trials as there are places. The settings of a trial follow from the
seed and the rounds before alone, so it makes no difference which place tries it, or when. All that tells how far the
sweep is lies in the store: the same sweep that is started again goes on from there, as does one with a larger budget.
"""

import contextlib
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyarrow import fs

from cd4ml.contracts import document, problems
from cd4ml.contracts.sweep import FOLDER, SWEEP, TRIAL_NAME, Sweep, Trial, trial_name
from cd4ml.errors import DocumentError, TrainingError
from cd4ml.registry import clock, records
from cd4ml.storage import S3, arrow, local_path, scratch
from cd4ml.training import devices, ending, examples, on_eval, search, trainers
from cd4ml.training.fit import Epoch
from cd4ml.training.request import Request
from cd4ml.training.search import Search
from cd4ml.training.tracking import Tracker
from cd4ml.training.trying import TRIAL, Asked
from cd4ml.version import VERSION

WORKSPACE = "cd4ml-sweep-"
BEAT_SECONDS = 10.0
"""How often a place says in the store that it still tries."""
LOST_SECONDS = 300.0
"""After which a trial that nobody has said anything of is taken by another place."""
LOOK_SECONDS = 2.0
"""How often a place that waits for others looks."""
CLAIM_SECONDS = 0.3
"""How long two places that take one trial at once may need to see each other."""
END_SECONDS = 10.0
"""How long the process of a trial may take to end when the place is told to."""
ATTEMPTS = 2
"""How often a trial is begun whose process ends without a word; less often than its place, which may end with it."""
ALIKE = 3
"""Trials that fail for one reason, the first ones and a whole round at least, before no more are tried."""


@dataclass(frozen=True)
class Swept:
    """A sweep that is over."""

    sweep: Sweep
    trials: Sequence[Trial]
    """All of them, in their order."""

    @property
    def winner(self) -> Trial:
        """The best trial that keeps the constraints.

        Raises:
            TrainingError: There is none; says what became of them.
        """
        found = self.sweep.best(self.trials)
        if found:
            return found
        count = Counter(one.state for one in self.trials)
        failed = next((one for one in self.trials if one.state == "failed"), None)
        if count["ended"]:
            bounds = ", ".join(f"{name} at most {most:g}" for name, most in self.sweep.constraints.items())
            why = f"none of those that ended keeps {bounds}; loosen the constraints, or widen the ranges"
        else:
            why = f"trial {failed.number}: {failed.error}" if failed else "none has ended; raise trials or minutes"
        if _is_in_vain(self.sweep, self.trials):
            why += (
                "; all trials failed like that, so no more were tried: mend it, and write another `sweep.seed` where "
                "that changed neither the data nor the settings, for what has failed is not tried again"
            )
        states = ", ".join(f"{number} {state}" for state, number in count.items())
        raise TrainingError(f"sweep: no trial wins ({states}): {why}")

    @property
    def spec(self) -> dict[str, Any]:
        """The model with the winner's settings."""
        return search.varied(self.sweep.model, self.winner.settings)


def run(content: Mapping[str, Any], request: Request, *, place: int) -> Swept:
    """Takes part in a sweep until it is over.

    Args:
        content: What the run file says of it.
        request: The training whose `spec` is varied, the same in every place; the sweep lies in its `store`.
        place: The number of this place, from 0 on.

    Raises:
        TrainingError: The sweep does not fit the model, the label or the eval split, or too few GPUs are there.
        OSError: The store cannot be used.
    """
    searched = search.parse(content)
    asked = examples.asked(request)
    sweep = described(searched, request, problem=asked.problem.name)
    on_eval.check(searched.constraints, Path(request.eval), label=request.label)
    devices.check(request.accelerator, request.gpus)
    return Swept(sweep, Place(searched, sweep, number=place, request=request).run())


def described(searched: Search, request: Request, *, problem: str) -> Sweep:
    """A sweep as the store has it.

    Args:
        searched: The sweep.
        request: As `run` has it.
        problem: The name of what is asked.

    Raises:
        TrainingError: The sweep does not fit the model or the problem.
    """
    trainer = trainers.parse(request.spec)
    wrong = list(search.mistakes(searched, trainer, problem=problem))
    if wrong:
        raise TrainingError("".join(f"\n  - {one}" for one in wrong))
    objective = searched.objective or search.objectives(problem)[0]
    higher = objective != search.LOSS and problems.metric(objective).better == "higher"
    whole = searched.model_dump(mode="json", exclude_none=True)
    read = [document.digest(one) for one in (request.train, request.eval, request.statistics, request.schema)]
    asked = {name: getattr(request, name) for name in ("label", "exclude", "problem", "positive", "classes", "seed")}
    unlike = {name: value for name, value in whole.items() if name not in ("trials", "minutes")}
    parts = json.dumps([VERSION, read, asked, trainer.recorded, unlike, objective], sort_keys=True)
    return Sweep(
        name=hashlib.sha256(parts.encode()).hexdigest()[:32],
        model=dict(request.spec),
        objective=objective,
        better="higher" if higher else "lower",
        ranges=whole["ranges"],
        constraints=searched.constraints.bounds,
        parallel=searched.parallel,
        seed=searched.seed,
        trials=searched.trials,
        minutes=searched.minutes,
    )


def open_round(sweep: Sweep, known: Mapping[int, Trial]) -> tuple[list[Trial], range]:
    """The trials of all rounds that are over, and the numbers of the round that is not; none where the sweep is.

    Args:
        sweep: Says how large rounds are, and when there are no more.
        known: The trials that have begun, by number.
    """
    over: list[Trial] = []
    most, spent = sweep.trials or search.MOST_TRIALS, 0.0
    while len(over) < most and (sweep.minutes is None or spent < 60 * sweep.minutes):
        numbers = range(len(over), min(len(over) + sweep.parallel, most))
        found = [known[one] for one in numbers if one in known and known[one].is_over]
        if len(found) < len(numbers):
            return over, numbers
        over += found
        if _is_in_vain(sweep, over):
            break
        places = {one.place for one in found}
        spent += max(sum(one.seconds for one in found if one.place == place) for place in places)
    return over, range(0)


def _is_in_vain(sweep: Sweep, over: Sequence[Trial]) -> bool:
    """Whether all trials so far have failed for one reason, which the next would share."""
    alike = [one for one in over if one.error and one.error == over[0].error]
    return len(alike) == len(over) >= max(sweep.parallel, ALIKE)


class Place:
    """One of the places of a sweep."""

    def __init__(self, searched: Search, sweep: Sweep, *, number: int, request: Request) -> None:
        """Takes the place; nothing is read or written yet.

        Args:
            searched: What the run file says of the sweep.
            sweep: The same, as the store has it.
            number: The number of this place, from 0 on.
            request: The training whose settings are varied.
        """
        self._searched, self._sweep, self._number = searched, sweep, number
        self._request = request
        store = request.store or ""
        told = store if number == 0 else None  # one tells of all
        self._tracker = Tracker(f"sweep of {sweep.model.get('model', 'function')}", store=told, key=sweep.name)
        self._began = time.monotonic()
        place = f"{store.rstrip('/')}/{FOLDER}/{sweep.name}"
        self._folder = arrow.folder(place if place.startswith(S3) else local_path(place))
        self._over: dict[int, Trial] = {}
        self._seen: dict[int, tuple[Trial, float]] = {}
        """Of trials that are not over: what was read last, and since when it has been so."""

    def run(self) -> list[Trial]:
        """Tries until the sweep is over; all trials, in their order."""
        arrow.write(self._folder, SWEEP, self._sweep.text.encode())
        with self._tracker:
            return self._run()

    def _run(self) -> list[Trial]:
        while True:
            known = self._known()
            self._say()
            over, numbers = open_round(self._sweep, known)
            if not numbers:
                return over
            number = self._choose(numbers, known)
            if number is None:
                time.sleep(LOOK_SECONDS)
            else:
                self._try(number, known.get(number), over)

    def _choose(self, numbers: range, known: Mapping[int, Trial]) -> int | None:
        """A trial of the round that nobody has, or that was this place's own before, or is lost; the own one first."""
        for at in range(len(numbers)):
            number = numbers[(self._number + at) % len(numbers)]
            trial = known.get(number)
            if trial is None or (not trial.is_over and (trial.place == self._number or self._is_lost(number))):
                return number
        return None

    def _is_lost(self, number: int) -> bool:
        return time.monotonic() - self._seen[number][1] >= LOST_SECONDS

    def _try(self, number: int, earlier: Trial | None, before: Sequence[Trial]) -> None:
        if self._known().get(number) != earlier:
            return  # somebody has written it since
        trial = Trial(number, {}, self._number, clock.now())
        if earlier:
            trial = replace(trial, settings=earlier.settings, attempt=earlier.attempt + 1, seconds=earlier.seconds)
        if trial.attempt > ATTEMPTS:
            said = f"its process ended {ATTEMPTS} times without a word; its memory may be too small for these settings"
            self._write(replace(trial, state="failed", error=said))
            return
        self._write(trial)
        time.sleep(CLAIM_SECONDS)
        now = self._read(number)
        if now is None or now.place != self._number:
            return  # another has taken it at the same time
        temporary = Path(tempfile.gettempdir())
        scratch.clean(temporary, WORKSPACE)
        with scratch.folder(temporary, WORKSPACE) as folder:
            Asked(self._searched, self._sweep, trial, before, self._request).write(folder)
            begun = time.monotonic() - trial.seconds
            try:
                code = self._process(folder, trial, begun=begun)
            except SystemExit:  # the place was told to end, which is no fault of the trial
                spent = time.monotonic() - begun
                self._keep(replace(_now(folder, trial), attempt=trial.attempt - 1, seconds=spent))
                raise
            found = replace(_now(folder, trial), seconds=round(time.monotonic() - begun, 3))
            if not found.is_over:
                found = replace(found, state="failed", error=f"its process ended {_how(code)}")
            self._keep(found)
            _tell(found, self._sweep)

    def _process(self, folder: Path, trial: Trial, *, begun: float) -> int:
        """Runs the process of a trial to its end, and says in the store meanwhile that it lives; its exit code."""
        environment = {name: value for name, value in os.environ.items() if name != records.RUN}
        command = [sys.executable, "-P", "-m", "cd4ml.training.trying", str(folder)]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)  # noqa: S603 (no shell)
        with _ended_with_us(process):
            while True:
                try:
                    return process.wait(BEAT_SECONDS)
                except subprocess.TimeoutExpired:
                    self._say()
                    with contextlib.suppress(OSError):  # the store is asked again soon
                        self._keep(replace(_now(folder, trial), state="running", seconds=time.monotonic() - begun))

    def _say(self) -> None:
        """Tells how far the sweep is."""
        best = self._sweep.best(self._over.values())
        self._tracker.tell(
            [],
            best=_as_epoch(best, self._sweep.objective) if best else None,
            unit="trial",
            epoch=len(self._over),
            epochs=self._sweep.trials,
            seconds=time.monotonic() - self._began,
        )

    def _known(self) -> dict[int, Trial]:
        """All trials that have begun, by number."""
        there = self._folder.get_file_info(fs.FileSelector("", allow_not_found=True))
        numbers = [int(one.base_name[:5]) for one in there if TRIAL_NAME.fullmatch(one.base_name)]
        for number in numbers:
            if number in self._over or (trial := self._read(number)) is None:
                continue
            if trial.is_over:
                self._over[number] = trial
            elif number not in self._seen or self._seen[number][0] != trial:
                self._seen[number] = (trial, time.monotonic())
        return self._over | {number: trial for number, (trial, _) in self._seen.items() if number not in self._over}

    def _read(self, number: int) -> Trial | None:
        """A trial; None of what cannot be read."""
        name = trial_name(number)
        try:
            with self._folder.open_input_stream(name) as stream:
                return Trial.parse(stream.read(), f"{self._folder.base_path}/{name}")
        except DocumentError as error:
            print(error, flush=True)  # noqa: T201 (the task's log)
            return None

    def _keep(self, trial: Trial) -> None:
        """Writes a trial that this place has begun, but where it is over, or goes on in another place."""
        there = self._known().get(trial.number, trial)
        if not there.is_over and (trial.is_over or there.place == self._number):
            self._write(trial)

    def _write(self, trial: Trial) -> None:
        seen = replace(trial, seen_at=clock.now())
        arrow.write(self._folder, trial_name(trial.number), seen.text.encode())


@contextlib.contextmanager
def _ended_with_us(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Ends a process where this one is told to end; it has the time to keep how far it is."""
    with ending.at_sigterm(ending.leave):
        try:
            yield
        finally:
            ending.end(process, END_SECONDS)


def _now(folder: Path, trial: Trial) -> Trial:
    """How far the trial of a folder is; as it began where its process has not said anything yet."""
    return Trial.read(folder / TRIAL) if (folder / TRIAL).exists() else trial


def _as_epoch(trial: Trial, objective: str) -> Epoch:
    """The best trial, as the best epoch of a training is told."""
    unknown = math.nan
    return Epoch(
        epoch=trial.number,
        seconds=trial.seconds,
        loss=unknown,
        metric=objective,
        score=unknown,
        eval_loss=unknown,
        eval_score=unknown if trial.value is None else trial.value,
    )


def _how(code: int) -> str:
    if code < 0:
        return f"by signal {-code}; where that is 9, its memory was too small: raise `memory`, or try smaller models"
    return f"with the code {code}; the log of its task says why"


def _tell(trial: Trial, sweep: Sweep) -> None:
    value = "" if trial.value is None else f"{sweep.objective} {trial.value:.4g}"
    said = f"trial {trial.number} {trial.state} after {trial.seconds:.1f} s: {value}{trial.error}".removesuffix(": ")
    print(said, flush=True)  # noqa: T201 (the task's log)
