"""The training pipeline on this machine: the very tasks that ran, what they left, and what they did not."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import httpx
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from s3_server import s3_server
from workplace import PORT, SERVER, Outcome, Workplace, make_players

from cd4ml.contracts.learning import Learning
from cd4ml.contracts.sweep import SWEEP, Sweep, Trial, trial_name
from cd4ml.demo import bulk
from cd4ml.deployment import release, verify
from cd4ml.errors import DeploymentError
from cd4ml.monitoring import taking, windows
from cd4ml.monitoring.taking import Where
from cd4ml.monitoring.windows import Span
from cd4ml.registry import deployments, models
from cd4ml.running import reproduction
from cd4ml.storage import open_store

TASKS = [
    "Check arguments",
    "Ingest dataset",
    "Split dataset",
    "Validate dataset",
    "Check dataset",
    "Train baseline",
    "Train candidate",
    "Register candidate",
    "Evaluate model",
    "Check model",
    "Publish model",
    "Deploy model",
]
RUN_ALWAYS = {
    "Check arguments",
    "Ingest dataset",
    "Check dataset",
    "Register candidate",
    "Publish model",
    "Deploy model",
}
PAGE = Path(__file__).parents[2] / "docs/using-a-model.md"
EVALUATE = Path(sys.prefix).parent / "evaluate/bin"
TRAIN = Path(sys.prefix).parent / "train/bin"
CHANGE = """
import sys
import tensorflow as tf

