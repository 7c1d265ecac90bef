"""What one task writes another reads, whichever version of cd4ml wrote it; what cannot be read is one told error."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cd4ml.contracts import dataset, document, reference
from cd4ml.contracts.alerts import Alerts
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.deployment import Begun, Held, StepTaken, Stopped, Undone
from cd4ml.contracts.document import Document
from cd4ml.contracts.evaluation import ModelSummary, Summary
from cd4ml.contracts.findings import Findings
from cd4ml.contracts.late_labels import Labels
from cd4ml.contracts.learning import Learning, Lesson
from cd4ml.contracts.lineage import Lineage
from cd4ml.contracts.promotion import Promotion
from cd4ml.contracts.provenance import Provenance
from cd4ml.contracts.record import RunRecord, TaskNote
from cd4ml.contracts.release import DatasetReference, Deployment, Verification, Version
from cd4ml.contracts.retraining import Decided, Ended, Started
from cd4ml.contracts.verdict import Verdict
from cd4ml.contracts.window import Window
from cd4ml.contracts.window_drift import WindowDrift
from cd4ml.contracts.window_quality import WindowQuality
from cd4ml.errors import DocumentError

V1 = Path(__file__).parent / "v1"
KINDS: Mapping[str, type[Document]] = {
    "dataset.json": DatasetVersion,
    "findings.json": Findings,
    "summary.json": Summary,
    "verdict.json": Verdict,
    "version.json": Version,
    "deployment.json": Deployment,
    "verification.json": Verification,
    "begun.json": Begun,
    "step.json": StepTaken,
    "held.json": Held,
    "undone.json": Undone,
    "stopped.json": Stopped,
    "run.json": RunRecord,
    "task.json": TaskNote,
    "provenance.json": Provenance,
    "lineage.json": Lineage,
    "promotion.json": Promotion,
    "window_drift.json": WindowDrift,
    "alerts.json": Alerts,
    "window_quality.json": WindowQuality,
    "lesson.json": Lesson,
    "learning.json": Learning,
    "window.json": Window,
    "labels.json": Labels,
    "decided.json": Decided,
    "started.json": Started,
    "ended.json": Ended,
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.kind)

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FINITE = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
few = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(
    Mapping,
    lambda kind: st.dictionaries(
        *(FINITE if part is Any else st.from_type(part) for part in get_args(kind)), max_size=2
    ),
)

st.register_type_strategy(
    Summary,
    st.builds(
        Summary,
        models=st.builds(
            lambda others, candidate: {**others, "candidate": candidate},
            st.from_type(Mapping[str, ModelSummary]),
            st.from_type(ModelSummary),
        ),
    ),
)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_the_first_version_is_read_with_all_that_is_in_it(name: str) -> None:
    found = json.loads(KINDS[name].read(V1 / name).text)

    old = json.loads((V1 / name).read_text())
    if name == "version.json":
        old["dataset"] = {part: old.pop(key) for part, key in PARTS_OF_THE_DATASET.items()}
    if name == "verdict.json":
        for check in old["checks"]:
            check["outcome"] = "passed" if check.pop("passed") else "failed"
    if name == "findings.json":
        for finding in old["findings"]:
            finding["interval"] = None
    assert {field: found[field] for field in old} == old


PARTS_OF_THE_DATASET = {"name": "dataset", "version": "dataset_version", "digest": "dataset_digest"}


def test_every_file_that_was_kept_is_read() -> None:
    assert {file.name for file in V1.iterdir()} == KINDS.keys()


@pytest.mark.parametrize(
    ("name", "headline"),
    {
        "dataset.json": "200,000 rows, version 0",
        "findings.json": "no anomalies, 3 warnings",
        "verdict.json": "12 of 12 limits kept",
        "version.json": "version 1",
        "verification.json": "100 rows as evaluated, p50 4.6 ms",
        "begun.json": "version 1 to machine by replace, for run training-20261125-201516",
        "step.json": "verify: 100 rows as evaluated, p50 3.3 ms",
        "held.json": "http://127.0.0.1:9500/api/v1.0/predictions",
        "undone.json": "its process was killed",
        "run.json": "version 1, deployed",
        "task.json": "",
        "window_drift.json": "1 change, as drift of age in version 1",
        "alerts.json": "1 alert, 1 acknowledged",
        "window_quality.json": "AUC 0.830 (estimated 0.840)",
        "lesson.json": "570 rows of 2 windows",
        "learning.json": "loss 0.4209 before each row taught, 0.462 of version 3",
        "window.json": "998 rows, 50% labelled",
        "labels.json": "499 labels by player_id",
        "decided.json": "yes: quality failed in the last 2 windows",
    }.items(),
)
def test_the_headline_of_a_document_is_the_figure_that_a_person_looks_for(name: str, headline: str) -> None:
    found = KINDS[name].read(V1 / name)

    assert (found.headline, found.metadata["headline"]) == (headline, headline)


@pytest.mark.parametrize(
    ("ended", "headline"),
    [
        ({"endpoint": ""}, "version 1"),
        ({"published": 0, "endpoint": ""}, "version 0"),
        ({"published": None, "failure": "check_model: 1 limit not kept\n  - auc"}, "check_model: 1 limit not kept"),
    ],
)
def test_the_headline_of_a_run_is_what_it_made_or_why_it_did_not(ended: dict[str, Any], headline: str) -> None:
    assert dataclasses.replace(RunRecord.read(V1 / "run.json"), **ended).headline == headline


def test_the_ui_has_each_field_of_a_document_by_its_name() -> None:
    fields = json.loads((V1 / "verification.json").read_text())
    verification = Verification.read(V1 / "verification.json")

    assert verification.metadata == {"headline": verification.headline, **fields}
    assert verification.metrics == {name: fields[name] for name in ("p50_ms", "p99_ms", "max_difference")}
    assert Verdict.read(V1 / "verdict.json").metrics == {}


def test_the_ui_has_the_dataset_of_a_version_by_names_of_its_own_and_no_long_fields() -> None:
    old = json.loads((V1 / "version.json").read_text())

    metadata = dataclasses.replace(
        Version.read(V1 / "version.json"), locks={"tools": "sha256:l"}, arguments={"seed": 1}, image="tools:1"
    ).metadata

    assert metadata == {"headline": "version 1", **old, "image": "tools:1", "champion": ""}


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (["name"], "name: Input should be a valid string, not 1"),
        (
            ["name", "run", "at"],
            "; ".join(f"{one}: Input should be a valid string, not 1" for one in ("name", "run", "at")),
        ),
        (["name", "run", "at", "target"], "target: Input should be a valid string, not 1; and 1 more"),
        (["name", "run", "at", "target", "strategy"], "target: Input should be a valid string, not 1; and 2 more"),
    ],
)
def test_three_mistakes_of_a_document_are_told_and_of_more_it_is_said_how_many(broken: list[str], told: str) -> None:
    content = json.loads((V1 / "begun.json").read_text()) | dict.fromkeys(broken, 1)

    with pytest.raises(DocumentError) as refused:
        Begun.parse(json.dumps(content), "here")

    said = str(refused.value)
    assert said.startswith("here: not a cd4ml/DeploymentBegun (name: ")
    assert said.endswith(f"{told}); {Begun.remedy}")
    assert said.count("Input should be") == min(len(broken), 3)


def test_what_an_upgrade_misses_is_told_by_its_name() -> None:
    old = json.loads((V1 / "version.json").read_text())
    del old["dataset_version"]

    with pytest.raises(DocumentError, match=r"^here: not a cd4ml/Version \(KeyError: 'dataset_version'\); put back"):
        Version.parse(json.dumps(old), "here")


def test_a_digest_tells_files_and_folders_from_each_other(tmp_path: Path) -> None:
    def made(name: str, **files: str) -> str:
        for file, content in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(content)
        return document.digest(tmp_path / name)

    folder = made("a", x="1", y="2")
    assert folder.startswith("sha256:")
    assert made("b", y="2", x="1") == folder
    assert len({folder, made("c", x="1"), made("d", x="2", y="1"), made("e", x="1", z="2")}) == 4
    assert document.digest(tmp_path / "a" / "x") == document.digest(tmp_path / "b" / "x")
    assert document.digest(tmp_path / "a" / "x") != document.digest(tmp_path / "a" / "y")


@every_kind
@few
@given(data=st.data())
def test_every_document_reads_back_as_it_was_written(kind: type[Document], data: st.DataObject) -> None:
    written = data.draw(st.from_type(kind))

    assert kind.parse(written.text, "here") == written


@every_kind
@few
@given(content=JSON)
def test_what_is_no_such_document_is_one_error_that_names_the_file(kind: type[Document], content: Any) -> None:
    with pytest.raises(DocumentError, match=f"^here: not a {kind.kind} .*; {kind.remedy}$"):
        kind.parse(json.dumps(content), "here")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda text: text[:0], id="empty"),
        pytest.param(lambda text: text[: len(text) // 2], id="half"),
        pytest.param(lambda text: text.encode() + b"\xff", id="no text"),
        pytest.param(lambda text: "[" * 100_000 + text, id="too deep"),
        pytest.param(lambda text: changed(text, lambda one: one.popitem()), id="a field fewer"),
        pytest.param(lambda text: changed(text, lambda one: one.update({next(iter(one)): [1]})), id="a wrong type"),
        pytest.param(lambda text: changed(text, lambda one: one.update(kind="cd4ml/Other")), id="another kind"),
        pytest.param(lambda text: changed(text, lambda one: one.update(schema_version="2")), id="no number"),
        pytest.param(lambda text: changed(text, lambda one: one.update(schema_version=0)), id="no version"),
    ],
)
def test_a_broken_file_is_one_error_that_names_it_and_says_what_to_do(
    tmp_path: Path, name: str, broken: Callable[[str], str | bytes]
) -> None:
    kind, file = KINDS[name], tmp_path / name
    text = broken(REQUIRED[name])
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(DocumentError) as refused:
        kind.read(file)

    assert str(refused.value).startswith(f"{file}: not a {kind.kind} (")
    assert str(refused.value).endswith(f"; {kind.remedy}")


def changed(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(text)
    change(content)
    return json.dumps(content)


def _required(name: str) -> str:
    """A file of the first version without what has a default."""
    optional = [
        field.name
        for field in dataclasses.fields(KINDS[name])  # type: ignore[arg-type]
        if (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
    ]
    content = json.loads((V1 / name).read_text())
    return json.dumps({key: value for key, value in content.items() if key not in (*optional, "passed", "row_by_row")})


REQUIRED = {name: _required(name) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_fields_that_a_newer_cd4ml_adds_are_passed_over(name: str) -> None:
    kind = KINDS[name]
    known = kind.read(V1 / name)

    assert kind.parse(changed(known.text, lambda one: one.update(added={"later": 1})), "here") == known


@every_kind
def test_a_newer_layout_is_refused_and_says_what_reads_it(kind: type[Document]) -> None:
    newer = json.dumps({"kind": kind.kind, "schema_version": kind.schema_version + 1})

    with pytest.raises(DocumentError, match=f"^here: a {kind.kind} of schema version .*; use the cd4ml that wrote it"):
        kind.parse(newer, "here")


@every_kind
def test_a_file_that_is_not_there_says_what_to_do(tmp_path: Path, kind: type[Document]) -> None:
    with pytest.raises(DocumentError, match=f"missing: cannot be read .*; {kind.remedy}"):
        kind.read(tmp_path / "missing")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "version.json"
    first = Version("uptake", 1, "sha256:m", "2026-01-01", "run-1", "", DatasetReference("players", 0, "sha256:d"))
    first.write(file)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        dataclasses.replace(first, version=2).write(file)

    assert [child.name for child in file.parent.iterdir()] == ["version.json"]
    assert Version.read(file) == first


def test_a_summary_of_no_candidate_is_told() -> None:
    content = json.loads((V1 / "summary.json").read_text())
    content["models"]["other"] = content["models"].pop("candidate")

    with pytest.raises(DocumentError) as refused:
        Summary.parse(json.dumps(content), "evaluation/summary.json")

    assert str(refused.value) == (
        "evaluation/summary.json: not a cd4ml/Summary (it has no candidate among its models); run evaluate_model again"
    )


@pytest.mark.parametrize(
    ("stamped", "said"),
    [
        (b"{", "Expecting property name"),
        (b"[]", "it is [], not an object"),
        (b'{"dataset": "players"}', "version: Field required"),
        (b'{"dataset": "players", "version": "1", "digest": ""}', "version: Input should be a valid integer"),
        (b"\xff", "utf-8"),
    ],
)
def test_a_split_whose_origin_is_damaged_is_told(stamped: bytes, said: str) -> None:
    schema = pa.schema([pa.field("player", pa.string())], metadata={dataset.METADATA_KEY: stamped})

    with pytest.raises(DocumentError) as refused:
        dataset.read(schema, "splits/train")

    assert said in str(refused.value)
    assert str(refused.value).startswith("splits/train: not a cd4ml/Origin (")
    assert str(refused.value).endswith("run split_dataset again")


def test_an_origin_of_a_newer_version_is_read() -> None:
    stamped = b'{"dataset": "players", "version": 1, "digest": "sha256:a", "newer": 1}'

    found = dataset.read(pa.schema([], metadata={dataset.METADATA_KEY: stamped}), "splits/train")

    assert found == dataset.Origin("players", 1, "sha256:a")


def test_a_split_is_stamped_with_its_origin_and_another_file_has_none() -> None:
    origin, plain = dataset.Origin("players", 1, "sha256:a"), pa.schema([pa.field("player", pa.string())])

    assert dataset.read(dataset.stamp(plain, origin), "splits/train") == origin
    assert dataset.read(plain, "splits/train") is None
    assert dataset.read(plain.with_metadata({"of": "another program"}), "splits/train") is None


def test_a_sample_is_stamped_with_what_it_was_drawn_from_and_another_file_is_told() -> None:
    sample = reference.Reference("players", 3, "train", rows=1000, drawn=10, patterns=("id",), left_out={"a": "empty"})
    plain = pa.schema([pa.field("player", pa.string())])

    assert reference.read(reference.stamp(plain, sample), "reference.parquet") == sample
    assert sample.name == "train of version 3"
    for other in (plain, plain.with_metadata({"of": "another program"})):
        with pytest.raises(DocumentError, match=r"^reference.parquet: not a cd4ml/Reference \(.*; train and publish"):
            reference.read(other, "reference.parquet")
