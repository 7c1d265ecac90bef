"""What is reused of an earlier run is what its task wrote, else the task runs again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp import dsl

from cd4ml.cli import asked
from cd4ml.running.cache import Cache
from cd4ml.running.local import code_digest


@pytest.fixture
def outputs(tmp_path: Path) -> dict[str, object]:
    """Of a task: a folder, a file, metrics, which have none, and a number."""
    (tmp_path / "model" / "saved").mkdir(parents=True)
    (tmp_path / "model" / "saved" / "weights").write_text("1.0")
    (tmp_path / "model" / "contract.json").write_text("{}")
    (tmp_path / "verdict").write_text("passed")
    return {
        "model": dsl.Model(uri=str(tmp_path / "model")),
        "verdict": dsl.Artifact(uri=str(tmp_path / "verdict"), metadata={"headline": "12 of 12"}),
        "metrics": dsl.Metrics(uri=str(tmp_path / "metrics"), metadata={"auc": 0.8}),
        "version": 3,
    }


def test_what_a_task_wrote_is_reused(tmp_path: Path, outputs: dict[str, object]) -> None:
    Cache(str(tmp_path / "cache")).put("key", outputs)

    found = Cache(str(tmp_path / "cache")).get("key")

    assert found is not None
    assert found["version"] == 3
    assert found["verdict"].metadata == {"headline": "12 of 12"}
    assert found["metrics"].metadata == {"auc": 0.8}
    assert Cache(str(tmp_path / "cache")).get("another") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "verdict").write_text("passet"),
        lambda folder: (folder / "metrics").write_text('{"auc": 0.9}'),
        lambda folder: (folder / "model" / "saved" / "weights").write_text("2.0"),
        lambda folder: (folder / "model" / "saved" / "weights").unlink(),
        lambda folder: (folder / "model" / "saved" / "weights").rename(folder / "model" / "saved" / "others"),
        lambda folder: (folder / "model" / "more").write_text(""),
        lambda folder: shutil.rmtree(folder / "model"),
        lambda folder: (folder / "verdict").unlink(),
        lambda folder: edit(folder / "cache" / "key.json", '"version": 3', '"version": 4'),
        lambda folder: edit(folder / "cache" / "key.json", "12 of 12", "99 of 99"),
    ],
)
def test_what_was_lost_or_edited_since_is_not_reused(
    tmp_path: Path, outputs: dict[str, object], change: Callable[[Path], object]
) -> None:
    cache = Cache(str(tmp_path / "cache"))
    cache.put("key", outputs)

    change(tmp_path)

    assert cache.get("key") is None


def edit(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize("file", ["key.json", "key.digests.json"])
@pytest.mark.parametrize("damaged", [b"", b'{"model": "sha2', b"\xff", b"[]", b"null", b"3", b"{}", b"[" * 100_000])
def test_what_was_damaged_or_kept_on_a_full_disk_is_not_reused(
    tmp_path: Path, outputs: dict[str, object], file: str, damaged: bytes
) -> None:
    cache = Cache(str(tmp_path / "cache"))
    cache.put("key", outputs)

    (tmp_path / "cache" / file).write_bytes(damaged)

    assert cache.get("key") is None


def test_a_task_that_wrote_no_file_for_an_artifact_runs_again(tmp_path: Path, outputs: dict[str, object]) -> None:
    cache = Cache(str(tmp_path / "cache"))
    cache.put("key", {**outputs, "page": dsl.HTML(uri=str(tmp_path / "page"))})

    assert cache.get("key") is None


def test_another_state_of_a_package_that_adds_to_cd4ml_is_another_question(
    installed: Callable[[str, str, str], Path],
) -> None:
    asked_of = asked.pipeline("verification")
    before = code_digest(asked_of, {})

    installed("others", "x = 1", "[others.things]\nx = others:x\n")
    of_others = code_digest(asked_of, {})
    folder = installed("acme", "x = 1", "[cd4ml.sources]\nx = acme:x\n")
    with_it = code_digest(asked_of, {})
    (folder / "acme.py").write_text("x = 2")
    changed = code_digest(asked_of, {})

    assert of_others == before
    assert len({before, with_it, changed}) == 3


def test_a_package_that_is_edited_in_place_is_another_question_too(
    tmp_path: Path, installed: Callable[[str, str, str], Path]
) -> None:
    asked_of = asked.pipeline("verification")
    folder = installed("acme", "", "[cd4ml.sources]\nx = acme_code:x\n")
    (tmp_path / "code of acme").mkdir()
    (tmp_path / "code of acme" / "acme_code.py").write_text("x = 1")
    origin = {"url": (tmp_path / "code of acme").as_uri(), "dir_info": {"editable": True}}
    (folder / "acme-1.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    before = code_digest(asked_of, {})

    (tmp_path / "code of acme" / "acme_code.py").write_text("x = 2")

    assert code_digest(asked_of, {}) != before


def test_a_package_whose_function_trains_the_model_is_another_question_too(
    installed: Callable[[str, str, str], Path],
) -> None:
    asked_of = asked.pipeline("training")
    folder = installed("acme", "def wide(job): pass", "")
    arguments = {"candidate": {"function": "acme:wide"}, "baseline": {"model": "linear"}}
    before = code_digest(asked_of, arguments)
    of_others = code_digest(asked_of, {})

    (folder / "acme.py").write_text("def wide(job): return None")

    assert code_digest(asked_of, arguments) != before
    assert code_digest(asked_of, {}) == of_others