reader = tf.train.load_checkpoint(sys.argv[1])
tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
next(one for name, one in tensors.items() if "/_kernel/" in name).flat[0] += 0.25
values = [tf.constant(one) for one in tensors.values()]
tf.raw_ops.SaveV2(
    prefix=sys.argv[1], tensor_names=[*tensors], shape_and_slices=[""] * len(values), tensors=values
)
"""
"""Changes one weight of a model."""
ANOTHER = 2
"""The seed of a model that is not that of the first run."""

IMAGES = {
    "Validate dataset": "validate",
    "Train baseline": "train",
    "Train candidate": "train",
    "Evaluate model": "evaluate",
}


@pytest.fixture(scope="module")
def first(workplace: Workplace) -> Outcome:
    """The first run in a new workplace: nothing can be reused."""
    return workplace.run("run", workplace.arguments())


def test_every_task_runs_and_passes(first: Outcome) -> None:
    assert first.code == 0, first.output
    assert sorted(first.states()) == sorted(TASKS)
    assert set(first.states().values()) == {"passed"}


def test_each_task_runs_in_the_environment_of_its_image(first: Outcome) -> None:
    environments = Path(sys.prefix).parent
    for task in first.summary["tasks"]:
        interpreter = (first.folder / "logs" / f"{task['name']}.log").read_text().splitlines()[0]
        environment = IMAGES.get(task["display_name"], "tools")
        assert interpreter == str(environments / environment / "bin" / "python")
        assert task["image"].split("/")[1].split(":")[0] == environment


def test_the_summary_says_what_was_made_of_what(first: Outcome) -> None:
    summary = first.summary

    assert summary["status"] == "passed"
    assert summary["dataset"]["rows"] == 12_000
    assert summary["anomalies"] == []
    assert summary["models"]["candidate"]["metrics"]["auc"] > 0.75
    assert {"overall", "region=south"} <= {one["slice"] for one in summary["slices"]}
    assert [gate["passed"] for gate in summary["gates"]] == [True, True]
    assert summary["published"]["version"] == 1
    assert summary["published"]["digest"] == summary["models"]["candidate"]["digest"]


def test_what_is_served_predicts_what_was_evaluated(first: Outcome) -> None:
    deployment = first.summary["deployment"]

    assert deployment["predictions_checked"] >= 100
    assert deployment["max_difference"] <= 1e-5
    assert 0 < deployment["p50_ms"] <= deployment["p99_ms"]


def test_the_page_holds_every_report_and_needs_no_network(first: Outcome) -> None:
    page = (first.folder / "index.html").read_text()

    assert page.count("<iframe") == 5
    assert "Model card" in page
    assert 'src="http' not in page
    assert "<link" not in page


def test_the_catalogue_names_the_version_its_verdict_and_the_model_on_it(first: Outcome, workplace: Workplace) -> None:
    assert first.code == 0
    page = (workplace.folder / "store" / "catalogue" / "datasets" / "players.html").read_text()
    assert re.search(r'class="badge passed" title="[^"]+">passed</span>', page)
    assert "promotion-uptake 1" in page


def test_no_server_is_left(first: Outcome, workplace: Workplace) -> None:
    assert first.code == 0
    assert workplace.servers() == []


def test_the_store_keeps_a_record_of_the_run(first: Outcome, workplace: Workplace) -> None:
    record = workplace.record(first)

    assert (record["status"], record["published"]) == ("passed", first.summary["published"]["version"])
    assert record["endpoint"] == first.summary["deployment"]["endpoint"]
    assert record["arguments"]["candidate"]["patience"] == 5  # a default that the file leaves out
    assert record["models"]["candidate"] == first.summary["models"]["candidate"]["metrics"]
    assert [one["gate"] for one in record["gates"]] == ["check_dataset", "check_model"]
    assert "version 1, deployed" in workplace.run("runs", "list").output


def test_a_version_is_made_again_to_the_byte_and_one_weight_that_was_changed_is_told(
    first: Outcome, workplace: Workplace
) -> None:
    digest, store = first.summary["published"]["digest"], workplace.folder / "store"
    changed = Path(shutil.copytree(store, workplace.folder / "changed"))
    weights = changed / "models/promotion-uptake/1/model/saved_model/variables/variables"
    subprocess.run([TRAIN / "python", "-c", CHANGE, weights], check=True, capture_output=True)
    before = sorted(changed.rglob("*"))

    done = workplace.run("models", "reproduce", "promotion-uptake", "1", "--store", "changed")

    assert done.code == 3, done.output
    assert sorted(changed.rglob("*")) == before
    assert f"and {digest} was published: it was changed since; made again it is {digest}" in done.output
    assert re.search(r"_kernel +float32 .* 1 value, by 0.25 at most", done.output)
    assert "0 of 100 that were kept differ" in done.output
    [made] = (workplace.folder / "runs/reproductions").glob("promotion-uptake-1-*")
    of = reproduction.origin(open_store(str(store)), "promotion-uptake", 1)
    found = reproduction.compare(of, made / reproduction.TRAINS / "model")
    assert found.same
    assert set(found.settings) <= {"revision of the working folder"}
    assert not list(made.glob("store/models"))


def test_a_version_learns_on_from_its_windows_though_killed_and_is_published_served_and_taken_back_to_a_checkpoint(
    first: Outcome, workplace: Workplace
) -> None:
    assert first.code == 0, first.output
    store = Path(shutil.copytree(workplace.folder / "store", workplace.folder / "online"))
    make_windows(workplace, "online")
    pace = ("--batch", "4", "--every", "4")
    learn = ("monitor", "learn", "promotion-uptake@1", "--since", "2026-01-01", "--store", "online", *pace)

    killed = workplace.start(*learn)
    while len(begun := list(store.glob("learning/*/*/[0-9]*"))) < 5:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.002)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    written = {file: file.stat().st_mtime_ns for file in begun}

    done = workplace.run(*learn, "--output", "learnt")

    assert done.code == 0, done.output
    assert "promotion-uptake, version 2" in done.output
    assert {file: file.stat().st_mtime_ns for file in begun} == written  # it went on from there
    learnt = Learning.read(workplace.folder / "learnt/learnt/learning.json")
    assert Learning.read(store / "models/promotion-uptake/2/model/learning.json") == learnt
    assert [one.rows for one in learnt.checkpoints] == list(range(4, 3004, 4))

    shutil.rmtree(store / "learning")
    back = workplace.run(*learn, "--back-to", "2000", "--output", "back")

    assert back.code == 0, back.output
    assert "promotion-uptake, version 3" in back.output
    until = Learning.read(workplace.folder / "back/learnt/learning.json")
    assert until.checkpoints == learnt.checkpoints[:500]  # as one that was never killed
    assert (until.key, until.started_from) == (learnt.key, first.summary["published"]["digest"])
    assert len({first.summary["published"]["digest"], learnt.digest, until.digest}) == 3

    deployment = {"version": 2, "store": "online", "target": "machine", "port": PORT}
    served = workplace.run("run", "--runs", "online-runs", workplace.example("deployment.yaml", **deployment))

    assert served.code == 0, served.output
    assert "100 rows as evaluated" in served.output


def make_windows(workplace: Workplace, store: str, hours: int = 6) -> None:
    """What version 1 was asked in some hours, 500 times in each, and what came of it a minute later."""
    opened, begin, name = open_store(workplace.folder / store), datetime(2026, 1, 1, tzinfo=UTC), "promotion-uptake"
    make_players(workplace.folder / "asked.parquet", rows=500 * hours, seed=11)
    rows = pq.read_table(workplace.folder / "asked.parquet")
    at = [begin + timedelta(hours=number / 500) for number in range(len(rows))]
    rows = rows.append_column("at", pa.array(at)).append_column(
        "request_id", pa.array([f"r{one}" for one in range(len(rows))])
    )
    contract = models.contract(opened, models.read(opened, name, 1))
    same = pa.array([[0.35]] * len(rows))
    capture = workplace.folder / "asked"
    bulk.write(rows, same, capture=capture, contract=contract, version=1, at="at")
    known = rows.select(["request_id", contract.label]).append_column(
        "known", pa.array([one + timedelta(minutes=1) for one in at])
    )
    pq.write_table(known, workplace.folder / "outcomes.parquet")
    outcomes = str(workplace.folder / "outcomes.parquet")
    taking.take(f"{name}@1", source=outcomes, store=opened.location, where=Where(known="known"))
    for hour in range(hours):
        span = Span(begin + timedelta(hours=hour), begin + timedelta(hours=hour + 1))
        windows.collect(opened.location, name, span, capture=str(capture))


def test_the_schema_of_the_data_is_inferred_reviewed_and_accepted(first: Outcome, workplace: Workplace) -> None:
    run, file = first.folder.name, workplace.folder / "kept" / "schema.pbtxt"

    inferred = workplace.run("schema", "infer", run, "--output", file)
    assert inferred.code == 0, inferred.output
    first_text = file.read_text()
    assert workplace.run("schema", "infer", run, "--output", file).code == 1

    file.write_text(first_text.replace('  value: "south"\n', ""))
    reviewed = workplace.run("schema", "review", run, "--schema", file)
    assert reviewed.code == 1
    assert re.search(r"region +values +1 new: 'south' +no", reviewed.output)
    assert "not compatible" in reviewed.output

    accepted = workplace.run("schema", "accept", run, "--schema", file)
    assert accepted.code == 0, accepted.output
    assert '  value: "south"\n' in file.read_text()
    assert workplace.run("schema", "review", run, "--schema", file).code == 0

    file.write_text("feture {}")
    refused = workplace.run("schema", "accept", run, "--schema", file)
    assert refused.code == 1
    assert "error: curated_schema: not a TFDV schema as text proto" in refused.output
    assert file.read_text() == "feture {}"


def test_a_second_run_reuses_what_has_not_changed_as_planned(first: Outcome, workplace: Workplace) -> None:
    planned = workplace.run("plan", workplace.arguments()).output

    second = workplace.run("run", workplace.arguments())

    assert second.code == 0, second.output
    ran = {name for name, state in second.states().items() if state != "reused"}
    assert ran == RUN_ALWAYS
    assert second.summary["published"] == first.summary["published"]
    assert second.summary["dataset"] == first.summary["dataset"]
    assert set(re.findall(r"^(\w+ \w+) +runs +[0-9.]+ s", planned, re.MULTILINE)) == ran
    assert planned.count("reused") == len(TASKS) - len(ran)
    assert f"in place of version 1 (run {first.folder.name}" in planned


def test_a_task_runs_alone_with_what_an_earlier_run_gave(first: Outcome, workplace: Workplace) -> None:
    limits = workplace.arguments(model_limits={"auc": {"min": 0.99}})
    alone = workplace.run("run", limits, "--only", "Check model", "--run", first.folder.name)

    assert alone.code == 1
    assert f"from run {first.folder.name}: evaluate-model" in alone.output
    states = alone.states()
    assert (states.pop("Check model"), states.pop("Evaluate model")) == ("failed", "reused")
    assert set(states.values()) == {"skipped"}
    assert alone.summary["models"] == first.summary["models"]
    record = workplace.record(alone)
    assert record["status"] == "failed"
    assert record["arguments"]["model_limits"]["metrics"]["auc"]["min"] == 0.99


def test_a_fairness_limit_that_is_not_kept_publishes_and_deploys_nothing(first: Outcome, workplace: Workplace) -> None:
    shutil.rmtree(workplace.folder / "store" / "models")
    shutil.rmtree(workplace.folder / "store" / "deployments")

    limits = {"fairness": {"region": {"true_positive_rate": {"max_gap": 0.02}}}}
    strict = workplace.run("run", workplace.arguments(model_limits=limits))

    assert strict.code == 1
    assert strict.states()["Check model"] == "failed"
    assert strict.states()["Publish model"] == strict.states()["Deploy model"] == "skipped"
    record = workplace.record(strict)
    assert (record["status"], record["published"], record["failure"]) == ("failed", None, strict.summary["failure"])
    assert record["gates"][0]["gate"] == "check_model"
    gate = strict.summary["gates"][-1]
    assert (gate["name"], gate["passed"]) == ("check_model", False)
    assert "true_positive_rate between groups of region at 0.35: the gap is" in gate["reason"]
    assert "above the limit 0.02" in strict.output
    assert gate["reason"] in (strict.folder / "index.html").read_text()
    assert strict.summary["published"] is None
    assert strict.summary["deployment"] is None
    assert not (workplace.folder / "store" / "models").exists()
    assert not (workplace.folder / "store" / "deployments").exists()
    assert workplace.servers() == []


def test_a_data_limit_that_is_not_kept_trains_nothing(first: Outcome, workplace: Workplace) -> None:
    refused = workplace.run("run", workplace.arguments(data_limits={"min_rows": {"train": 1_000_000}}))

    assert refused.code == 1
    assert refused.states()["Check dataset"] == "failed"
    assert refused.states()["Train candidate"] == "skipped"
    assert "1,000,000" in refused.output


IN_TEN_DAYS = """
from datetime import UTC, datetime, timedelta

