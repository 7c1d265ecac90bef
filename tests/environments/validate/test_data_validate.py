import hashlib
import importlib.util
import json
import re
from dataclasses import fields, replace
from html import unescape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from cd4ml.contracts import findings
from cd4ml.contracts.dataset import Masked, Origin, stamp
from cd4ml.contracts.provenance import Provenance, RowChanges
from cd4ml.errors import DataError
from cd4ml.reports import page
from cd4ml.validation import columns, figures, outliers, personal, schema
from cd4ml.validation.gate import check
from cd4ml.validation.quiet_tfdv import tfdv
from cd4ml.validation.validate import Outputs, validate

ROWS = 3000
SPLITS = {"train": slice(0, 2000), "eval": slice(2000, 2500), "test": slice(2500, ROWS)}


def players(**changed):
    """A table without anything to find, save for what is changed: a column by its name."""
    random = np.random.default_rng(5)
    columns = {
        "player": [f"p{number:05}" for number in range(ROWS)],
        "offered_at": pa.array(np.arange(ROWS) * 10**9, pa.timestamp("us", tz="UTC")),
        "region": random.choice(["north", "south", "west"], ROWS),
        "age": pa.array(random.integers(15, 80, ROWS), mask=random.random(ROWS) < 0.1),
        "spend": random.gamma(2, 10, ROWS),
        "newsletter": pa.array(random.random(ROWS) < 0.3, mask=random.random(ROWS) < 0.1),
        "took": random.random(ROWS) < 0.4,
    }
    return pa.table({**columns, **changed})


UNKNOWN = Provenance("", "")


class Validation:
    """What one validation wrote."""

    def __init__(self, folder):
        names = ("statistics", "schema", "anomalies", "findings", "reference", "report")
        self.outputs = Outputs(**{name: folder / name for name in names})
        self.folder = folder

    def __call__(
        self,
        table,
        label="took",
        key="player",
        curated_schema="",
        sensitive=(),
        slices=(),
        masked=(),
        provenance=UNKNOWN,
        **others,
    ):
        origin = Origin("players", 4, "sha256:abc", masked)
        files = {}
        for split, rows in SPLITS.items():
            files[split] = self.folder / split
            part = table.slice(rows.start, rows.stop - rows.start)
            pq.write_table(part.cast(stamp(part.schema, origin)), files[split])
        curated = self.folder / "curated.pbtxt"
        curated.write_text(curated_schema)
        provenance.write(self.folder / "provenance")
        before = self.folder / "before"
        if not before.exists():
            before.write_bytes(b"")
        self.found = validate(
            files,
            label_column=label,
            key=key,
            curated_schema=curated,
            before=before,
            provenance=self.folder / "provenance",
            sensitive=sensitive,
            slices=slices,
            outputs=self.outputs,
            **others,
        )
        return self.found

    @property
    def report(self):
        return self.outputs.report.read_text()


@pytest.fixture
def validation(tmp_path):
    return Validation(tmp_path)


def messages(found):
    return [finding.message for finding in found.findings]


def test_a_clean_dataset_has_no_findings(validation):
    found = validation(players(), sensitive=["region"], slices=["age", ["region", "newsletter"]])

    assert messages(found) == []
    assert found.metadata["headline"] == "no anomalies"
    assert (found.dataset, found.version, found.digest) == ("players", 4, "sha256:abc")
    assert found.rows == {"train": 2000, "eval": 500, "test": 500}
    assert findings.Findings.read(validation.outputs.findings) == found
    assert '<div class="verdict passed">' in validation.report


def test_the_statistics_are_those_of_tfdv(validation):
    table = players().drop(["offered_at"])
    validation(table)
    frame = table.slice(0, 2000).to_pandas(integer_object_nulls=True)
    frame["age"] = frame["age"].astype("float64")
    frame["newsletter"] = frame["newsletter"].astype("float64")

    expected = tfdv.generate_statistics_from_dataframe(frame, tfdv.StatsOptions(num_histogram_buckets=100))
    written = tfdv.load_stats_binary(str(validation.outputs.statistics / "train.pb"))

    assert written.datasets[0].name == "train"
    assert written.datasets[0].num_examples == 2000
    theirs = {feature.path.step[0]: feature for feature in expected.datasets[0].features}
    for feature in written.datasets[0].features:
        other = theirs[feature.path.step[0]]
        if feature.path.step[0] in ("age", "newsletter"):  # pandas has no whole numbers beside missing ones
            other.type = feature.type
        if feature.path.step[0] == "player":
            # Of over a thousand values TFDV lists some by a sketch: which ones differs between two of its own runs.
            for one in (feature, other):
                one.string_stats.ClearField("rank_histogram")
                one.string_stats.ClearField("top_values")
        assert feature == other


