"""Plays a year: a model is trained and served, asked week after week, watched, and trained again when it decays.

Everything is what a team would use: the pipeline `training`, windows, verdicts and alerts, `cd4ml monitor retrain`.
Made up are the clock (`cd4ml.registry.clock`) and who asks. Requests of past weeks are predicted in bulk, and written
as a server would have captured them; while a new version is rolled out its callers are real ones.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from cd4ml.contracts import document
from cd4ml.contracts.model import Contract
from cd4ml.contracts.release import Version
from cd4ml.demo import bulk, predicting, told
from cd4ml.demo.standing import Standing
from cd4ml.demo.visitors import Visitors
from cd4ml.demo.year_file import KNOWN, Traffic, YearFile
from cd4ml.deployment.targets import servers
from cd4ml.deployment.targets.machine import Machine
from cd4ml.errors import Cd4mlError, RegistryError
from cd4ml.monitoring import alerts, collecting, judging, production_page, taking
from cd4ml.monitoring.taking import Where
from cd4ml.registry import clock, deployments, models, named, retrainings
from cd4ml.registry.retrainings import Retraining
from cd4ml.storage import Store, open_store

WEEK = timedelta(days=7)
EVERY = "7 days"
SOON = timedelta(minutes=2)
"""How long after its last week somebody looks."""
LEARNT = timedelta(days=180)
"""Over how long before the year the rows of the first training were asked for."""
VISITED = 4000
"""Rows that callers of a rollout ask for, in turns."""
PAGE = "page.html"

Say = Callable[[str, str], None]


def play(year: YearFile, traffic: Traffic, folder: Path, *, say: Say) -> Path:
    """Plays a year in a folder of its own.

    Args:
        year: What happens.
        traffic: Who asks.
        folder: A new one, which takes store, runs and page.
        say: Is told a time and what happens then.

    Returns:
        The page.

    Raises:
        Cd4mlError: A part failed: says which, and where its log is.
    """
    playing = Playing(year, traffic, folder.resolve(), say)
    with playing.served(), playing.judges():
        for week in range(0, year.weeks):
            playing.ask(week)
            if week + 1 in year.looks:
                playing.look(week + 1)
        return playing.write_page()


@dataclass
class Playing:
    """A year, as far as it is."""

    year: YearFile
    traffic: Traffic
    folder: Path
    say: Say
    rolled_out: int = -1
    """The week in which callers were those of a rollout."""
    _come: list[pa.Table] = field(default_factory=list)
    """What comes to be known: tables of `request_id`, the label and when."""
    _standing: dict[str, Standing] = field(default_factory=dict)
    _told: int = 0

    @cached_property
    def begin(self) -> datetime:
        """The first moment of the year, which ends now."""
        zero = datetime.fromtimestamp(0, UTC)
        return zero + (datetime.now(UTC) - SOON - zero) // WEEK * WEEK - self.year.weeks * WEEK

    @cached_property
    def store(self) -> Store:
        """Its own."""
        return open_store(self.folder / "store")

    @property
    def model(self) -> str:
        """The model's name."""
        name: str = self.year.training["name"]
        return name

    @property
    def capture(self) -> Path:
        """Where what it is asked is kept."""
        return Machine(self.store, self.model).capture

    def at(self, week: int) -> datetime:
        """When a week begins."""
        return self.begin + week * WEEK

    @contextmanager
    def served(self) -> Iterator[None]:
        """Trains the first version, and has it served; whatever is served in the end is ended."""
        self._write_files()
        try:
            with clock.at(self.begin - timedelta(hours=1)):
                self.say(*told.when(clock.now(), "the first version is trained, and deployed"))
                self._run("first", "run", "--keep-serving", self.folder / "training.yaml", CAPTURE_SHARE="0")
                version = self._champion()
                self.say("", f"version {version.version} is published, and in production")
            yield
        finally:
            Machine(self.store, self.model).remove()

    @contextmanager
    def judges(self) -> Iterator[None]:
        """Has processes at hand that judge windows, and predict."""
        logs = {name: self.folder / f"{name}.log" for name in ("validate", "evaluate")}
        with Standing("validate", logs["validate"]) as validate, Standing("evaluate", logs["evaluate"]) as evaluate:
            self._standing = {"validate": validate, "evaluate": evaluate}
            yield

    def ask(self, week: int) -> None:
        """Has the model asked for a week."""
        if week == self.rolled_out:
            return
        version, contract = self._champion(), self._contract()
        rows = self._rows(week, self.year.rows.week)
        source, output = self.folder / "asked.parquet", self.folder / "answered.parquet"
        pq.write_table(rows, source)
        model = f"{version.name}@{version.version}"
        given = {"rows": str(source), "model": model, "store": self.store.location, "output": str(output)}
        self._standing["evaluate"].ask("predict", **given)
        bulk.write(
            rows,
            pq.read_table(output)[predicting.PREDICTIONS],
            capture=self.capture,
            contract=contract,
            version=version.version,
            at=self._time,
        )
        self._come.append(self._outcomes(rows))

    def look(self, week: int) -> None:
        """Takes the labels that came, judges the windows that are due, and trains again where that is decided."""
        with clock.at(self.at(week) + SOON):
            self._take()
            keys = self._judge(week)
            state = alerts.known(self.store, self.model)
            told.look(self.store, self.model, keys=keys, week=week, say=self.say)
            told.changes(self.store, self.model, since=self._told, say=self.say)
            self._told = state.number
            if state.alerts.standing:
                self._decide(week)

    def write_page(self) -> Path:
        """The page of the model in production."""
        page = self.folder / PAGE
        with clock.at(self.at(self.year.weeks) + 2 * SOON):
            document.write_text(page, production_page.text(self.store, self.model))
        return page

    @property
    def _time(self) -> str:
        name: str = self.year.training["time_column"]
        return name

    @property
    def _label(self) -> str:
        name: str = self.year.training["label"]
        return name

    def _champion(self) -> Version:
        return named.find(self.store, self.model)

    def _contract(self) -> Contract:
        return models.contract(self.store, self._champion())

    def _rows(self, week: int, count: int) -> pa.Table:
        """Those that are asked for in a week, with ids of requests."""
        rows = self.traffic(
            count,
            begin=self.at(week),
            until=self.at(week + 1),
            drifted=week >= self.year.drift,
            seed=self.year.seed + 1 + week,
        )
        return rows.append_column("request_id", pa.array([uuid.uuid4().hex for _ in range(count)]))

    def _outcomes(self, rows: pa.Table) -> pa.Table:
        return rows.select(["request_id", self._label, KNOWN])

    def _write_files(self) -> None:
        """The table of the first training, its run file, and the rules."""
        count = self.year.rows.training
        rows = self.traffic(
            count, begin=self.begin - LEARNT, until=self.begin - WEEK, drifted=False, seed=self.year.seed
        )
        source = self.folder / "rows.parquet"
        pq.write_table(rows.drop_columns([KNOWN]), source)
        given = {"source": str(source), "store": self.store.location, "port": servers.free_port()}
        training = {"pipeline": "training", "arguments": {**self.year.training, **given}}
        rules = {"training": "training.yaml", **self.year.retraining}
        for name, content in (("training.yaml", training), ("retraining.yaml", rules)):
            document.write_text(self.folder / name, yaml.safe_dump(content, sort_keys=False))

    def _take(self) -> None:
        """Takes the labels that are known by now."""
        known = pa.concat_tables(self._come)
        now = pa.scalar(clock.moment(), known.schema.field(KNOWN).type)
        here = pc.less_equal(known[KNOWN], now)
        self._come = [known.filter(pc.invert(here))]
        file = self.folder / "labels.parquet"
        pq.write_table(known.filter(here), file)
        taking.take(self.model, source=str(file), store=self.store.location, where=Where(known=KNOWN))

    def _judge(self, week: int) -> list[str]:
        """Judges what is due; the keys of these windows."""
        folder = self.folder / "looks" / str(week)
        place = {name: folder / name for name in ("windows", "drift", "quality")}
        found = collecting.collect(self.store.location, self.model, every=EVERY, output=place["windows"])
        for environment, call, output in (("validate", "compare", "drift"), ("evaluate", "measure", "quality")):
            given = {"windows": str(place["windows"]), "store": self.store.location, "output": str(place[output])}
            self._standing[environment].begin(call, **given)
        for one in self._standing.values():
            one.end()
        judging.check(
            place["windows"],
            drift=place["drift"],
            quality=place["quality"],
            model=self.model,
            store=self.store.location,
            output=folder / "verdict.json",
            every=EVERY,
        )
        return [one.key for one in found.windows]

    def _decide(self, week: int) -> None:
        """Has it decided whether the model is trained again; where it is, callers ask from its rollout on."""
        before, server = self._decisions(), Machine(self.store, self.model).server()
        if server is None:
            raise RegistryError(f"{self.model}: its server has ended; its log is below {self.folder}")
        rows = self._rows(week, VISITED)
        names = [one.name for one in self._contract().inputs]
        deployed = self._deployments()
        with Visitors(server.url, rows, names, when=lambda: self._deployments() > deployed) as visitors:
            file = self.folder / "retraining.yaml"
            self._run(f"retrain-{week}", "monitor", "retrain", file, CD4ML_KEEP_SERVING="1", CAPTURE_DAYS="3650")
        after = self._decisions()
        for one in after[len(before) :]:
            told.decided(one, say=self.say)
        if len(after) > len(before) and after[-1].decided.retrain:
            self._rolled_out(week, visitors)

    def _deployments(self) -> int:
        """How many have begun."""
        return next(deployments.newest_first(self.store, self.model)).begun.number

    def _decisions(self) -> list[Retraining]:
        return retrainings.every(self.store, self.model)

    def _rolled_out(self, week: int, visitors: Visitors) -> None:
        """Of a week in which a version was rolled out the callers are those that asked it."""
        self.rolled_out = week
        version = self._champion()
        told.rollout(self.store, version, visitors, say=self.say)
        ids = [one for one in visitors.answered if one]
        asked = visitors.rows.take(pa.array([visitors.answered[one] for one in ids], pa.int64()))
        asked = asked.set_column(asked.column_names.index("request_id"), "request_id", pa.array(ids, pa.string()))
        self._come.append(self._outcomes(asked))

    def _run(self, called: str, *words: str | Path, **environment: str) -> None:
        """Runs `cd4ml`, with its words in a log.

        Raises:
            Cd4mlError: It failed.
        """
        log = self.folder / f"{called}.log"
        program = Path(sys.prefix) / "bin" / "cd4ml"
        command = [program, *words, "--runs", self.folder / "runs"]
        with log.open("wb") as said:
            done = subprocess.run(  # noqa: S603 (our own program, without a shell)
                command, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, **environment}, check=False
            )
        if done.returncode:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise Cd4mlError(f"cd4ml {' '.join(map(str, words))} ended with {done.returncode}; {log}:\n{last}")
