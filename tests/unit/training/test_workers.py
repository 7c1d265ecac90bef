"""`cd4ml.training.workers`: which worker a process is, and what comes of those that are lost."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cd4ml.cluster.twins import GRACE_SECONDS
from cd4ml.errors import TrainingError
from cd4ml.training import local_workers, workers
from cd4ml.training.request import Request
from cd4ml.training.trainers import check_workers, parse
from cd4ml.training.workers import Ended, Worker

REQUEST = Request(train="", eval="", statistics="", schema="", label="took", spec={"model": "dnn"}, seed=0, workers=2)


class Others:
    """Workers of a test, of whom some have ended."""

    def __init__(self, *ended: Ended) -> None:
        self.begun, self._ended, self.is_over = 0, ended, False

    def begin(self) -> Sequence[str]:
        self.begun += 1
        return ["localhost:1", "localhost:2"]

    def ended(self) -> Sequence[Ended]:
        return self._ended

    def end(self) -> None:
        self.is_over = True


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the first worker be a program; what it is given is the folder of the worker."""

    def give(program: str) -> None:
        @contextmanager
        def process(folder: Path, *_: Any) -> Iterator[workers.Process]:
            started = subprocess.Popen([sys.executable, "-c", program, str(folder)])
            yield started
            started.kill()
            started.wait()

        monkeypatch.setattr(workers, "process", process)

    return give


def train(others: Others, folder: Path) -> workers.Came:
    return workers.train(REQUEST, others, folder=folder, report=folder, logs=folder)


def test_a_worker_knows_which_it_is_and_no_process_that_it_starts_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Worker(["one:1", "two:2"], 1).variables.items():
        monkeypatch.setenv(name, value)

    found = Worker.taken()

    assert (list(found.addresses), found.number, found.is_first) == (["one:1", "two:2"], 1, False)
    with pytest.raises(TrainingError, match="TF_CONFIG: '' names no worker; write"):
        Worker.taken()


@pytest.mark.parametrize(
    "said", ["{}", "[", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}']
)
def test_what_names_no_worker_is_told(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(workers.TF_CONFIG, said)

    with pytest.raises(TrainingError, match="names no worker"):
        Worker.taken()


def test_workers_that_are_lost_again_and_again_are_given_up(first: Any, tmp_path: Path) -> None:
    first("raise SystemExit(75)")
    others = Others(Ended(1, 137))

    with pytest.raises(TrainingError, match="^worker 1 ended by signal 9; workers were lost 4 times"):
        train(others, tmp_path)
    assert others.begun == workers.ATTEMPTS
    assert others.is_over


def test_what_each_worker_said_last_is_told_when_all_are_given_up(first: Any, tmp_path: Path) -> None:
    first(
        "import pathlib, sys\n"
        "(pathlib.Path(sys.argv[1]) / 'fault.txt').write_text('InternalError: no such kernel'); raise SystemExit(75)"
    )

    with pytest.raises(
        TrainingError, match="^worker 0 ended with the code 75: InternalError: no such kernel; .*\nworker 1 .* 75: x$"
    ):
        train(Others(Ended(1, workers.LOST, "x")), tmp_path)


def test_a_worker_has_its_time_to_end_and_it_is_told_where_that_was_too_short(
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: time.sleep(float(sys.argv[1])) or exit(3))\n"
        "print(flush=True); time.sleep(60)"
    )
    patient, killed = (
        subprocess.Popen([sys.executable, "-c", program, seconds], stdout=subprocess.PIPE) for seconds in ("0.5", "60")
    )
    for one in (patient, killed):
        assert one.stdout
        one.stdout.readline()

    workers.end(patient, 20.0)
    workers.end(killed, 0.2)

    assert (patient.returncode, killed.returncode) == (3, -9)
    assert capsys.readouterr().out.startswith("a worker that was told to end has not in 0.2 s, and is killed")
    assert workers.KEEP_SECONDS < GRACE_SECONDS


def test_workers_begin_again_as_long_as_checkpoints_are_written(first: Any, tmp_path: Path) -> None:
    program = """
import json, pathlib, sys, time
folder, count = pathlib.Path(sys.argv[1]), pathlib.Path({count!r})
count.write_text(count.read_text() + ".")
if len(count.read_text()) <= 6:
    time.sleep(0.02)
    (folder / "kept").touch()
    raise SystemExit(75)
(folder / "trained.json").write_text(json.dumps({"metadata": {"model": "dnn"}, "metrics": {"epochs": 2}}))
"""
    (tmp_path / "count").write_text("")
    first(program.replace("{count!r}", repr(str(tmp_path / "count"))))
    others = Others()

    came = train(others, tmp_path)

    assert (came.metadata, came.metrics) == ({"model": "dnn"}, {"epochs": 2})
    assert (others.begun, others.is_over) == (7, True)


