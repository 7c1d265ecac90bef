"""The catalogue in the store, as the tasks of runs keep it."""

import logging
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_server import S3Server

from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.findings import Finding, Findings
from cd4ml.contracts.release import DatasetReference, Version
from cd4ml.data import cataloguing
from cd4ml.data.ingest import ingest
from cd4ml.data.versions import Datasets
from cd4ml.errors import GateError, StorageError
from cd4ml.registry import catalogue
from cd4ml.storage import open_store
from cd4ml.validation import gate

JUNE = {"player": ["p1", "p2"], "spend": [1.5, 2.0]}
JULY = {**JUNE, "region": ["north", "south"]}


class Place:
    """A store, and what tasks do with it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, str(folder / "store")

    def take(self, name: str, content: dict[str, Any], **how: Any) -> DatasetVersion:
        pq.write_table(pa.table(content), self.folder / f"{name}.parquet")
        source = str(self.folder / f"{name}.parquet")
        return ingest(source, store=self.store, name=name, key="player", mode="replace", **how)

    def judge(self, about: DatasetVersion, *findings: Finding) -> None:
        about.write(self.folder / "dataset")
        found = Findings(about.name, about.version, about.digest, "took", "true", 0.5, {"train": 9}, (), findings)
        found.write(self.folder / "findings")
        gate.judge(
            self.folder / "findings",
            {},
            dataset=self.folder / "dataset",
            store=self.store,
            file=self.folder / "verdict",
        )

    def publish(self, about: DatasetVersion, name: str = "uptake", version: int = 1) -> None:
        catalogue.published(self.store, published(about, name, version))

    def page(self, name: str) -> str:
        return open_store(self.store).read(f"catalogue/datasets/{name}.html")

    def index(self) -> str:
        return open_store(self.store).read("catalogue/index.html")

    def rows(self, name: str) -> list[str]:
        """The rows of the versions on a page, in words."""
        table = self.page(name).partition("<tbody>")[2].partition("</tbody>")[0]
        return [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in table.split("</tr>")[:-1]]


def published(about: DatasetVersion, name: str, version: int) -> Version:
    return Version(name, version, "sha256:m", "2026-01-01", "a", "", DatasetReference(about.name, about.version, "d"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_dataset_has_a_page_that_the_index_names(place: Place) -> None:
    place.take("players", JUNE, owner="growth & co")
    place.take("players", JULY, owner="growth & co", columns={"region": "drop"})
    place.take("parcels", JUNE)

    assert '<a href="datasets/players.html">players</a></td><td>growth &amp; co</td><td>player, spend' in place.index()
    assert "2 datasets in the store" in place.index()
    assert [row.split()[0] for row in place.rows("players")] == ["0"]
    assert "growth &amp; co answers for it" in place.page("players")


def test_a_page_says_what_each_version_is_and_what_stands_on_it(place: Place) -> None:
    june = place.take("players", JUNE, run="june-run")
    place.judge(june)
    place.publish(june)
    place.publish(june, "risk", 7)
    july = place.take("players", JULY, run="july-run")
    with pytest.raises(GateError):
        place.judge(july, Finding("anomaly", "error", "train", "region", None, "a new value"))

    newest, oldest = place.rows("players")
    assert newest.startswith("1 latest 20")
    assert "2 replace failed july-run" in newest
    assert oldest.startswith("0 20")
    assert "2 replace passed risk 7, uptake 1 june-run" in oldest
    assert "<code>region</code>" in place.page("players")
    assert "anomalies: 1 found, 0 allowed: a new value" in place.page("players")


def test_what_a_person_changes_is_shown(place: Place) -> None:
    place.take("players", JUNE)
    place.take("players", JULY)
    dataset = Datasets(open_store(place.store)).find("players")

    dataset.restore("0")
    dataset.tag("audited", "0")

    newest, oldest = place.rows("players")
    assert not newest.startswith("1 latest")
    assert oldest.startswith("0 latest")
    assert "replace audited" in oldest


def test_a_run_goes_on_where_the_catalogue_cannot_be_written(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    Path(place.store).mkdir()
    (Path(place.store) / "catalogue").write_text("in the way")

    with caplog.at_level(logging.WARNING):
        assert place.take("players", JUNE).version == 0

    assert "the catalogue could not be written (StorageError: " in caplog.text


def test_many_at_once_lose_nothing(place: Place) -> None:
    names = [f"players-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda name: place.take(name, JUNE), names))
        list(pool.map(lambda version: place.publish(taken[0], "uptake", version), range(1, 9)))

    assert re.findall(r">(players-\d)</a>", place.index()) == names
    (row,) = place.rows(names[0])
    assert all(f"uptake {version}" in row for version in range(1, 9))


def test_what_comes_while_a_page_is_made_is_on_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    about = place.take("players", JUNE)
    made, late = catalogue.page.text, ["risk"]

    def slowly(*args: Any, **given: Any) -> str:
        text = made(*args, **given)
        if late:
            place.publish(about, late.pop())
        return text

    monkeypatch.setattr(catalogue.page, "text", slowly)
    place.publish(about, "uptake")

    (row,) = place.rows("players")
    assert "risk 1, uptake 1" in row


def test_what_a_task_reads_does_not_grow_with_other_datasets_versions_and_models(s3: S3Server) -> None:
    def about(name: str, version: int) -> DatasetVersion:
        return DatasetVersion(
            name, f"s3://cd4ml/datasets/{name}", version, 2, "sha256:d", arrived="2026-01-01T00:00:00Z"
        )

    def asked(version: int) -> tuple[int, int]:
        s3.read = s3.listed = 0
        catalogue.came("s3://cd4ml", about("players", version), {"player": "string"})
        return s3.read, s3.listed

    few = [asked(0), asked(1), asked(1)][-1]
    for number in range(20):
        catalogue.came("s3://cd4ml", about(f"other-{number}", 0), {"player": "string"})
        catalogue.published("s3://cd4ml", published(about("other-0", 0), "uptake", number))
        open_store("s3://cd4ml").add(f"runs/training/{number}/summary.json", "{}")

    assert asked(1) == few
    many = 2 * catalogue.MOST
    for version in range(2, many):
        catalogue.keep(open_store("s3://cd4ml"), catalogue.Catalogued(about("players", version), {}))
    assert asked(many)[0] <= few[0] + catalogue.MOST


def test_a_verdict_that_says_the_same_again_writes_nothing(place: Place) -> None:
    june = place.take("players", JUNE)
    place.judge(june)
    page = Path(place.store) / "catalogue/datasets/players.html"
    page.write_text("untouched")

    place.judge(june)

    assert page.read_text() == "untouched"


def test_no_value_stands_in_it(place: Place, tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("id,code\n1,0042\n2,0077\n")
    found = ingest(str(tmp_path / "codes.csv"), store=place.store, name="codes", key="id")

    assert any("'####'" in line for line in found.said)
    files = [file for file in (Path(place.store) / "catalogue").rglob("*") if file.is_file()]
    assert len(files) == 3
    assert not [file for file in files if "0042" in file.read_text() or "####" in file.read_text()]


def test_it_is_made_anew_of_what_the_store_holds(place: Place) -> None:
    place.take("players", JUNE)
    place.take("players", JULY)
    place.take("parcels", JUNE)
    before = place.index(), place.rows("players"), place.rows("parcels")
    shutil.rmtree(Path(place.store) / "catalogue")

    written = cataloguing.write(open_store(place.store))

    assert written == f"{place.store}/catalogue/index.html"
    assert (place.index(), place.rows("players"), place.rows("parcels")) == before


def test_nothing_else_in_the_store_is_ever_replaced(place: Place) -> None:
    with pytest.raises(StorageError, match="'models/uptake/1.json': what is stored never changes"):
        open_store(place.store).replace("models/uptake/1.json", "another")