def test_a_runner_of_beam_finds_the_same(validation):
    here = validation(players())
    statistics_here = {file.name: file.read_bytes() for file in validation.outputs.statistics.iterdir()}

    on_beam = validation(players(), runner=["DirectRunner"])

    assert on_beam == here
    assert {file.name: file.read_bytes() for file in validation.outputs.statistics.iterdir()} == statistics_here


def test_the_inferred_schema_knows_types_values_and_that_numbers_are_finite(validation):
    validation(players())

    features = {feature.name: feature for feature in tfdv.load_schema_text(str(validation.outputs.schema)).feature}
    assert features["region"].domain == "region"
    assert features["newsletter"].HasField("bool_domain")
    assert features["spend"].float_domain.disallow_inf
    assert features["spend"].presence.min_fraction == 1


def test_a_key_of_few_values_has_no_list_of_known_ones(validation):
    table = players(player=[f"p{number % 20}" for number in range(ROWS)])
    assert messages(validation(table.set_column(0, "player", [[f"p{n // 100}" for n in range(ROWS)]]))) == []


def test_infinity_is_an_anomaly(validation):
    spend = players()["spend"].to_numpy().copy()
    spend[2100] = np.inf

    (finding,) = validation(players(spend=spend)).findings

    assert (finding.kind, finding.severity, finding.split, finding.column) == ("anomaly", "error", "eval", "spend")
    assert "Float feature has Inf values" in finding.message
    assert tfdv.load_anomalies_text(str(validation.outputs.anomalies / "eval.pbtxt")).anomaly_info["spend"]
    assert '<div class="verdict failed">' in validation.report


def test_infinity_in_the_train_split_is_an_anomaly(validation):
    spend = players()["spend"].to_numpy().copy()
    spend[:2] = np.inf, -np.inf

    assert [finding.split for finding in validation(players(spend=spend)).findings] == ["train"]


@pytest.mark.parametrize(("strays", "anomalies"), [(2, 0), (50, 1)])
def test_new_values_are_an_anomaly_when_they_are_more_than_strays(validation, strays, anomalies):
    region = players()["region"].to_pylist()
    region[2000 : 2000 + strays] = ["atlantis"] * strays

    assert len(validation(players(region=region)).of_kind("anomaly")) == anomalies


def test_values_that_chance_keeps_out_of_train_are_no_anomaly(validation):
    random = np.random.default_rng(2)
    cabin = pa.array([f"C{number}" for number in random.integers(0, 99, ROWS)], mask=random.random(ROWS) < 0.94)

    assert messages(validation(players().append_column("cabin", cabin))) == []


def test_a_value_of_many_rows_is_an_anomaly_beside_values_that_chance_keeps_out_of_train(validation):
    random = np.random.default_rng(2)
    cabin = [f"C{number}" for number in random.integers(0, 99, ROWS)]
    cabin[2500:2700] = ["D1"] * 200

    (finding,) = validation(players().append_column("cabin", pa.array(cabin))).of_kind("anomaly")

    assert (finding.split, finding.column) == ("test", "cabin")


@pytest.mark.parametrize(("missing", "anomalies"), [(1, 0), (4, 0), (50, 1)])
@pytest.mark.parametrize("column", ["spend", "region"])
def test_missing_values_are_an_anomaly_when_they_are_more_than_chance_keeps_out_of_train(
    validation, column, missing, anomalies
):
    values = players()[column].to_pylist()
    values[2100 : 2100 + missing] = [None] * missing

    assert len(validation(players(**{column: values})).of_kind("anomaly")) == anomalies


def test_a_curated_schema_is_held_against_every_split(validation):
    validation(players())
    curated = tfdv.load_schema_text(str(validation.outputs.schema))
    tfdv.get_domain(curated, "region").value.remove("south")
    tfdv.get_feature(curated, "region").distribution_constraints.min_domain_mass = 1

    found = validation(players(), curated_schema=text_format.MessageToString(curated))

    assert [(finding.split, finding.column) for finding in found.findings] == [
        (split, "region") for split in ("train", "eval", "test")
    ]
    assert tfdv.load_schema_text(str(validation.outputs.schema)) == curated


def test_a_curated_schema_that_is_none_says_where_it_breaks():
    with pytest.raises(DataError, match="curated_schema: not a TFDV schema as text proto .1:1"):
        schema.parse("feture { name: 7")


def test_a_curated_schema_that_is_none_is_told_before_any_worker_starts(validation):
    with pytest.raises(DataError, match="schema"):
        validation(players(), curated_schema="feature {", runner=["FlonkRunner"])


def test_a_label_that_is_absent_names_the_nearest(validation):
    with pytest.raises(DataError, match="no label column 'tok'; did you mean 'took'"):
        validation(players(), label="tok")


def test_columns_that_are_absent_are_named_together(validation):
    with pytest.raises(DataError, match=r"(?s)'regoin'; did you mean 'region'.*'gender'; there are player"):
        validation(players(), sensitive=["regoin"], slices=[["gender", "age"]])