def test_a_training_that_is_done_is_done_however_the_others_end(first: Any, tmp_path: Path) -> None:
    first(
        "import pathlib, sys, time; time.sleep(1)\n"
        """(pathlib.Path(sys.argv[1]) / 'trained.json').write_text('{"metadata": {}, "metrics": {}}')"""
    )
    others = Others(Ended(1, 143))

    assert train(others, tmp_path) == workers.Came({}, {})
    assert others.begun == 1


def test_others_that_are_lost_are_not_missed_once_the_first_goes_on_alone(
    first: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HEAR_SECONDS", 0.1)
    first(
        "import pathlib, sys, time; folder = pathlib.Path(sys.argv[1]); (folder / 'parted').touch(); time.sleep(2)\n"
        """(folder / 'trained.json').write_text('{"metadata": {}, "metrics": {}}')"""
    )
    others = Others(Ended(1, 137))

    assert train(others, tmp_path) == workers.Came({}, {})
    assert others.begun == 1


def test_a_first_worker_that_is_lost_with_its_model_written_writes_it_again(first: Any, tmp_path: Path) -> None:
    first(
        "import pathlib, sys\n"
        f"place, model = pathlib.Path(sys.argv[1]), pathlib.Path({str(tmp_path / 'model')!r})\n"
        "again = (place / 'parted.before').exists()\n"
        "model.mkdir(); (model / 'weights').touch(); (place / 'parted.before').touch()\n"
        """(place / 'trained.json').write_text('{"metadata": {}, "metrics": {}}')\n"""
        "raise SystemExit(0 if again else 137)"
    )
    others = Others()

    assert train(others, tmp_path / "model") == workers.Came({}, {})
    assert others.begun == 2
    assert [one.name for one in (tmp_path / "model").iterdir()] == ["weights"]


def test_what_is_wrong_with_the_training_ends_it_at_once(first: Any, tmp_path: Path) -> None:
    first("import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'fault.txt').write_text('no rows'); raise SystemExit(1)")
    others = Others(Ended(1, workers.LOST))

    with pytest.raises(TrainingError, match="^no rows$"):
        train(others, tmp_path)
    assert others.begun == 1


@pytest.mark.parametrize("spec", [{"model": "trees"}, {"function": "team.models:wide"}])
def test_what_one_process_trains_is_refused_to_several(spec: dict[str, Any]) -> None:
    check_workers(parse(spec), 1, sweep=True)
    check_workers(parse({"model": "linear"}), 3)

    with pytest.raises(TrainingError, match="is trained by one process, and 2 are asked for; leave workers out"):
        check_workers(parse(spec), 2)
    with pytest.raises(TrainingError, match="each trial of a sweep is one process"):
        check_workers(parse({"model": "linear"}), 2, sweep=True)


@pytest.mark.parametrize(
    ("gpus", "there", "visible", "expected"),
    [
        (1, 2, None, ["0", "1"]),
        (2, 5, None, ["0,1", "2,3"]),
        (2, 4, "7,5,GPU-a,1", ["7,5", "GPU-a,1"]),
        (1, 0, None, ["", ""]),
        (0, 2, None, ["", ""]),
    ],
)
def test_no_two_workers_of_a_machine_compute_on_one_gpu(
    gpus: int, there: int, visible: str | None, expected: list[str]
) -> None:
    request = replace(REQUEST, gpus=gpus)

    assert local_workers.shares(request, there=there, visible=visible) == expected
    assert local_workers.shares(replace(request, accelerator="cpu"), there=there, visible=visible) == ["", ""]


def test_too_few_gpus_for_the_workers_of_a_machine_are_told_before_any_begins() -> None:
    with pytest.raises(TrainingError, match="^workers: 2 on this machine take 2 GPUs each, and 3 are there; lower"):
        local_workers.shares(replace(REQUEST, gpus=2), there=3)


def test_a_worker_of_a_machine_sees_its_own_gpus_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Worker] = []

    @contextmanager
    def process(_: Path, worker: Worker, __: Path) -> Iterator[None]:
        begun.append(worker)
        yield

    monkeypatch.setattr(workers, "process", process)
    local_workers.LocalWorkers(replace(REQUEST, workers=3), tmp_path, ["0", "1", "2"]).begin()

    assert [one.variables["CUDA_VISIBLE_DEVICES"] for one in begun] == ["1", "2"]
    assert "CUDA_VISIBLE_DEVICES" not in Worker(["one:1", "two:2"], 1).variables
