"""What the command line says of itself, and of what nobody foresaw."""

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cd4ml.cli import app

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
GROUPS = [name for name, one in COMMANDS.items() if hasattr(one, "commands")]


def test_the_commands_are_listed_in_the_order_in_which_a_team_meets_them() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output

    listed = [line.split()[1] for line in shown.splitlines() if line.startswith("│ ") and not line.startswith("│  ")]
    assert [name for name in listed if name in COMMANDS] == [
        *(
            "init",
            "run",
            "demo",
            "plan",
            "predict",
            "stop",
            "promote",
            "trace",
            "compile",
            "arguments",
            "submit",
            "schedule",
            "doctor",
        ),
        *("datasets", "models", "deployments", "labels", "monitor", "pipelines", "schema", "schedules", "runs"),
    ]
    assert "completion" not in shown


@pytest.mark.parametrize("group", ["", *GROUPS])
def test_a_command_of_several_says_which_there_are(group: str) -> None:
    words, commands = ([group], COMMANDS[group].commands) if group else ([], COMMANDS)

    shown = CliRunner().invoke(app, words).output

    assert "Usage: " in shown
    assert all(name in shown for name in commands)


def test_what_nobody_foresaw_keeps_a_plain_traceback() -> None:
    program = "import sys; from cd4ml import cli; cli.asked.pipelines = lambda: 1 / 0; cli.main()"

    done = subprocess.run([sys.executable, "-c", program, "arguments", "training"], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(("number", "code"), [("0", 2), ("1001", 2), ("1", 0), ("1000", 0)])
def test_no_fewer_than_one_run_and_no_more_than_a_thousand_are_listed(
    tmp_path_factory: pytest.TempPathFactory, number: str, code: int
) -> None:
    store = str(tmp_path_factory.mktemp("store"))

    assert CliRunner().invoke(app, ["runs", "list", "--store", store, "--number", number]).exit_code == code


@pytest.mark.parametrize("group", GROUPS)
def test_the_first_page_of_help_names_each_command_of_a_group(group: str) -> None:
    said = COMMANDS[group].help

    assert [name for name in COMMANDS[group].commands if name.replace("-", " ") not in said] == []