from cd4ml.registry import clock

clock.now = lambda: clock.written(datetime.now(UTC) + timedelta(days=10))
"""


def test_data_that_have_grown_old_are_refused_though_all_else_is_reused(
    first: Outcome, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = max(pq.read_table(workplace.folder / "players.parquet")["offered_at"].to_pylist())
    age = (datetime.now(UTC) - newest).days
    limits = {"freshness": {"max_age": f"{age + 5} days", "max_arrival_age": "2 days"}}
    arguments = workplace.arguments(data_limits=limits)
    fresh = workplace.run("run", arguments)
    (workplace.folder / "later").mkdir()
    (workplace.folder / "later" / "sitecustomize.py").write_text(IN_TEN_DAYS)
    monkeypatch.setenv("PYTHONPATH", str(workplace.folder / "later"), prepend=os.pathsep)
    old = workplace.run("run", arguments)

    assert fresh.code == 0, fresh.output
    assert {name for name, state in fresh.states().items() if state != "reused"} == RUN_ALWAYS
    assert old.code == 1
    before = {"Check arguments": "passed", "Ingest dataset": "passed", "Split dataset": "reused"}
    after = {"Validate dataset": "reused", "Check dataset": "failed"}
    assert {name: state for name, state in old.states().items() if state != "skipped"} == before | after
    (reasons,) = [gate["reason"] for gate in old.summary["gates"]]
    assert f"the newest row is {age + 10} days" in reasons
    assert "the latest version is 10 days" in reasons
    assert f"the limit is {age + 5} days" in (old.folder / "index.html").read_text()


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_port_in_use_is_named_with_its_user(first: Outcome, workplace: Workplace, busy_port: int) -> None:
    runs = set(workplace.folder.glob("runs/*"))
    refused = workplace.run("run", workplace.arguments(port=busy_port))

    assert refused.code == 1
    assert f"port {busy_port} is in use by process" in refused.output
    assert set(workplace.folder.glob("runs/*")) == runs


def wait_for_task(workplace: Workplace, process: subprocess.Popen[str], *logs: str) -> None:
    """Waits until the tasks of these logs have begun in the newest run."""

    def written() -> dict[str, set[Path]]:
        return {log: set(workplace.folder.glob(f"runs/*/logs/{log}")) for log in logs}

    before = written()
    for _ in range(6000):
        if all(now - before[log] for log, now in written().items()):
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError(f"{logs} never begun")


TRAINING = {"Train baseline", "Train candidate"}
"""Run side by side."""


def test_a_run_that_is_stopped_leaves_nothing_and_the_next_one_takes_up_its_work(
    first: Outcome, workplace: Workplace
) -> None:
    """Each signal, and each task that takes long; what is run next is the same command."""
    stored = workplace.stored()
    arguments = workplace.arguments(seed=ANOTHER)
    passed: set[str] = set()
    for number, tasks, logs in (
        (signal.SIGINT, TRAINING, ("train-model.log", "train-model-2.log")),
        (signal.SIGTERM, TRAINING, ("train-model.log", "train-model-2.log")),
        (signal.SIGHUP, {"Evaluate model"}, ("evaluate-model.log",)),
    ):
        process = workplace.start("run", arguments)
        wait_for_task(workplace, process, *logs)
        process.send_signal(number)
        stopped = workplace.finish(process)

        assert stopped.code == 1
        assert stopped.summary["status"] == "stopped"
        assert {name for name, state in stopped.states().items() if state == "stopped"} == tasks
        assert {name for name, state in stopped.states().items() if state in ("passed", "reused")} >= passed
        assert "Run the same command again" in stopped.output
        assert workplace.servers() == []
        assert left_of(stopped.folder) == []
        assert workplace.stored() == stored
        passed = {name for name, state in stopped.states().items() if state in ("passed", "reused")}
    assert passed >= TRAINING
    again = workplace.run("run", arguments)
    assert again.code == 0
    assert {again.states()[name] for name in TRAINING} == {"reused"}


def test_a_run_that_was_stopped_while_it_trained_goes_on_from_there(first: Outcome, workplace: Workplace) -> None:
    candidate = {"model": "dnn", "hidden": [16], "batch_size": 16, "epochs": 60, "patience": 60}
    arguments = workplace.arguments(candidate=candidate, seed=104, warm_start=True)
    process = workplace.start("run", arguments)
    wait_for_task(workplace, process, "train-model-2.log")
    log = max(workplace.folder.glob("runs/*/logs/train-model-2.log"), key=lambda one: one.stat().st_mtime)
    wait_for(lambda: "epoch 2: " in log.read_text())
    process.send_signal(signal.SIGINT)
    assert workplace.finish(process).summary["status"] == "stopped"
    [place] = re.findall(r"^told to end, at (epoch \d+, step \d+ of \d+)$", log.read_text(), re.MULTILINE)

    again = workplace.run("run", arguments)

    assert again.code == 0, again.output
    assert f"goes on from {place}\n" in (again.folder / "logs" / "train-model-2.log").read_text()
    begun = "begins with the weights of the champion"
    assert begun in log.read_text()
    assert begun not in log.with_name("train-model.log").read_text()
    assert {len(list(one.iterdir())) for one in workplace.folder.glob("store/checkpoints/*")} == {1}


def test_a_run_under_nohup_goes_on_when_its_terminal_closes(first: Outcome, workplace: Workplace) -> None:
    process = workplace.start("run", workplace.arguments(seed=3), by=("nohup",))
    wait_for_task(workplace, process, "train-model.log")
    process.send_signal(signal.SIGHUP)
    wait_for_task(workplace, process, "evaluate-model.log")
    process.send_signal(signal.SIGTERM)

    assert workplace.finish(process).summary["status"] == "stopped"


def test_a_run_that_is_stopped_while_it_deploys_leaves_no_server(first: Outcome, workplace: Workplace) -> None:
    process = workplace.start("run", workplace.arguments())
    wait_for_task(workplace, process, "deploy-model.log")
    for _ in range(300):
        if workplace.servers():
            break
        time.sleep(0.05)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):  # all but the first change nothing
        process.send_signal(number)
        time.sleep(0.3)
    stopped = workplace.finish(process)

    assert stopped.code == 1
    assert stopped.summary["status"] == "stopped"
    assert stopped.states()["Deploy model"] == "stopped"
    assert workplace.servers() == []
    assert workplace.deployments()[-1].state == "undone"


def members(process: subprocess.Popen[str], *, of: str) -> list[psutil.Process]:
    """The processes of a task, from the one that the run started down: its supervisor, its Python."""
    family = psutil.Process(process.pid).children(recursive=True)
    return [one for one in family if f"/{of}'" in str(one.cmdline())]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def step(processes: list[psutil.Process], until: Callable[[], object]) -> None:
    """Lets processes go on for milliseconds at a time, and leaves them where the condition holds."""
    while not until():
        for one in processes:
            one.resume()
        time.sleep(0.005)
        for one in processes:
            one.suspend()


def left_of(folder: Path) -> list[psutil.Process]:
    """The processes that work for a run."""
    return [one for one in psutil.process_iter(["cmdline"]) if str(folder) in str(one.info["cmdline"])]


@pytest.mark.parametrize("which", range(2), ids=["supervisor", "python"])
def test_a_task_that_is_killed_ends_whole_and_is_told_in_a_line(
    first: Outcome, workplace: Workplace, which: int
) -> None:
    process = workplace.start("run", workplace.arguments(seed=100 + which))
    wait_for_task(workplace, process, "train-model.log")
    wait_for(lambda: len(members(process, of="train-model")) == 2)
    members(process, of="train-model")[which].kill()
    killed = workplace.finish(process)

    assert killed.code == 1
    assert killed.summary["failure"] == "Train baseline: ended by signal 9: out of memory?"
    assert killed.output.count("ended by signal 9: out of memory?") == 1
    assert "ended by signal 9: out of memory?" in (killed.folder / "logs" / "train-model.log").read_text()
    page = (killed.folder / "index.html").read_text()
    assert "The run failed: nothing was published or deployed" in page
    assert "ended by signal 9: out of memory?" in page
    assert left_of(killed.folder) == []


def test_a_run_that_is_killed_ends_whole_and_the_next_one_clears_up(first: Outcome, workplace: Workplace) -> None:
    process = workplace.start("run", workplace.arguments(seed=103))
    wait_for_task(workplace, process, "train-model.log")
    wait_for(lambda: len(members(process, of="train-model")) == 2)
    workspace = Path(members(process, of="train-model")[-1].environ()["TMPDIR"])
    process.kill()
    process.communicate()

    wait_for(lambda: not left_of(workplace.folder / "runs"))
    assert workspace.exists()
    assert workplace.run("run", workplace.arguments()).code == 0
    assert not workspace.exists()
    assert not list(workplace.folder.glob("store/.unfinished/*"))


@pytest.fixture
def kept(first: Outcome, workplace: Workplace) -> Iterator[Outcome]:
    """A run that left its server up, and another model to take its place."""
    yield workplace.run("run", "--keep-serving", workplace.arguments())
    workplace.run("stop", "promotion-uptake")


@pytest.mark.parametrize("together", [False, True], ids=["the task", "the task and the run"])
def test_a_server_that_was_kept_is_put_back_when_its_replacement_is_killed(
    kept: Outcome, workplace: Workplace, together: bool
) -> None:
    recorded = workplace.deployments()
    (server,) = set(served(workplace))
    process = workplace.start("run", workplace.arguments(seed=ANOTHER))
    wait_for(lambda: len(served(workplace)) > 1, 300)
    task = members(process, of="deploy-model")
    step(task, until=lambda: server not in served(workplace))
    victims = [*([psutil.Process(process.pid)] if together else []), *task]
    for victim in victims:
        victim.kill()
    killed = workplace.finish(process)
    if together:
        wait_for(lambda: not left_of(workplace.folder / "runs"))
        said = workplace.run("run", workplace.arguments(data_limits={"min_rows": {"train": 1_000_000}})).output
    else:
        said = killed.output

    assert "was undone; version" in said
    assert "which was served before, is served again" in said
    *before, undone = workplace.deployments()
    assert before == recorded
    assert (undone.state, undone.events[-1].reason) == ("undone", "its process was killed")
    assert set(served(workplace).values()) == {server_folder(kept)}
    answer = httpx.get(f"{SERVER}/metadata", timeout=30).json()["custom"]
    assert answer["version"] == str(kept.summary["published"]["version"])


def served(workplace: Workplace) -> dict[int, str]:
    """The models that are served, by process group."""
    return {os.getpgid(one.pid): one.info["environ"]["MODEL_FOLDER"] for one in workplace.servers() if one.is_running()}


def server_folder(run: Outcome) -> str:
    return f"{run.summary['published']['uri']}/model"


def test_of_two_runs_each_says_what_it_serves(first: Outcome, workplace: Workplace) -> None:
    plain = workplace.start("run", workplace.arguments())
    wait_for(workplace.servers, 120)
    plain.send_signal(signal.SIGSTOP)
    keeping = workplace.run("run", "--keep-serving", workplace.arguments())
    plain.send_signal(signal.SIGCONT)
    output, _ = plain.communicate(timeout=60)

    assert "serving" in keeping.output
    assert "serving" not in output
    assert f"replaced by the server of run {keeping.folder.name}" in output
    assert workplace.run("stop", "promotion-uptake").code == 0


def test_two_runs_at_once_both_pass_and_leave_no_server(first: Outcome, workplace: Workplace) -> None:
    """Both train, evaluate, publish and deploy what is the same, side by side."""
    both = [workplace.start("run", "--runs", f"runs-{number}", workplace.arguments()) for number in (1, 2)]
    outputs = [process.communicate(timeout=600)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], outputs
    assert workplace.servers() == []


def test_a_deployment_that_fails_is_undone(first: Outcome, workplace: Workplace) -> None:
    """Version 99 is the served one with other known predictions: what is served cannot be what was evaluated."""
    kept = workplace.run("run", "--keep-serving", workplace.arguments())
    versions = workplace.folder / "store" / "models" / "promotion-uptake"
    number = str(kept.summary["published"]["version"])
    wrong = shutil.copytree(versions / number, versions / "99")
    table = pq.read_table(wrong / "predictions.parquet")
    other = pc.add(table["probability"], 0.1)
    pq.write_table(
        table.drop_columns(["probability"]).append_column("probability", other), wrong / "predictions.parquet"
    )
    version = json.loads((wrong / "version.json").read_text())
    (wrong / "version.json").write_text(json.dumps(version | {"version": 99}))

    with pytest.raises(DeploymentError, match="does not predict what evaluation did"):
        release.deploy(
            str(workplace.folder / "store"),
            published_file=str(wrong / "version.json"),
            verdict_file=str(wrong / "verdict.json"),
            target="machine",
            port=PORT,
            run="another-run",
            folder=str(workplace.folder / "undone"),
        )

    assert kept.code == 0
    verify.wait_until_ready(SERVER, 60, alive=lambda: True)
    served = httpx.get(f"{SERVER}/metadata", timeout=30).json()["custom"]
    assert served["version"] == number
    shutil.rmtree(wrong)
    assert workplace.run("stop", "promotion-uptake").code == 0
    assert workplace.servers() == []


def test_a_model_in_a_bucket_is_served_by_this_machine_until_it_is_stopped(
    first: Outcome, workplace: Workplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name, location = "promotion-uptake", "s3://cd4ml/team"
    published = Path(first.summary["published"]["uri"])
    files = [str(published / "version.json"), str(published / "verdict.json")]
    with s3_server() as s3:
        for variable, value in (("ENDPOINT_URL", s3.url), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "s")):
            monkeypatch.setenv(f"AWS_{variable}", value)
        monkeypatch.setenv("XDG_STATE_HOME", str(workplace.folder / "state"))
        store = open_store(location)
        store.add_folder(f"models/{name}/1", {child.name: child for child in published.iterdir()})
        monkeypatch.setenv("CD4ML_KEEP_SERVING", "1")

        deployed = release.deploy(
            location,
            published_file=files[0],
            verdict_file=files[1],
            target="machine",
            port=PORT,
            run="run",
            folder=str(tmp_path),
        )

        assert deployed.verification.predictions_checked >= 100
        (server,) = set(served(workplace).values())
        assert Path(server).is_relative_to(workplace.folder / "state")
        assert {key.split("/")[1] for key in s3.objects} == {"models", "deployments", "catalogue"}
        assert deployments.latest(store, name) == deployed.deployment
        assert workplace.run("stop", name, "--store", location).code == 0
        assert workplace.servers() == []
        assert deployments.latest(store, name) is None


def test_a_table_is_predicted_as_the_server_predicts_its_rows(first: Outcome, workplace: Workplace) -> None:
    assert workplace.run("run", "--keep-serving", workplace.arguments()).code == 0

    predicted = workplace.run("predict", "promotion-uptake", "--dataset", "players")

    assert predicted.code == 0, predicted.output
    assert predicted.states() == {"Predict dataset": "passed"}
    assert "players, version 0: 12,000 rows by promotion-uptake" in predicted.output
    store = workplace.folder / "store"
    table = deltalake.DeltaTable(store / "predictions/promotion-uptake/players").to_pyarrow_table()
    offline = dict(zip(table["player_id"].to_pylist(), table["probability"].to_pylist(), strict=True))
    rows = pq.read_table(workplace.folder / "players.parquet").slice(0, 500)
    names = [one["name"] for one in httpx.get(f"{SERVER}/metadata").json()["inputs"]]
    asked = [list(row.values()) for row in rows.select(names).to_pylist()]
    answer = httpx.post(f"{SERVER}/api/v1.0/predictions", json={"data": {"names": names, "ndarray": asked}}).json()
    online = [value for (value,) in answer["data"]["ndarray"]]
    assert online == pytest.approx([offline[player] for player in rows["player_id"].to_pylist()], abs=1e-6)
    blocks = re.findall(
        r"<!-- executed by [^\n]+\n```(sh|python)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    for language, content in blocks:
        programs = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [str(EVALUATE / "python"), "-c"]}
        done = subprocess.run(
            [*programs[language], content.replace(":9500/", f":{PORT}/")],
            cwd=workplace.folder,
            env={**os.environ, "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(blocks) == 7
    assert workplace.run("stop", "promotion-uptake").code == 0


def test_a_server_that_is_kept_answers_until_it_is_stopped(first: Outcome, workplace: Workplace) -> None:
    kept = workplace.run("run", "--keep-serving", workplace.arguments())

    assert kept.code == 0, kept.output
    curl = next(line for line in kept.output.splitlines() if "curl" in line).split("curl", 1)[1]
    answer = subprocess.run(f"curl{curl}", shell=True, capture_output=True, text=True, check=True)
    assert 0 <= json.loads(answer.stdout)["data"]["ndarray"][0][0] <= 1

    verification = workplace.folder / "verification.yaml"
    verification.write_text("pipeline: verification\narguments: {name: promotion-uptake, store: store}\n")
    verified = workplace.run("run", verification)
    assert verified.code == 0, verified.output
    assert verified.states() == {"Verify deployment": "passed"}

    # A run that takes its place keeps production up.
    replaced = workplace.run("run", workplace.arguments())
    assert replaced.code == 0, replaced.output
    assert httpx.get(f"{SERVER}/health/status", timeout=30).is_success

    stopped = workplace.run("stop", "promotion-uptake")
    assert stopped.code == 0, stopped.output
    assert workplace.servers() == []
    assert workplace.deployments()[-1].state == "stopped"
    down = workplace.run("run", verification)
    assert down.code == 1
    assert SERVER in down.output


def judged(workplace: Workplace) -> list[Path]:
    """What the store keeps of models that a test split has judged."""
    return [file for file in (workplace.folder / "store" / "judgements").rglob("*") if file.is_file()]


def test_a_sweep_is_tried_beside_the_candidate_which_is_trained_as_the_winner_and_tested_once(
    first: Outcome, workplace: Workplace
) -> None:
    ranges = {"learning_rate": {"min": 0.001, "max": 0.1, "log": True}, "reweight": [[], ["region"]]}
    file = workplace.arguments(
        candidate={"model": "linear", "epochs": 1},
        sweep={"ranges": ranges, "trials": 3, "parallel": 2, "constraints": {"size_mib": 50}},
        model_limits={"auc": {"min": 0.6}},
    )
    before = len(judged(workplace))

    outcome = workplace.run("run", file)

    assert outcome.code == 0, outcome.output
    assert sorted(outcome.states()) == sorted([*TASKS, "Sweep candidate"])
    (folder,) = (workplace.folder / "store" / "sweeps").iterdir()
    sweep = Sweep.read(folder / SWEEP)
    trials = [Trial.read(folder / trial_name(number)) for number in range(3)]
    assert len(list(folder.iterdir())) == 4
    assert [one.state for one in trials] == ["ended"] * 3
    won = sweep.best(trials)
    assert won is not None
    version = max((workplace.folder / "store" / "models" / "promotion-uptake").iterdir(), key=lambda one: int(one.name))
    trained = json.loads((version / "model" / "contract.json").read_text())["model"]
    assert {name: trained[name] for name in ranges} == won.settings
    history = json.loads((version / "model" / "history.json").read_text())
    assert [epoch["eval_auc"] for epoch in history] == [won.value]
    assert len(judged(workplace)) == before + 1
