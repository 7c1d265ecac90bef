"""Breaks the code of a room in one place after another, and sees whether a test of the room fails.

    .venvs/mutants/bin/python scripts/mutate.py [--rooms contracts,storage] [--sample 20] [--seed 0]

cosmic-ray knows the ways to break a line; here is which tests belong to which room. It breaks a clone of the last
commit, never the checkout. Each place in the code is as likely as another, and is broken in one way. What survives is
printed as a diff: it wants a test, or the code is not needed, or nobody can tell the difference, which
`scripts/mutants_left.toml` says.
"""

import argparse
import math
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosmic_ray import plugins
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome
from parso.python.tree import Keyword

ROOT = Path(__file__).parent.parent
LEFT = Path(__file__).with_name("mutants_left.toml")
SAME_OPERATORS = re.compile(r".*(BitOr_|_BitOr$|Is_Eq$|Eq_Is$|IsNot_NotEq$|NotEq_IsNot$)")
"""What changes nothing, for the most part: `|` is a union of types here, and `is` of what exists once is `==`."""
PYTEST = ".venvs/tools/bin/python -m pytest -x -q -p no:cacheprovider"
NEAREST = 3
"""So many files of tests run first: most broken lines are seen by them, before the others are so much as read."""
SAME_AFTER = ("frozen=", "strict=")
"""Nobody but mypy sees that an object is frozen, and what is zipped has one length."""


@dataclass(frozen=True)
class Room:
    """Where code lies, and the tests of it, the fastest first: patterns of paths.

    Those that name the broken module most often run before the others.
    """

    code: tuple[str, ...]
    tests: tuple[str, ...]


def room(name: str, tests: str) -> Room:
    """A room of src/cd4ml, and names of tests/unit."""
    return Room((f"src/cd4ml/{name}/**/*.py",), tuple(f"tests/unit/{test}.py" for test in tests.split()))


ROOMS = {
    "contracts": room(
        "contracts",
        "test_predictions test_judgements test_bounds test_task_tree test_gates test_run_page test_slices test_card"
        " data/test_references test_targets validation/* test_registry evaluation/* training/* test_classes"
        " test_problem test_ranking test_shares records/* data/test_erasure data/test_keys test_records",
    ),
    "storage": room(
        "storage",
        "test_deployment_lock test_store_layout data/test_sources test_scratch test_proxies test_storage_bucket"
        " test_storage kubeflow/test_kubeflow_doctor_store",
    ),
    "registry": room(
        "registry",
        "test_judgements records/test_stores_of_before test_card test_registry evaluation/test_publishing"
        " kubeflow/test_kubeflow_runs test_records test_deployments",
    ),
    "data": room("data", "data/* test_datasets_command"),
    # What reads the statistics, and draws, is tried in tests/environments/validate.
    "validation": replace(
        room("validation", "validation/*"),
        code=tuple(
            f"src/cd4ml/validation/{name}.py"
            for name in ("distributions", "gate", "groups", "label", "limits", "outliers", "personal")
        ),
    ),
    "deployment": replace(
        room(
            "deployment",
            "test_deployment_lock test_ports test_targets test_seldon_manifest test_serving_files test_server_logs"
            " test_machine test_rollout test_verify test_deployments test_serving_here"
            " test_cluster_target",
        ),
        code=("src/cd4ml/deployment/*.py", "src/cd4ml/deployment/targets/*.py"),
    ),
    "kubeflow": room("kubeflow", "kubeflow/*"),
    "cli": room(
        "cli",
        "test_progress test_plan_command test_run_page test_run_command test_serving_files test_local_cache"
        " test_pipeline_arguments test_schema_command test_machine test_datasets_command test_init test_records"
        " kubeflow/* test_help test_docs test_run_file test_deployments",
    ),
}


class RemoveStatement(Operator):
    """Does nothing where something is raised or called."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """The statements that raise, or that call and drop what comes back."""
        if node.type == "simple_stmt" and (
            node.children[0].type == "raise_stmt"
            or (node.children[0].type == "atom_expr" and node.children[0].children[-1].type == "trailer")
        ):
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002 (a statement has one place)
        """Puts `pass` in its place."""
        statement = node.children[0]
        node.children[0] = Keyword("pass", statement.start_pos, prefix=statement.get_first_leaf().prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """What it does."""
        return (Example("check(rows)\n", "pass\n"), Example("raise ValueError()\n", "pass\n"))


plugins.OPERATOR_PROVIDERS["cd4ml"] = {"RemoveStatement": RemoveStatement}


def main() -> int:
    """Prints what survived, and a table of the rooms; 1 where something did that is not listed as left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", default=",".join(ROOMS), help="names, with commas between them")
    parser.add_argument("--sample", type=int, default=20, help="how many places a room; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the bytecode of the tests is good for every broken line
    with tempfile.TemporaryDirectory(prefix="cd4ml-mutants-") as folder:
        clone(Path(folder))
        os.chdir(folder)
        os.environ["PYTHONPATH"] = f"{folder}/src"  # also of what a test starts elsewhere
        found = [survey(name, asked.sample, asked.seed) for name in asked.rooms.split(",")]
    say(
        f"{'room':<12}{'places':>8}{'broken':>8}{'killed':>8}{'hung':>6}{'left':>6}{'survived':>10}"
        "  killed of what is not left"
    )
    say("\n".join(one.line() for one in found))
    return 1 if any(one.survived for one in found) else 0


def clone(folder: Path) -> None:
    """The last commit, with the environments of the checkout, and bytecode of what nobody breaks."""
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, folder], check=True)  # noqa: S603, S607
    (folder / ".venvs").symlink_to(ROOT / ".venvs")
    subprocess.run([ROOT / ".venvs/tools/bin/python", "-m", "compileall", "-q", folder / "src"], check=True)  # noqa: S603


