"""The pages: every block is executed, checked, or marked with the reason why not, and every link leads somewhere.

A block that is not executed here has a comment in the line before it, `<!-- not executed: needs a cluster -->` or
`<!-- executed by tests/… -->`. Its commands are still held against the command line and the Makefile. A block without
a language is what a command prints.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cd4ml.cli.application import app
from cd4ml.running import arguments
from cd4ml.running.run_file import RunFile

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/promotions/training.yaml"
FOLDERS = ("docs", "components", "pipelines", "images", "manifests", "examples", "delivery")
PAGES = [ROOT / "README.md", *(page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("*.md")))]
MARK = r"(?:<!-- (not executed: [^\n]+|executed by [^\n]+) -->\n)?"
BLOCK = re.compile(rf"^{MARK}```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
USED = re.compile(r"\b(?:shown|documented)\(\n?\s*\"(.+?)\"")
SPAN = re.compile(r"`((?:cd4ml|make) [^`]+)`")
TABLE = re.compile(r"^\|.*$", re.MULTILINE)
WRITTEN = [page for page in PAGES if page.parent in (ROOT, ROOT / "docs")]
"""The pages that no tool makes."""
WIDTH = 120


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    section: str
    mark: str
    """Why it is not executed, or by which test; empty where it is executed here."""
    language: str
    content: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        before = text[: found.start()]
        section = (["", *HEADING.findall(BLOCK.sub("", before))])[-1]
        name = str(page.relative_to(ROOT))
        yield Block(name, before.count("\n") + 1, section, found[1] or "", found[2], found[3])


BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language in ("sh", "console")]
OTHERS = [block for block in BLOCKS if block.language and block not in SHELL]


def commands(script: str) -> Iterator[list[str]]:
    """The words of each cd4ml, make and script of the house that a script calls."""
    script = re.sub(r"<\(.*?\)", "FILE", script.replace("\\\n", " "))
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                yield from [words] if words else []
                words = []
            elif words or "=" not in word or word.startswith("-"):
                words.append(word)


def hold(words: list[str]) -> None:
    """Holds a command against what there is; raises where there is no such command, option, target or script."""
    program = Path(words[0]).name
    if program == "cd4ml":
        command: Any = typer.main.get_command(app)
        rest = words[1:]
        while hasattr(command, "commands"):
            name = rest.pop(0) if rest else ""
            assert name in command.commands, f"{shlex.join(words)}: there is no such command"
            command = command.commands[name]
        if rest != ["--help"]:
            command.make_context(command.name, rest)
    elif program == "make":
        made = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
    elif words[0].startswith("scripts/"):
        assert os.access(ROOT / words[0], os.X_OK), f"{words[0]}: there is no such script"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_the_commands_are_those_that_there_are(block: Block) -> None:
    for words in commands(block.content):
        hold(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_within_the_text_are_those_that_there_are(page: Path) -> None:
    names = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for span in SPAN.findall(text):
        words = span.split()
        if words[0] == "make":
            hold([word for word in words if not word.isupper()])
        else:
            assert words[1] in names or words[1].startswith("-"), f"{span}: there is no such command"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a clone whose environments are made."""
    folder = tmp_path_factory.mktemp("clone")
    for one in ROOT.iterdir():
        if one.name not in ("runs", "store", "compiled", ".git"):
            (folder / one.name).symlink_to(one)
    return folder


@pytest.mark.parametrize("page", sorted({block.page for block in SHELL if not block.mark}))
def test_the_commands_do_what_the_page_says(page: str, clone: Path) -> None:
    """All of a page, one after another, as a reader would enter them."""
    script = "".join(block.content for block in SHELL if block.page == page and not block.mark)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=clone,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", [one for one in OTHERS if one.language == "yaml" and not one.mark], ids=str)
def test_the_run_files_and_arguments_pass_the_checks(block: Block) -> None:
    if block.section in in_tests():
        return
    content = yaml.safe_load(block.content)
    if "pipeline" not in content:
        base = yaml.safe_load(EXAMPLE.read_text())
        content = {"pipeline": "training", "arguments": {**base["arguments"], **content}}
    file = RunFile(ROOT / block.page, content["pipeline"], content["arguments"])
    arguments.check(file, arguments.model_of(file.pipeline))


def in_tests() -> set[str]:
    """The sections of docs/development.md whose blocks a test takes from there."""
    return {name for test in (ROOT / "tests").rglob("test_*.py") for name in USED.findall(test.read_text())}


def test_the_tests_that_are_named_know_the_page() -> None:
    for block in BLOCKS:
        if block.mark.startswith("executed by "):
            test = ROOT / block.mark.removeprefix("executed by ")
            assert Path(block.page).name in test.read_text(), f"{block}: {test} does not execute it"


def test_no_other_block_is_left_alone() -> None:
    others = [one for one in OTHERS if one.language != "yaml" and not one.mark and one.section not in in_tests()]

    assert [str(one) for one in others] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link}: there is no such file"
        if anchor:
            assert anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_the_lines_are_as_wide_as_those_of_the_code(page: Path) -> None:
    text = TABLE.sub("", BLOCK.sub("", page.read_text(encoding="utf-8")))

    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


def test_the_readme_has_the_tasks_of_the_pipeline() -> None:
    compiled = next(yaml.safe_load_all((ROOT / "pipelines/compiled/training.yaml").read_text()))
    components = compiled["components"]
    tasks = list(compiled["root"]["dag"]["tasks"].values())
    loops = [one for one in tasks if "parameterIterator" in one]  # without a sweep nothing is in it
    tasks = [one for one in tasks if one not in loops]
    within = [task for one in loops for task in components[one["componentRef"]["name"]]["dag"]["tasks"].values()]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^✓  (\S.*?)  ", text, re.MULTILINE)
    listed = re.findall(r"^\| \[(\w+)\]\(components/", text, re.MULTILINE)

    assert sorted(shown) == sorted(task["taskInfo"]["name"] for task in tasks)
    names = (one["componentRef"]["name"][5:] for one in (*tasks, *within))
    assert set(listed) == {re.sub(r"-\d+$", "", name).replace("-", "_") for name in names}


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page have."""
    headings = HEADING.findall(BLOCK.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