@pytest.mark.parametrize(
    ("values", "positive"),
    [([True, False], "true"), ([1, 0], "1"), ([0.0, 1.0], "1"), (["no", "yes"], "yes")],
)
def test_two_classes_are_taken_and_the_positive_one_is_told(validation, values, positive):
    found = validation(players(took=values * (ROWS // 2)))

    assert messages(found) == []
    assert (found.positive, found.label_rate) == (positive, 0.5)
    assert f"<code>{positive}</code> counts as positive" in validation.report


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3, 4], "'3', '4' do not say which one is to be predicted"),
        (["legit", "fraud"], "'fraud', 'legit' do not say which one is to be predicted"),
        ([0.5, 0.7], "the numbers are 0.5, 0.7"),
        (["no", "yes", "?"], "'no' and 'yes' are two classes, but there are 3 values"),
        ([1.0, -np.inf], "every row is '1', so there is nothing to tell apart"),
        ([0.0, 1e300], "give 0 and 1, booleans, or two words"),
        ([True], "every row is 'true', so there is nothing to tell apart"),
        ([None], "no row has one; name another column, or fill it in"),
    ],
)
def test_another_label_is_an_error_in_the_report(validation, values, message):
    found = validation(players(took=(values * ROWS)[:ROWS]), slices=["region"])

    (finding,) = found.of_kind("label")
    assert finding.severity == "error"
    assert message in finding.message
    assert found.label_rate is None
    assert found.problem == ""
    assert message.replace("'", "&#39;") in validation.report


def test_a_moment_is_no_label(validation):
    (finding,) = validation(players(), label="offered_at").findings
    assert "label 'offered_at': timestamp[us, tz=UTC] cannot be a label" in finding.message