@dataclass
class Found:
    """What was seen in a room."""

    room: str
    places: int
    killed: int = 0
    hung: int = 0
    """Of the killed: no test failed, but they took too long."""
    left: int = 0
    survived: int = 0

    def line(self) -> str:
        """A row of the table: the share has Wilson's interval at 95 %."""
        judged, z = max(1, self.killed + self.survived), 1.96
        share, shrunk = self.killed / judged, 1 + z * z / judged
        middle = (share + z * z / (2 * judged)) / shrunk
        half = z * math.sqrt(share * (1 - share) / judged + (z / (2 * judged)) ** 2) / shrunk
        return (
            f"{self.room:<12}{self.places:>8}{self.killed + self.left + self.survived:>8}{self.killed:>8}{self.hung:>6}"
            f"{self.left:>6}{self.survived:>10}{share:>7.0%} [{middle - half:.0%}, {middle + half:.0%}]"
        )


def survey(name: str, sample: int, seed: int) -> Found:
    """Breaks the room `name` of the clone in as many places."""
    room, started = ROOMS[name], time.monotonic()
    tests = [str(path) for pattern in room.tests for path in sorted(Path().glob(pattern)) if path.match("test_*")]
    check_whole(name, tests)
    seconds, texts = time.monotonic() - started, {test: Path(test).read_text() for test in tests}
    places = found_places(room)
    dice = random.Random(seed)  # noqa: S311 (no secret)
    chosen = dice.sample(sorted(places), min(sample or len(places), len(places)))
    found, left = Found(name, len(places)), tomllib.loads(LEFT.read_text())
    say(f"{name}: {len(places)} places, {len(chosen)} of them are broken; all its tests take {seconds:.0f} s")
    for place in chosen:
        mutation = dice.choice(places[place])
        result = mutate_and_test([mutation], in_turns(mutation.module_path, texts), max(60, 4 * seconds))
        if result.test_outcome is TestOutcome.INCOMPETENT:
            sys.exit(f"{mutation.module_path}: {result.output}")
        if result.is_killed:
            found.killed += 1
            found.hung += result.output == "timeout"
        elif added(result.diff) in left.get(str(mutation.module_path), {}):
            found.left += 1
        else:
            found.survived += 1
            say(f"{mutation.module_path}:{mutation.start_pos[0]} {mutation.operator_name}\n{changed(result.diff)}\n")
    check_whole(name, tests)  # else all that came after what broke them counts as killed
    say(f"{found.line()}; {time.monotonic() - started:.0f} s\n")
    return found


def in_turns(module: Path, texts: Mapping[str, str]) -> str:
    """The command that tries a broken module: by the tests that name it most often, and by all others.

    Args:
        module: Its file.
        texts: Of the tests, by their paths.
    """
    name = module.parent.name if module.stem == "__init__" else module.stem
    nearest = sorted(texts, key=lambda test: -texts[test].count(name))
    turns = [" ".join([PYTEST, *some]) for some in (nearest[:NEAREST], nearest[NEAREST:]) if some]
    return shlex.join(["bash", "-c", " && ".join(turns)])


def check_whole(name: str, tests: list[str]) -> None:
    """Makes sure that the tests of a room pass where nothing is broken."""
    whole = subprocess.run([*PYTEST.split(), *tests], capture_output=True, text=True, check=False)  # noqa: S603
    if whole.returncode:
        sys.exit(f"{name}: the tests fail where nothing is broken:\n{whole.stdout}{whole.stderr}")


def found_places(room: Room) -> dict[tuple[str, Any, Any], list[MutationSpec]]:
    """By file, beginning and end of a place: the ways to break it."""
    modules = sorted({path for pattern in room.code for path in Path().glob(pattern)})
    database = WorkDB(":memory:", WorkDB.Mode.create)
    init(modules, database, {})
    places = defaultdict(list)
    lines = {path: path.read_text().splitlines() for path in modules}
    for item in database.work_items:
        [mutation] = item.mutations
        row, column = mutation.start_pos
        before, after = lines[mutation.module_path][row - 1][:column], lines[mutation.module_path][row - 1][column:]
        is_marker = after.startswith("*,")  # of what goes by keyword: for cosmic-ray a product
        if not SAME_OPERATORS.match(mutation.operator_name) and not before.endswith(SAME_AFTER) and not is_marker:
            places[str(mutation.module_path), mutation.start_pos, mutation.end_pos].append(mutation)
    return places


def changed(diff: str) -> str:
    """The lines that differ."""
    return "\n".join(line for line in diff.splitlines() if re.match(r"[-+](?![-+])", line))


def added(diff: str) -> str:
    """The line as it was broken, as `scripts/mutants_left.toml` names it."""
    return " ".join(line[1:].strip() for line in changed(diff).splitlines() if line[0] == "+")


def say(text: str) -> None:
    """Prints at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
