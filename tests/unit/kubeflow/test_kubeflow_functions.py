"""`cd4ml submit`, and `schedule`, of a run whose model a function trains: it is tried before a cluster hears of it."""

import sys
from pathlib import Path

import pytest
from conftest import Command
from kfp_server import KfpServer
from s3_server import S3Server

from cd4ml.training import code

MODULE = "def wide(job): return None\n"
ROWS = "customer,age,churned\n" + "".join(f"c{number},{number},{number % 2}\n" for number in range(30))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODULE)
    file = tmp_path / "training.yaml"
    file.write_text(
        "pipeline: training\narguments: {name: churn, source: 's3://cd4ml/customers.csv', dataset: customers, "
        "key: customer, label: churned, store: 's3://cd4ml', target: cluster, candidate: {function: 'models:wide'}}\n"
    )
    return file


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the Python of the train environment: a line of shell, to be written."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environments" / "tools"))
    program = tmp_path / "environments" / "train" / "bin" / "python"
    program.parent.mkdir(parents=True)
    (tmp_path / "environments" / "train" / "ready").touch()
    program.touch(0o755)
    return program


@pytest.mark.parametrize("words", [("submit", "--no-wait"), ("schedule", "--cron", "0 6 * * *")])
def test_a_function_that_cannot_be_used_is_not_sent(
    kfp: KfpServer, cd4ml: Command, file: Path, environment: Path, s3: S3Server, words: tuple[str, ...]
) -> None:
    s3.put("customers.csv", ROWS.encode(), None)
    environment.write_text("""#!/bin/sh\necho '{"error": "models:wide: gave null"}'; exit 1\n""")

    outcome = cd4ml(*words, file, "--host", kfp.host)

    assert outcome.code == 1
    assert "models:wide: gave null" in outcome.err
    assert kfp.runs == []
    assert kfp.recurring == []


def test_a_function_that_was_tried_is_submitted_with_its_module(
    kfp: KfpServer, cd4ml: Command, file: Path, environment: Path, s3: S3Server
) -> None:
    s3.put("customers.csv", ROWS.encode(), None)
    environment.write_text("""#!/bin/sh\necho '{"trained": "on 20 rows, 1 features, in 0.1 s"}'\n""")

    outcome = cd4ml("submit", file, "--host", kfp.host, "--no-wait")

    assert outcome.code == 0, outcome.err
    assert "tried    models:wide: on 20 rows, 1 features, in 0.1 s" in outcome.out
    [run] = kfp.runs
    assert code.unpacked(run["runtime_config"]["parameters"]["candidate"]["source"]).decode() == MODULE


def test_a_function_that_cannot_be_tried_here_is_submitted_and_told(
    kfp: KfpServer, cd4ml: Command, file: Path, environment: Path, s3: S3Server
) -> None:
    outcome = cd4ml("submit", file, "--host", kfp.host, "--no-wait")

    assert outcome.code == 0, outcome.err
    assert "untried  models:wide: " in outcome.out
    assert "customers.csv" in outcome.out
    assert len(kfp.runs) == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["no"] * 30, "label 'churned': every row is 'no', so there is nothing to tell apart"),
        (["yes", "no", "no"] * 10, "label 'churned': every row is 'no', so there is nothing to tell apart"),
        (["no", "yes", "yes"] * 3 + ["no", "no", "no"] * 7, "label 'churned': every row is 'no'"),
        ([str(number % 7) for number in range(30)], "write `problem: regression` to predict the number"),
    ],
    ids=["sorted", "none for train", "none for eval", "few numbers"],
)
def test_a_function_whose_label_the_first_rows_do_not_tell_is_submitted_and_told(
    kfp: KfpServer,
    cd4ml: Command,
    file: Path,
    environment: Path,
    s3: S3Server,
    labels: list[str],
    message: str,
) -> None:
    rows = "".join(f"c{number},{number},{label}\n" for number, label in enumerate(labels))
    s3.put("customers.csv", f"customer,age,churned\n{rows}".encode(), None)
    environment.write_text("""#!/bin/sh\necho '{"error": "models:wide: cannot be tried"}'; exit 1\n""")

    outcome = cd4ml("submit", file, "--host", kfp.host, "--no-wait")

    said = " ".join(outcome.out.split())
    assert outcome.code == 0, outcome.err
    assert "untried models:wide: 30 of the first 50,000 rows of the source are not enough to try it with: " in said
    assert message in said
    assert len(kfp.runs) == 1