def test_the_positive_class_can_be_named(validation):
    found = validation(players(took=["legit", "legit", "fraud"] * (ROWS // 3)), positive="legit")

    assert (found.positive, found.label_rate) == ("legit", pytest.approx(2 / 3))


def test_a_split_of_one_class_and_rows_without_label_are_errors(validation):
    took = [True, False] * (ROWS // 2)
    took[2500:] = [False] * 500
    took[:3] = [None] * 3

    found = validation(players(took=took))

    assert [(finding.split, finding.value) for finding in found.of_kind("label")] == [("train", 3), ("test", 1)]


def test_rows_of_an_infinite_label_are_an_error(validation):
    found = validation(players(took=[np.inf, *[0.0, 1.0] * (ROWS // 2)][:ROWS]))

    (finding,) = found.of_kind("label")
    assert finding.message == "train: 1 of 2,000 rows have an infinite label 'took'; drop them from the source"
    assert (found.problem, found.positive) == ("binary", "1")


def test_a_rare_class_is_a_warning(validation):
    (finding,) = validation(players(took=[number % 50 == 0 for number in range(ROWS)])).findings

    assert (finding.kind, finding.severity) == ("label_balance", "warning")
    assert "the rarer class is 2.0 % of the rows" in finding.message


def test_a_sensitive_group_that_hardly_appears_is_a_warning(validation):
    region = ["north", "south"] * (ROWS // 2)
    region[:12] = ["west"] * 12

    (finding,) = validation(players(region=region), sensitive=["region"]).findings

    assert finding.kind == "representation"
    assert finding.message.startswith("region: 'west' has 12 rows, 0.4 % of all")


def test_a_group_that_has_the_label_less_often_is_a_warning_and_marked(validation):
    region = np.array(["north", "south"] * (ROWS // 2))
    took = np.array([True, True, False, False, False, False] * (ROWS // 6)) & (region == "north")

    found = validation(players(region=region, took=took), slices=["region"])

    (finding,) = found.findings
    assert finding.message.startswith("region: 'south' is positive in 0.0 % of its rows, all others in 33.3 %")
    assert finding.value == pytest.approx(1 / 3)
    assert "#f59e0b" in re.search(r"Label rate by group.*?</svg>", validation.report, re.DOTALL)[0]


@pytest.mark.parametrize(
    ("small_group", "small_rate", "rate"),
    [(1500, 0.45, 0.55), (100, 0.30, 0.40)],
    ids=["above four fifths", "so few rows that it may be chance"],
)
def test_a_group_that_has_the_label_a_little_less_often_is_no_alarm(validation, small_group, small_rate, rate):
    south = np.arange(ROWS) % (ROWS // small_group) == 0
    took = np.where(south, np.cumsum(south) % 100 < 100 * small_rate, np.cumsum(~south) % 100 < 100 * rate)

    found = validation(players(region=np.where(south, "south", "north"), took=took), sensitive=["region"])

    assert messages(found) == []


def test_a_slice_may_be_small(validation):
    region = ["north"] * ROWS
    region[:12] = ["west"] * 12

    assert messages(validation(players(region=region), slices=["region"])) == []


@pytest.mark.parametrize("role", ["sensitive", "slices"])
def test_a_column_that_makes_too_many_slices_is_refused(validation, role):
    with pytest.raises(DataError, match="spend makes 500 slices, more than 100; slice by a column with fewer values"):
        validation(players(), **{role: ["spend"]})


def test_missing_values_are_a_group_and_numbers_are_cut_into_quarters(validation):
    found = validation(players(), slices=["age", "newsletter"])

    assert {group.value for group in found.groups if group.column == "newsletter"} == {"true", "false", "(missing)"}
    ages = [group for group in found.groups if group.column == "age"]
    assert len(ages) == 5
    assert sum(group.rows for group in ages) == ROWS


def test_a_leak_is_an_error_in_the_report_and_ends_the_run_unless_it_is_excluded(validation):
    took = np.random.default_rng(5).random(ROWS) < 0.4
    table = players(took=took, refunded=np.where(took, "yes", "no"))

    validation(table)
    verdict = check(validation.outputs.findings, {})
    validation(table, exclude=["refunded"])

    (reason,) = verdict.reasons
    assert reason.startswith("leaks: 1 found, 0 allowed: column 'refunded' alone tells the label with AUC 1.000")
    assert check(validation.outputs.findings, {}).passed


def test_moments_after_the_event_are_told(validation):
    seen = pa.array(np.arange(ROWS) * 10**9 + 5 * 10**6, pa.timestamp("us", tz="UTC"))

    assert "'closed_at' is later than 'offered_at'" in str(
        messages(validation(players(closed_at=seen), time_column="offered_at"))
    )


PERSONAL = {
    "contact": ([f"ann{number}@example.com" for number in range(200)], "look like e-mail addresses"),
    "notes": (["called", "write to bob@example.org"] * 100, "look like e-mail addresses"),
    "reach": ([f"+49 170 {number:07}" for number in range(200)], "look like phone numbers"),
    "us": ([f"(555) 010-{number:04}" for number in range(200)], "look like phone numbers"),
    "seen_from": ([f"10.0.{number}.7" for number in range(200)], "look like IP addresses"),
    "paid_with": (["4111 1111 1111 1111", "5500005555555559"] * 100, "look like card numbers"),
    "paid": ([4111111111111111, 378282246310005] * 100, "look like card numbers"),
    "lastName": ([f"Meyer {number}" for number in range(200)], "its name says so"),
    "ip_address": ([f"host-{number}" for number in range(200)], "its name says so"),
}


@pytest.mark.parametrize("column", PERSONAL)
def test_personal_data_is_found(column):
    values, reason = PERSONAL[column]

    (finding,) = personal.examine(pa.table({column: values}))

    assert (finding.kind, finding.column) == ("personal_data", column)
    assert reason in finding.message


@pytest.mark.parametrize(
    ("column", "values"),
    {
        "phone": ["android", "ios"] * 100,
        "has_email": [True, False] * 100,
        "order": [4000000000000000 + 7 * number for number in range(200)],
        "player_id": [f"p{number:07}" for number in range(200)],
        "day": [f"2026-03-{number % 28 + 1:02}" for number in range(200)],
        "release": [f"1.2.{number}" for number in range(200)],
        "second": [1_700_000_000 + number for number in range(200)],
        "platform_name": [None] * 200,
        "address_count": [number % 7 for number in range(200)],
    }.items(),
)
def test_other_data_is_no_alarm(column, values):
    assert personal.examine(pa.table({column: values})) == []


SECRETS = {
    "email": [f"secret{number % 50}@example.com" for number in range(ROWS)],
    "nick_name": [f"secret-{number % 200}" for number in range(ROWS)],
    "dob": pa.array(np.arange(ROWS) * 86_400 * 5 - 10**8, pa.timestamp("s")),
    "paid": [4111111111111111, 378282246310005] * (ROWS // 2),
    "ssn": [f"{1 + number % 600:03}-{1 + number % 90:02}-{4000 + number}" for number in range(ROWS)],
}


def test_no_value_of_personal_data_is_written_or_logged(validation, capfd, caplog):
    found = validation(players(**SECRETS), sensitive=["email"])

    assert {finding.column for finding in found.of_kind("personal_data")} == {
        "email",
        "dob",
        "paid",
        "ssn",
        "nick_name",
    }
    written = b"".join(
        file.read_bytes() for file in validation.folder.rglob("*") if file.name not in SPLITS and file.is_file()
    )
    told = written.decode(errors="replace") + "".join(capfd.readouterr()) + caplog.text
    for secret in ("secret", "4111111111111111", "378282246310005", "-4000", "1966-10-31", "2007-"):
        assert secret not in told
    assert not found.groups
    assert found.ungrouped == ("email",)


def test_a_column_that_was_hashed_is_noted_and_the_report_says_what_became_of_columns(validation):
    masked = (Masked("email", "hashed", key="PEPPER", fingerprint="a1b2c3d4"), Masked("name", "dropped"))
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(ROWS)]

    found = validation(players(email=hashes), masked=masked, provenance=Provenance("", "", tuple(map(str, masked))))

    (finding,) = found.of_kind("personal_data")
    assert (finding.severity, finding.column) == ("note", "email")
    assert "is hashed with the key PEPPER" in finding.message
    assert check(validation.outputs.findings, {}).passed
    assert found.headline == "no anomalies"
    assert hashes[0] not in validation.report
    assert "<li>Hashed &#39;email&#39; with the key PEPPER (a1b2c3d4).</li><li>Dropped &#39;name&#39;.</li>" in (
        validation.report
    )


def test_the_report_says_how_the_version_was_read_and_what_has_changed_since_another(validation):
    since = RowChanges(
        since=2,
        added=1543,
        removed=1,
        changed=300,
        same=1200,
        columns={"spend": 299, "age": 3},
        new_columns=("newsletter",),
        gone_columns=(),
        retyped={"age": ("string", "int64")},
    )
    said = ("',' as the decimal sign in 'spend'", "column 'nick_name' stays text: 'secret-7' is no number")

    validation(
        players(nick_name=SECRETS["nick_name"]),
        provenance=Provenance('{"file":"players.csv"}', "append", said, changes=since),
    )

    told = unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", "", validation.report)))
    assert 'From {"file":"players.csv"}, by append.' in told
    assert "',' as the decimal sign in 'spend'." in told
    assert "secret-" not in told
    assert "Since version 2: 1,543 rows added, 1 removed, 300 changed; 1,200 are the same; new: newsletter." in told
    assert "age was string, is int64." in told
    assert '<tr><td><code>spend</code></td><td class="number" data-value="299">299</td></tr>' in validation.report


def test_the_report_says_why_a_version_is_compared_with_none_before(validation):
    validation(players(), provenance=replace(UNKNOWN, uncompared="it is the first version"))

    assert "Not compared with a version before: it is the first version." in validation.report


def test_a_column_of_personal_data_is_counted_and_has_no_domain(validation):
    validation(players(nick_name=SECRETS["nick_name"], dob=SECRETS["dob"]))

    of_train = tfdv.load_stats_binary(str(validation.outputs.statistics / "train.pb")).datasets[0].features
    names = next(feature for feature in of_train if feature.path.step[0] == "nick_name")
    rules = {feature.name: feature for feature in tfdv.load_schema_text(str(validation.outputs.schema)).feature}
    assert names.string_stats.common_stats.num_non_missing == 2000
    assert names.string_stats.unique == pytest.approx(200, rel=0.1)
    assert not rules["nick_name"].HasField("domain")
    assert rules["dob"].presence.min_fraction == 1


def pictures(html):
    """By the name of the column: what stands for its distribution."""
    shown = re.search(r'<div class="distributions">(.*?)Heights are shares', html, re.DOTALL)[1]
    return {
        unescape(name): drawn
        for name, drawn in re.findall(r"<div><b title=\"(.*?)\">.*?</b>(.*?)</div>", shown, re.DOTALL)
    }


def left_out(drawn):
    return re.search(r'<p class="note">(.*?)</p>', drawn)[1]


def texts(drawn):
    return [unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", drawn)]


def test_the_report_is_one_file_with_pictures_and_every_column(validation):
    table = players(region=["<b>north</b>", "south"] * (ROWS // 2))
    validation(table, sensitive=["region"])

    html = validation.report
    assert "<title>Data: players</title>" in html
    assert list(pictures(html)) == ["offered_at", "region", "age", "spend", "newsletter", "took"]
    assert html.count("<svg") == 6 + 1
    assert all(f"<code>{column}</code>" in html for column in table.column_names)
    assert "<b>north</b>" not in html
    assert not re.search(r"(src|href)=\"https?:", html)


def test_the_report_shows_the_figures_of_each_column_of_the_train_split(validation):
    table = players()
    validation(table, sensitive=["region"])
    train = table.slice(0, 2000).to_pandas()

    of_columns = validation.report.split("Columns of the train split")[1].split("</table>")[0]
    rows = re.findall(r"<tr>\s*<td><code>(.*?)</code>(.*?)</tr>", of_columns, re.DOTALL)
    cells = {name: re.findall(r"<td class=\"number\" data-value=\"(.*?)\">(.*?)</td>", rest) for name, rest in rows}
    for name in ("age", "spend"):
        missing, mean, std, least, most, _ = cells[name]
        assert int(missing[0]) == pytest.approx(train[name].isna().mean() * 1e6, abs=1)
        expected = (train[name].mean(), train[name].std(ddof=0), train[name].min(), train[name].max())
        assert [float(one[0]) for one in (mean, std, least, most)] == pytest.approx(expected)
        assert [float(one[1]) for one in (mean, std, least, most)] == pytest.approx(expected, rel=0.005, abs=0.005)
    assert cells["age"][0][1] == f"{train['age'].isna().mean() * 100:.1f} %"
    assert cells["spend"][0][1] == "–"
    assert [text for _, text in cells["offered_at"]][1:5] == ["1970-01-12", "–", "1970-01-01", "1970-01-24"]
    assert [text for _, text in cells["region"]][1:6] == ["–"] * 4 + ["3"]
    for value, share in train["region"].value_counts(normalize=True).items():
        assert f'{value} <span class="note">{share * 100:.0f} %</span>' in dict(rows)["region"]


def moments(days):
    return pa.array(np.asarray(days, "datetime64[us]").astype(np.int64), pa.timestamp("us"))


random = np.random.default_rng(11)
DAYS = np.datetime64("2024-01-01") + random.integers(0, 300, ROWS)
EVERY_300TH = np.arange(ROWS) % 300 == 0
ODD = {
    "lone outlier": np.where(np.arange(ROWS) == 7, 95_000, random.integers(18, 88, ROWS)),
    "zero-inflated": np.where(EVERY_300TH, random.integers(1, 99, ROWS), 0),
    "rare": EVERY_300TH.astype(int),
    "open end": moments(np.where(np.arange(ROWS) % 3, np.datetime64("9999-12-31"), DAYS)),
    "only open ends": moments([np.datetime64("9999-12-31")] * ROWS),
    "from the first day": moments(np.where(np.arange(ROWS) == 5, np.datetime64("0001-01-01"), DAYS)),
    "beyond the calendar": pa.array(random.integers(-(10**12), 10**12, ROWS), pa.timestamp("s")),
    "nanoseconds": pa.array(random.integers(-(2**53), 2**53, ROWS) * 1000, pa.timestamp("ns", tz="Europe/Berlin")),
    "milliseconds": pa.array(random.integers(0, 10**6, ROWS), pa.timestamp("ms", tz="UTC")),
    "constant": [3.5] * ROWS,
    "constant moment": moments([np.datetime64("2024-02-29")] * ROWS),
    "all but one missing": pa.array([3.0] + [None] * (ROWS - 1)),
    "none in eval": pa.array(random.normal(size=ROWS), mask=(np.arange(ROWS) >= 2000) & (np.arange(ROWS) < 2500)),
    "no text in eval": pa.array(["a", "b"] * (ROWS // 2), mask=(np.arange(ROWS) >= 2000) & (np.arange(ROWS) < 2500)),
    "no truth in test": pa.array([True, False] * (ROWS // 2), mask=np.arange(ROWS) >= 2500),
    "some infinite": np.where(EVERY_300TH, -np.inf, random.normal(size=ROWS)),
    "all infinite": [np.inf] * ROWS,
    "int64": random.choice([-(2**63), 2**63 - 1, 0], ROWS),
    "uint64": pa.array([2**64 - 1, 0, 7] * (ROWS // 3), pa.uint64()),
    "neighbours": 2**60 + random.integers(0, 1000, ROWS),
    "1e308": random.uniform(-1, 1, ROWS) * 1.7e308,
    "subnormal": random.choice([5e-324, 1e-323, -2e-323], ROWS),
    "long tail": -random.pareto(0.5, ROWS),
    "two clusters": np.where(random.random(ROWS) < 0.5, random.normal(size=ROWS), 1e6 + random.normal(size=ROWS)),
    "$a_{1$": random.choice(["$a$", r"$\frac{1$", "_b", "__", "^"], ROWS),
    "letters": random.choice(["", " \n", "two\nlines", "nul\0", "\x1b[31m", "\u202eright to left"], ROWS),
    "scripts": random.choice(
        ["שלום", "\U0001f600\U0001f468\u200d\U0001f469", "\U0001d518\U0001d52b", "<b>&amp;"], ROWS
    ),
    "long": random.choice(["z" * 5000, "y" * 50], ROWS),
    "n" * 300: random.choice(["a", "b"], ROWS),
    "thousands": [f"v{number}" for number in random.integers(0, 1000, ROWS)],
    "mostly false": random.random(ROWS) < 0.002,
}


@pytest.mark.parametrize("column", ODD)
def test_an_odd_column_has_its_picture(validation, column):
    found = validation(players(**{column: ODD[column]}), slices=["newsletter"])

    drawn = pictures(validation.report)[page.short(column, 200)]
    assert drawn.strip().startswith("<p" if column == "all infinite" else "<svg"), drawn[:300]
    assert "could not be drawn" not in validation.report
    assert not re.search("[\0\x1b]", drawn)
    assert not [name for name in texts(drawn) if len(name) > 40]
    assert check(validation.outputs.findings, {"anomalies": len(found.findings)}).passed


def test_what_a_picture_leaves_out_is_said_in_the_units_of_its_axis(validation):
    names = (
        "lone outlier",
        "zero-inflated",
        "open end",
        "from the first day",
        "some infinite",
        "long tail",
        "thousands",
    )
    validation(players(**{name: ODD[name] for name in names}))

    drawn = pictures(validation.report)
    said = {name: left_out(drawn[name]) for name in names}
    assert said.pop("thousands").startswith("the 5 most frequent of about ")
    assert said == {
        "lone outlier": "1 of 3,000 beyond 89",
        "zero-inflated": "without 0, which 2,990 of 3,000 are",
        "open end": "2,000 of 3,000 beyond 2024-10-26",
        "from the first day": "1 of 3,000 below 2024-01-01",
        "some infinite": "10 of 3,000 infinite",
        "long tail": "logarithmic axis",
    }
    assert texts(drawn["lone outlier"]) == ["25", "50", "75"]
    assert texts(drawn["open end"]) == ["2024-01", "2024-05", "2024-09"]
    assert left_out(drawn["age"]) == ""


def test_the_share_of_a_bar_that_is_too_low_to_see_is_written_above_it(validation):
    validation(players(rare=ODD["rare"], seldom=ODD["mostly false"]))

    drawn = pictures(validation.report)
    assert {"99.7 %", "0.3 %"} < {*texts(drawn["rare"])}
    assert re.fullmatch(r"0\.\d %|<0\.1 %", texts(drawn["seldom"])[-1])


def test_outliers_and_days_that_stand_for_none_are_warnings_that_stop_no_run(validation):
    names = ("lone outlier", "open end", "from the first day", "only open ends", "zero-inflated", "rare", "long tail")
    found = validation(players(**{name: ODD[name] for name in names}))

    assert [message.partition(";")[0] for message in messages(found)] == [
        "column 'lone outlier': 1 of 3,000 is beyond 87, far from all others: 95,000",
        "column 'open end': 2,000 of 3,000 are beyond 2024-10-26, far from all others: 9999-12-31",
        "column 'from the first day': 1 of 3,000 is below 2024-01-01, far from all others: 0001-01-01",
        "column 'only open ends': 3,000 of 3,000 are 9999-12-31",
    ]
    assert {(one.kind, one.severity) for one in found.findings} == {("outlier", "warning")}
    assert [one.value for one in found.findings] == [1, 2000, 1, 3000]
    assert found.metadata["headline"] == "no anomalies, 4 warnings"
    assert check(validation.outputs.findings, {}).passed
    assert "1 of 3,000 is beyond 87" in validation.report


def test_the_key_and_the_label_have_no_outliers(validation):
    key = pa.array([*range(ROWS - 1), 10**12])
    assert messages(validation(players(player=key))) == []


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["number", "integer", "time"]), st.data())
def test_any_numbers_and_moments_have_a_picture(kind, data):
    arrow = {"number": pa.float64(), "integer": pa.int64(), "time": pa.timestamp("us")}[kind]
    value = st.floats() if kind == "number" else st.integers(-(2**63), 2**63 - 1)
    few = data.draw(st.lists(value, min_size=1, max_size=3))
    one = st.one_of(value, st.sampled_from(few), st.none())
    values = {split: pa.array(data.draw(st.lists(one, max_size=60)), arrow) for split in SPLITS}
    tables = {split: pa.table({"x": column}) for split, column in values.items()}
    whole = pa.concat_tables(tables.values()).column("x")
    numbers = columns.numbers(whole)
    column = columns.Column("x", kind, (), 0, 1, None, None, None, None, None, {}, outliers.find(numbers, kind))

    drawn = figures.distribution(column, tables)

    assert drawn.startswith("<svg" if np.isfinite(numbers).any() else '<p class="note">no finite values</p>')


def test_a_fault_while_drawing_is_a_line_in_the_report_and_in_the_log(validation, monkeypatch, caplog):
    def fail(*_, **__):
        raise IndexError("no <such> bucket")

    monkeypatch.setattr(figures, "_histogram", fail)
    validation(players(), sensitive=["region"])

    drawn = pictures(validation.report)
    told = "This picture could not be drawn (IndexError: no &lt;such&gt; bucket)."
    assert [name for name, one in drawn.items() if told in one] == ["offered_at", "age", "spend"]
    assert [name for name, one in drawn.items() if "<svg" in one] == ["region", "newsletter", "took"]
    assert '<div class="verdict passed">' in validation.report
    assert [(one.levelname, one.exc_info[0]) for one in caplog.records] == [("WARNING", IndexError)] * 3


def test_odd_columns_are_reported_too(validation):
    table = players(
        nothing=pa.nulls(ROWS, pa.string()),
        no_number=pa.nulls(ROWS, pa.float64()),
        same=[3.5] * ROWS,
        text=[f"row {number}" for number in range(ROWS)],
        infinite=[np.inf] * ROWS,
    )
    validation(table)

    assert "<code>no_number</code>" in validation.report
    assert "3 columns without a picture" not in validation.report
    assert "4 columns without a picture" in validation.report


def test_a_split_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "train").write_text("not this")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        validate(
            {"train": tmp_path / "train"},
            label_column="took",
            key="player",
            curated_schema="",
            before="",
            provenance="",
            sensitive=[],
            slices=[],
            outputs=Outputs(*[tmp_path / "out"] * len(fields(Outputs))),
        )


@pytest.fixture(scope="module")
def promotions():
    file = Path(__file__).parents[3] / "examples" / "promotions" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", file)
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    return generate.players(ROWS * 4, seed=7)


def test_in_the_example_only_the_south_is_found(validation, promotions):
    found = validation(
        promotions,
        label="took_promotion",
        key="player_id",
        sensitive=["gender", "region"],
        slices=["region", "platform", ["region", "gender"]],
    )

    (finding,) = found.findings
    assert (finding.severity, finding.column) == ("warning", "region")
    assert "'south' is positive in 2" in finding.message


def test_the_findings_are_json_that_anyone_can_read(validation):
    validation(players(), sensitive=["region"])

    content = json.loads(validation.outputs.findings.read_text())
    assert content["rows"] == {"train": 2000, "eval": 500, "test": 500}
    took = players()["took"].to_numpy()
    assert content["positives"] == {split: int(took[rows].sum()) for split, rows in SPLITS.items()}
    assert set(content["groups"][0]) == {
        "column",
        "value",
        "sensitive",
        "rows",
        "share",
        "label_rate",
        "others_label_rate",
    }


def again(validation, table, **asked):
    """Validates the table of a first version, then another against what was kept of it."""
    validation(players(), **asked)
    validation.outputs.reference.rename(validation.folder / "before")
    return validation(table, **asked)


def test_a_first_dataset_is_compared_within_itself_and_says_that_nothing_was_before(validation):
    found = validation(players())

    assert [one.name for one in found.comparisons] == ["eval against train", "test against train"]
    assert [(one.split, one.too_few) for one in found.uncompared] == [("train", False)]
    assert "<b>Train</b> is compared with nothing: no version of this model was published" in validation.report


def test_what_changed_since_the_last_model_is_a_finding_and_stands_in_the_report(validation):
    found = again(validation, players(spend=players()["spend"].to_numpy() * 100), slices=["region"])

    (finding,) = found.findings
    assert (finding.kind, finding.severity, finding.split, finding.column) == ("drift", "warning", "train", "spend")
    assert finding.message == (
        "train against train of version 4: `spend` is about 100 times what it was: cents instead of euros?"
    )
    changes = re.search(r"<h2>Changes</h2>(.*?)</table>", validation.report, re.DOTALL)[1]
    assert "<code>spend</code> is about 100 times what it was: cents instead of euros?" in changes
    assert "<svg" in changes
    assert findings.Findings.read(validation.outputs.findings) == found


def test_a_column_that_changed_in_two_ways_counts_once(validation):
    again(validation, players(spend=(players()["spend"].to_numpy() * 100).astype(int)))

    changes = re.search(r"<h2>Changes</h2>(.*?)</table>", validation.report, re.DOTALL)[1]
    assert changes.count("<code>spend</code> ") == 2
    assert "1 of 6 columns changed beyond chance" in changes


def test_nothing_is_said_of_the_same_rows_again(validation):
    assert messages(again(validation, players(), sensitive=["region"])) == []


def test_personal_data_is_neither_kept_nor_shown_among_the_changes(validation):
    mails = [f"ann{number}@example.com" for number in range(ROWS)]
    found = again(validation, players().append_column("contact", [mails]))

    assert found.comparisons[0].left_out == {"player": "the key", "contact": "personal data"}
    assert b"example.com" not in validation.outputs.reference.read_bytes()
    assert "example.com" not in validation.report


def test_a_drift_comparator_of_a_curated_schema_is_held_against_the_last_model(validation):
    validation(players())
    curated = tfdv.load_schema_text(str(validation.outputs.schema))
    tfdv.get_feature(curated, "region").drift_comparator.infinity_norm.threshold = 0.01
    region = ["north"] * ROWS
    found = again(validation, players(region=region), curated_schema=text_format.MessageToString(curated))

    (anomaly,) = found.of_kind("anomaly")
    assert anomaly.message.startswith("train against train of version 4: column 'region': infinity_norm is 0.6")
    assert not check(validation.outputs.findings, {}).passed


def test_copies_too_few_for_a_finding_break_a_limit_that_allows_none(validation):
    places = np.arange(ROWS)
    places[2500:2505] = range(5)
    table = players(score=np.random.default_rng(6).normal(size=ROWS))
    twice = table.take(pa.array(places)).set_column(0, "player", table["player"])

    assert messages(validation(twice)) == []

    assert check(validation.outputs.findings, {"max_copies": 0.01}).passed
    (reason,) = check(validation.outputs.findings, {"max_copies": 0.0}).reasons
    assert reason.startswith("test: 5 of its 500 rows, 1.0 %, are in train too, beyond chance: 5 are alike in every")
