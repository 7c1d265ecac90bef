"""The loop in pods: what a served model is asked is kept, watched, and answered by a version that is better.

The clock that is played makes days pass between what happens. KFP's API is played too: what it is sent is run in pods.
"""

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import installation
import kfp_server
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq
import pytest
import yaml
from backend import Task
from installation import BEGIN, Installed
from kfp_server import KfpServer
from operators import wait_until
from typer.testing import CliRunner, Result

from cd4ml.cli import app
from cd4ml.cluster import accounts
from cd4ml.contracts.verdict import Outcome
from cd4ml.demo import year_file
from cd4ml.monitoring import monitored
from cd4ml.monitoring.monitored import Judged
from cd4ml.registry import clock
from cd4ml.storage import open_store

MODEL, STORE = "promotion-uptake", "s3://cd4ml"
ROWS, TOLD = 2500, 100
"""Players who are asked for, and of how many the caller says at once what came of it."""
UNTAUGHT = ("player_id", "offered_at", "gender", "took_promotion", "known_at")
"""The columns that the model does not take."""
FIRST_LOOK, SECOND_LOOK = BEGIN + timedelta(hours=20), BEGIN + timedelta(hours=44)
"""The mornings after: of the day on which version 1 is asked, and of that of version 2."""


@dataclass(frozen=True)
class Asked:
    """Players who were asked for, each by a request of its own."""

    rows: pa.Table
    ids: list[str]
    probabilities: np.ndarray
    """(float64 [rows])"""

    @property
    def auc(self) -> float:
        """How likely one who took it up has a greater probability than one who did not."""
        took = self.rows["took_promotion"].to_numpy()
        ranks = np.argsort(np.argsort(self.probabilities))[took] + 1
        return float((ranks.mean() - (len(ranks) + 1) / 2) / (len(took) - len(ranks)))


@dataclass(frozen=True)
class Decision:
    """What a command said, and the runs that KFP was sent."""

    said: Result
    again: Result
    """What the same said right afterwards."""
    runs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def drifted() -> pa.Table:
    """Players of whom many come from a stream where the game is shown."""
    _, traffic = year_file.read(installation.EXAMPLE / "year")
    return traffic(ROWS, begin=BEGIN, until=BEGIN + timedelta(hours=1), drifted=True, seed=1)


@pytest.fixture(scope="module")
def asked(trained: dict[str, Task], installed: Installed, drifted: pa.Table) -> Asked:
    """What version 1 is asked and answers."""
    found = ask(installed, drifted)
    url = f"http://{installed.address(MODEL)}/feedback"
    for name, took in zip(found.ids[:TOLD], drifted["took_promotion"].to_pylist(), strict=False):
        assert httpx.post(url, json={"request_id": name, "labels": [took]}, trust_env=False).status_code == 200
    wait_until(lambda: kept(installed, BEGIN) == {"requests": ROWS, "feedback": TOLD}, "what is kept")
    return found


@pytest.fixture(scope="module")
def watched(asked: Asked, installed: Installed) -> dict[str, Task]:
    """The tasks that look at it, by their names."""
    return watch(installed, asked, at=BEGIN, look=FIRST_LOOK, run="monitoring-1")


@pytest.fixture(scope="module")
def decision(watched: dict[str, Task], installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Decision:
    """Whether the model is trained again, asked twice."""
    folder = tmp_path_factory.mktemp("rules")
    training = installation.arguments("training-cluster.yaml") | {"data_limits": {"anomalies": 10}}
    rules = {
        "training": "training.yaml",
        "columns": {"player_id": "request", "offered_at": "at"},
        "when": {"quality": {"windows": 1}},
    }
    (folder / "training.yaml").write_text(yaml.safe_dump({"pipeline": "training", "arguments": training}))
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    with kfp_server.serving(KfpServer()) as kfp:
        words = ("monitor", "retrain", folder / "rules.yaml", "--submit", "--host", kfp.host)
        return Decision(*(cd4ml(installed, FIRST_LOOK, *words) for _ in range(2)), runs=kfp.runs)


@pytest.fixture(scope="module")
def retrained(decision: Decision, installed: Installed) -> dict[str, Task]:
    """The tasks of the run that KFP was sent, by their names."""
    [sent] = decision.runs
    compiled = yaml.safe_dump_all([sent["pipeline_spec"]["pipeline_spec"], sent["pipeline_spec"]["platform_spec"]])
    return dict(installed.backend.run(compiled, sent["runtime_config"]["parameters"], sent["run_id"]))


@pytest.fixture(scope="module")
def asked_again(retrained: dict[str, Task], installed: Installed, drifted: pa.Table) -> Asked:
    """What version 2 is asked and answers, of the same players."""
    found = ask(installed, drifted)
    wait_until(lambda: kept(installed, FIRST_LOOK)["requests"] == ROWS, "what is kept")
    return found


@pytest.fixture(scope="module")
def watched_again(asked_again: Asked, installed: Installed) -> dict[str, Task]:
    """The tasks that look at that, by their names."""
    return watch(installed, asked_again, at=FIRST_LOOK, look=SECOND_LOOK, run="monitoring-2")


def ask(installed: Installed, rows: pa.Table) -> Asked:
    """Asks what is served, four requests at once."""
    url, own = f"http://{installed.address(MODEL)}/api/v1.0/predictions", threading.local()

    def answer(row: dict[str, Any]) -> tuple[str, float]:
        own.client = getattr(own, "client", None) or httpx.Client(trust_env=False)
        found = own.client.post(url, json={"data": {"names": list(row), "ndarray": [list(row.values())]}})
        assert found.status_code == 200, found.text
        return found.headers["seldon-puid"], found.json()["data"]["ndarray"][0][0]

    with ThreadPoolExecutor(4) as pool:
        ids, probabilities = zip(*pool.map(answer, rows.drop_columns(list(UNTAUGHT)).to_pylist()), strict=True)
    return Asked(rows, list(ids), np.array(probabilities))


def kept(installed: Installed, day: datetime) -> dict[str, int]:
    """How many rows of a day lie in the store."""
    counts = dict.fromkeys(("requests", "feedback"), 0)
    for table in counts:
        for one in installed.store.list_objects("cd4ml", f"captures/{MODEL}/{table}/{day:%Y-%m-%d}/"):
            content = installed.store.get_object("cd4ml", one.object_name).read()
            counts[table] += pq.read_metadata(pa.BufferReader(content)).num_rows
    return counts


def watch(installed: Installed, asked: Asked, *, at: datetime, look: datetime, run: str) -> dict[str, Task]:
    """Brings what came of it, which was known three hours after, as a file in the store, and looks at the day."""
    installed.play(look)
    known = pa.array([at + timedelta(hours=3)] * ROWS)
    table = pa.table({"request_id": asked.ids, "took": asked.rows["took_promotion"], "known": known})
    with io.BytesIO() as file:
        pc_csv.write_csv(table, file)
        content = file.getvalue()
    installed.store.put_object("cd4ml", f"sources/{run}.csv", io.BytesIO(content), len(content))
    columns = ("--label", "took", "--known", "known")
    taken = cd4ml(installed, look, "labels", "take", MODEL, f"s3://cd4ml/sources/{run}.csv", *columns, "--store", STORE)
    assert taken.exit_code == 0, taken.output
    span = {"since": f"{at:%Y-%m-%d}", "until": f"{at + timedelta(days=1):%Y-%m-%d}"}
    return installed.run("monitoring", {"name": MODEL, "store": STORE, "every": "1 day", **span}, run)


def cd4ml(installed: Installed, at: datetime, *words: str | Path, account: str = accounts.MONITORING_SECRET) -> Result:
    """What the command line says at a time to whom the store knows as the user of a Secret."""
    with pytest.MonkeyPatch.context() as patch, clock.at(at + timedelta(minutes=10)):
        for name, value in {**installed.as_whom(account), "COLUMNS": "300"}.items():
            patch.setenv(name, value)
        return CliRunner().invoke(app, [str(word) for word in words])


def judged(installed: Installed) -> list[Judged]:
    """The windows, as the user `monitoring` sees them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in installed.as_whom(accounts.MONITORING_SECRET).items():
            patch.setenv(name, value)
        return monitored.every(open_store(STORE), MODEL)


def test_what_a_model_is_asked_is_kept_in_the_store_by_the_user_of_models_alone(
    asked: Asked, installed: Installed
) -> None:
    pods = installed.core.list_namespaced_pod(installed.namespace, label_selector="seldon-deployment-id").items
    secrets = {one.secret_ref.name for pod in pods for one in pod.spec.containers[0].env_from}

    assert secrets == {accounts.MODELS_SECRET, accounts.CAPTURE_SECRET}
    assert kept(installed, BEGIN) == {"requests": ROWS, "feedback": TOLD}


def test_the_run_is_red_and_what_was_judged_stands(watched: dict[str, Task], installed: Installed) -> None:
    passed = {name: one.passed for name, one in watched.items()}
    assert passed == {"Collect window": True, "Compare window": True, "Measure window": True, "Check window": False}
    assert re.search(r"GateError: check_window: \d+ alerts of promotion-uptake\n", watched["Check window"].log)

    [found] = judged(installed)
    alerts = cd4ml(installed, FIRST_LOOK, "monitor", "alerts", MODEL, "--store", STORE).output
    assert (found.window.rows, found.window.labelled, found.window.apart["twice"]) == (ROWS, ROWS, TOLD)
    assert not found.verdict.passed
    assert "auc on overall" in alerts
    assert "drift of acquisition" in alerts


def test_drift_is_told_in_words_and_quality_by_the_limits_of_the_run(
    watched: dict[str, Task], installed: Installed
) -> None:
    [found] = judged(installed)
    assert found.drift
    assert found.quality
    [drift] = [one for one in found.drift.checks if one.name == "drift of acquisition in version 1"]
    [quality] = found.quality.checks

    assert "a new category `stream` holds 6" in drift.reason
    assert (drift.outcome, quality.outcome, quality.name) == (Outcome.FAILED, Outcome.FAILED, "auc on overall")
    assert f"below the limit {installation.AUC}; see what drifted in this window" in quality.reason


def test_a_retraining_is_decided_on_once_and_sent_to_kfp(decision: Decision) -> None:
    assert (decision.said.exit_code, decision.again.exit_code) == (0, 0), decision.again.output
    assert "asks for it: quality failed in the last 1 window" in decision.said.output
    assert "retraining 1 goes on" in decision.again.output


def test_a_better_version_is_published_and_served(
    asked: Asked, retrained: dict[str, Task], asked_again: Asked, watched_again: dict[str, Task], installed: Installed
) -> None:
    assert all(one.passed for one in retrained.values()), "\n".join(one.log for one in retrained.values())
    assert asked_again.auc > asked.auc + 0.05

    _, found = judged(installed)
    [part] = found.window.parts
    assert (part.version, part.rows, part.labelled) == ("2", ROWS, ROWS)
    assert found.quality
    assert found.quality.outcome is Outcome.PASSED


def test_a_request_is_traced_and_a_page_tells_it_all_from_the_bucket(
    asked: Asked, asked_again: Asked, watched_again: dict[str, Task], installed: Installed, tmp_path: Path
) -> None:
    first, last = (cd4ml(installed, SECOND_LOOK, "trace", one.ids[0], "--store", STORE) for one in (asked, asked_again))
    page = tmp_path / "page.html"
    made = cd4ml(installed, SECOND_LOOK, "monitor", "page", MODEL, "--html", page, "--store", STORE)

    assert (first.exit_code, last.exit_code, made.exit_code) == (0, 0, 0), [first.exception, last.exception]
    assert ["promotion-uptake@1: predicted" in first.output, "run training-1" in first.output] == [True, True]
    assert re.search(
        r"promotion-uptake@2: predicted .*deployment promotion-uptake 2 .*/windows/", last.output, re.DOTALL
    )
    assert f"label {str(asked_again.rows['took_promotion'][0]).lower()}" in last.output
    text = page.read_text()
    assert [words in text for words in ("auc on overall", "drift of acquisition", "to train again? yes")] == [True] * 3


def test_a_version_is_promoted_to_another_bucket(
    retrained: dict[str, Task], installed: Installed, tmp_path: Path
) -> None:
    installed.store.make_bucket("production")
    file = tmp_path / "environments.yaml"
    there = {"store": "s3://production", "limits": {"auc": {"min": 0.7}}}
    file.write_text(yaml.safe_dump({"environments": {"staging": {"store": STORE}, "production": there}}))
    words = ("promote", MODEL, "2", "--to", "production", "--by", "somebody", "--environments", file)

    done = cd4ml(installed, SECOND_LOOK, *words, account=accounts.ROOT_SECRET)

    names = [
        {one.object_name for one in installed.store.list_objects(bucket, f"models/{MODEL}/2/", recursive=True)}
        for bucket in ("cd4ml", "production")
    ]
    assert done.exit_code == 0, done.exception
    assert "promoted promotion-uptake version 2 is in production: from staging (s3://cd4ml)" in done.output
    assert names[0] == names[1]
