import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from scipy import stats
from scipy.spatial import distance
from tensorflow_metadata.proto.v0 import schema_pb2

from cd4ml.contracts.dataset import Origin
from cd4ml.contracts.drift import Uncompared
from cd4ml.errors import DataError, DocumentError
from cd4ml.validation.drift import chance, comparators, reference
from cd4ml.validation.drift.compare import compare_samples

ROWS = 4000


def sample(table, split="train", version=1, like=None, without=None):
    about = reference.about(like) if like else None
    origin = Origin("players", version, "sha256:abc")
    return reference.take(table, origin=origin, split=split, without=without or {}, like=about)


def compared(before, after, slices=()):
    first = sample(pa.table(before))
    return compare_samples(first, sample(pa.table(after), version=2, like=first), slices=slices)


def only_change(before, after, slices=()):
    (change,) = compared({"x": before}, {"x": after}, slices).beyond_chance()
    return change


def draws(seed=0):
    return np.random.default_rng(seed)


def moments(hours, days=30, seed=0):
    seconds = np.asarray(hours) % 24 * 3600 + 86_400 * draws(seed).integers(0, days, len(hours))
    return pa.array((seconds * 1e6).astype(np.int64), pa.timestamp("us", tz="UTC"))


@pytest.fixture(scope="module")
def bench():
    """The benchmark, which draws tables of the kinds that make trouble."""
    file = Path(__file__).parents[3] / "benchmarks/drift/bench.py"
    spec = importlib.util.spec_from_file_location("drift_bench", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("rows", "others", "pairs"), [(100, 100, 60), (1000, 100, 60), (1000, 1000, 40)])
def test_tables_that_do_not_differ_raise_no_more_alarms_than_stated(bench, rows, others, pairs):
    random = draws(rows + others)
    rates = [
        bench.smallest_rate(bench.compared(bench.clean(random, rows, 20), bench.clean(random, others, 20)))
        for _ in range(pairs)
    ]

    assert 0 < np.sum(np.array(rates) <= 0.2) <= stats.binom.ppf(0.999, pairs, 0.2)


def test_rare_flags_raise_no_alarm_where_one_of_the_samples_is_far_smaller(bench):
    random = draws()
    alarms = [
        bench.smallest_rate(bench.compared(bench.with_flags(random, 20_000, 20), bench.with_flags(random, 50, 20)))
        for _ in range(15)
    ]

    assert min(alarms) > 0.001


SKEWED = {
    "cents": (lambda values: values * 100, "`x` is about 100 times what it was: cents instead of euros?"),
    "euros": (lambda values: values / 100, "`x` is about 1/100 of what it was: euros instead of cents"),
    "grams": (lambda values: values * 1000, "`x` is about 1,000 times what it was: thousandths of the unit"),
    "kilometres": (lambda values: values * 1.609, "`x` is about 1.61 times what it was: kilometres instead of miles?"),
    "sign": (lambda values: -values, "`x` has the other sign now"),
    "some in cents": (
        lambda values: np.where(np.arange(len(values)) % 4 == 0, values * 100, values),
        "`x`: in about 25 % of the rows is about 100 times what it was: cents instead of euros?",
    ),
    "rounded": (np.round, "`x` holds whole numbers alone now: rounded?"),
    "wider": (lambda values: values.mean() + 1.5 * (values - values.mean()), "`x` spreads 1.5 times as wide as before"),
    "sentinel": (
        lambda values: np.where(np.arange(len(values)) % 20 == 0, -999, values),
        "`x`: -999 is the value of 5.0 % of the rows, of 0 % before: does it stand for a missing one?",
    ),
    "narrow": (
        lambda values: 1 + values / 200,
        "`x` spreads 0.0049 times as wide as before, and the mean is 1.03, 6.04 before",
    ),
    "one value": (
        lambda values: np.full(len(values), 7.0),
        "`x` is 7 wherever it is there, and had 4,000 values before",
    ),
    "clipped": (lambda values: np.minimum(values, 8.5), "`x`: 8.5 is the value of"),
}


@pytest.mark.parametrize("fault", SKEWED)
def test_what_happened_to_a_number_is_named(fault):
    changed, said = SKEWED[fault]
    values = draws().gamma(6, 1, 2 * ROWS)

    assert only_change(values[:ROWS], changed(values[ROWS:])).said.startswith(said)


def test_celsius_that_became_fahrenheit_is_named():
    values = draws().normal(12, 8, 2 * ROWS)

    assert "Fahrenheit instead of Celsius?" in only_change(values[:ROWS], values[ROWS:] * 1.8 + 32).said


@pytest.mark.parametrize(("rows", "deviations"), [(100, 1.0), (1000, 0.3), (20_000, 0.07)])
def test_a_shifted_mean_is_found_and_named(rows, deviations):
    random = draws(rows)
    before, after = random.normal(50, 10, rows), random.normal(50 + 10 * deviations, 10, rows)

    assert only_change(before, after).said.startswith("`x`: the mean is ") or deviations < 0.1
    assert compared({"x": before}, {"x": random.normal(50, 10, rows)}).beyond_chance() == []


def test_missing_values_are_told_with_their_shares():
    values = draws().normal(size=ROWS)
    after = pa.array(values, mask=np.arange(ROWS) % 25 < 12)

    change = only_change(values, after)

    assert change.said == "`x` is missing in 48 % of the rows, 0 % before"
    assert change.effect == pytest.approx(0.48)


def categories(**shares):
    return np.repeat([*shares], [round(share * ROWS) for share in shares.values()]).tolist()


PLACES = categories(north=0.5, south=0.3, west=0.2)
TEXTS = {
    "new": (categories(north=0.45, south=0.25, west=0.18, BRL=0.12), "a new category `BRL` holds 12 % of the rows"),
    "gone": (categories(north=0.6, south=0.4), "`west` is gone, which held 20 % of the rows"),
    "case": (categories(north=0.5, South=0.3, west=0.2), "`south` is called `South` now"),
    "spaces": ([*map(" {} ".format, PLACES)], "`north` is called ` north ` now, `south` is called ` south ` now"),
    "some": (categories(north=0.5, south=0.2, South=0.1, west=0.2), "10 % of the rows say `South`: `south` by another"),
    "code": (categories(north=0.5, S2=0.3, west=0.2), "`south` is called `S2` now"),
    "stand-in": ([*PLACES[:3600], *["n/a"] * 400], "a new category `n/a` holds 10 % of the rows: does it stand for a"),
    "shares": (categories(north=0.4, south=0.4, west=0.2), "% of the rows, "),
}


@pytest.mark.parametrize("fault", TEXTS)
def test_what_happened_to_a_category_is_named(fault):
    after, said = TEXTS[fault]

    assert said in only_change(PLACES, after).said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("Köln", "KÃ¶ln", "`Köln` is called `KÃ¶ln` now: another encoding?"),
        ("007", "7", "`007` is called `7` now"),
        ("São Paulo", "Sao Paulo", "`São Paulo` is called `Sao Paulo` now"),
    ],
)
def test_another_spelling_is_named(before, after, said):
    assert said in only_change([before, "other"] * 500, [after, "other"] * 500).said


@pytest.mark.parametrize(
    ("shift", "said"), [(2, "all times are 2 hours later"), (-5.5, "all times are 5.5 hours earl")]
)
def test_another_time_zone_is_named(shift, said):
    hours = draws().normal(13, 3, 2 * ROWS)

    assert said in only_change(moments(hours[:ROWS]), moments(hours[ROWS:] + shift)).said


def test_days_that_go_on_are_no_change_and_days_without_times_are_one():
    hours = draws().normal(13, 3, 2 * ROWS)
    later = pa.array((hours[ROWS:] % 24 * 3.6e9).astype(np.int64) + 864 * 10**12, pa.timestamp("us", tz="UTC"))

    assert compared({"x": moments(hours[:ROWS])}, {"x": later}).beyond_chance() == []
    assert "all times are midnight now" in only_change(moments(hours[:ROWS]), moments(np.zeros(ROWS))).said


def test_a_change_of_one_slice_alone_names_it():
    random = draws()
    region = random.choice(["north", "south", "west"], 2 * ROWS)
    income = random.normal(3000, 500, 2 * ROWS)
    income[ROWS:] += np.where(region[ROWS:] == "west", 600, 0)
    before = {"region": region[:ROWS], "income": income[:ROWS]}

    (change,) = compared(before, {"region": region[ROWS:], "income": income[ROWS:]}, ["region"]).beyond_chance()

    assert (change.column, change.slice) == ("income", "region=west")
    assert change.said.startswith("`income` (only where region=west): the mean is 3,6")
    assert change.effect > 2 * change.measures["jensen_shannon"]


def test_rows_that_no_column_alone_gives_away_are_told_apart():
    random = draws()
    x, y = random.normal(size=(2, 2 * ROWS))
    turned = np.where(np.arange(2 * ROWS) < ROWS, x * 0.8 + y * 0.6, -x * 0.8 + y * 0.6)

    found = compared({"x": x[:ROWS], "y": turned[:ROWS]}, {"x": x[ROWS:], "y": turned[ROWS:]})

    assert found.beyond_chance() == []
    assert found.told_apart.interval[0] > 0.7
    assert found.told_apart.false_alarm_rate < 1e-6
    assert {*found.told_apart.columns} == {"x", "y"}


def test_rows_are_told_apart_on_one_thread_from_the_first_time_on():
    code = """
import os
import numpy as np
from cd4ml.validation.drift import pair, told_apart
random = np.random.default_rng(0)
columns = [pair.Pair("x", "number", random.normal(size=200), random.normal(size=200))]
threads = len(os.listdir("/proc/self/task"))
assert told_apart.tell(columns, random)
print(len(os.listdir("/proc/self/task")) - threads)
"""
    four = {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | four, capture_output=True, check=True)

    assert int(done.stdout) == 0


def test_the_same_shift_has_the_same_effect_however_many_rows_there_are():
    random = draws()
    effects = [
        np.mean([compared_effect(random.normal(size=rows), random.normal(size=rows) + 0.3) for _ in range(pairs)])
        for rows, pairs in ((200, 20), (20_000, 2))
    ]

    assert effects[0] == pytest.approx(effects[1], rel=0.15)


def compared_effect(before, after):
    (change,) = compared({"x": before}, {"x": after}).changes
    return change.effect


def test_distances_are_those_of_scipy_less_what_chance_makes():
    before, after = [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]
    change = only_change(PLACES, TEXTS["shares"][0])

    by_chance = 2 / (8 * np.log(2)) * 2 / ROWS
    assert change.measures["jensen_shannon"] ** 2 == pytest.approx(
        distance.jensenshannon(before, after, base=2) ** 2 - by_chance
    )
    assert change.measures["infinity_norm"] == pytest.approx(0.1)
    assert change.measures["new_values"] == 0


def test_false_alarm_rates_are_the_adjusted_p_values_of_benjamini_and_hochberg():
    p_values = draws().random(50) ** 3

    assert chance.adjusted([*p_values]) == pytest.approx(stats.false_discovery_control(p_values))


@pytest.mark.parametrize(
    ("after", "effect", "said"),
    [
        ([str(value) for value in range(500)], 1, "`x` holds text now, whole numbers before"),
        ([value / 2 for value in range(500)], 0, "`x` holds numbers now, whole numbers before"),
    ],
)
def test_another_type_is_a_change_of_its_own(after, effect, said):
    found = compared({"x": [value % 400 for value in range(500)]}, {"x": after}).beyond_chance()

    assert (effect, said) in [(change.effect, change.said) for change in found]


def test_what_changed_is_said_where_it_is_beyond_chance_at_a_looser_rate_alone():
    values = draws(2).normal(size=600)
    (change,) = compared({"x": values[:300]}, {"x": values[300:] + 0.28}).changes

    assert 0.01 < change.false_alarm_rate < 0.1
    assert change.said.startswith("`x`: the mean is ")


def test_columns_that_are_gone_or_new_are_told():
    found = compared({"x": [1] * 50, "y": [1] * 50}, {"x": [1] * 50, "z": [1] * 50})

    assert [(one.said, one.effect) for one in found.beyond_chance()] == [("`y` is gone", 1), ("`z` is new", 0)]


NOTHING = pa.nulls(200)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (NOTHING, NOTHING, False),
        (NOTHING, pa.array([1.5] * 200), True),
        (pa.array(["a"] * 200), NOTHING, True),
        (pa.array([1.0] * 200), pa.array([1.0] * 200), False),
        (pa.array([1.0] * 200), pa.array([2.0] * 200), True),
        (pa.array([np.inf, -np.inf, np.nan, 1e308] * 50), pa.array([np.inf, -np.inf, np.nan, 1e308] * 50), False),
        (pa.array([np.inf, 1.0] * 100), pa.array([1.0, 2.0] * 100), True),
        (pa.array([True] * 30), pa.array([False] * 30), True),
        (pa.array([1] * 200, pa.int8()), pa.array([1] * 200, pa.uint64()), False),
        (pa.array([2**62] * 199 + [None]), pa.array([2**62] * 199 + [None]), False),
        (moments([5] * 200), pa.nulls(200, pa.timestamp("ns")), True),
        (pa.array([""] * 200), pa.array([" "] * 200), True),
    ],
)  # fmt: skip
def test_columns_that_hold_little_are_compared(before, after, changes):
    assert bool(compared({"x": before}, {"x": after}).beyond_chance()) == changes


def test_another_set_of_very_many_values_is_found():
    random = draws()
    before, after = (random.integers(0, 900, ROWS) + first for first in (0, 900))
    texts = [[f"shop {number}" for number in one] for one in (before, after)]

    change = only_change(*texts)

    assert change.effect > 0.8
    assert "of the rows hold values that were not there before, such as `shop " in change.said


def test_texts_of_their_own_are_compared_by_their_form_and_numbers_of_rows_not_at_all():
    before = {"code": [f"p{number:05}" for number in range(2000)], "row": [*range(2000)]}
    after = {"code": [f"P-{number}" for number in range(2000)], "row": [*range(2000, 4000)]}

    found = compared(before, after)

    assert [change.said for change in found.beyond_chance()] == ["`code`: `a9` is called `a-9` now"]
    assert found.left_out == {"row": "each row has a number of its own"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (range(2000), [0] * 2000, "`x` has the same value in several rows now, each had its own before"),
        (range(2000), [0] * 40, "`x` has the same value in several rows now, each had its own before"),
        ([0] * 2000, range(2000), "`x` has a number of its own in each row now, several rows had the same before"),
    ],
)
def test_numbers_of_rows_in_one_of_the_samples_alone_are_a_change(before, after, said):
    (change,) = compared({"x": [*before]}, {"x": [*after]}).beyond_chance()

    assert change.said == said
    assert change.effect > 0.9


@pytest.mark.parametrize("after", [range(300), [*range(1999), 0], [*range(40), 0]])
def test_numbers_of_rows_of_which_chance_repeats_one_are_no_change(after):
    assert compared({"x": [*range(2000)]}, {"x": [*after]}).changes == ()


def test_values_that_cannot_be_compared_are_left_out_and_said():
    found = compared({"x": [[1]] * 50}, {"x": [[1]] * 50})

    assert found.changes == ()
    assert found.left_out == {"x": "values of the type list<item: int64> are not compared"}


def test_too_few_rows_are_told():
    with pytest.raises(DataError, match="train of version 2: 5 rows are too few to compare; give at least 30"):
        compared({"x": [1] * 50}, {"x": [1] * 5})


def test_a_large_table_is_compared_by_a_sample_of_its_rows():
    taken = sample(pa.table({"x": np.arange(50_000) % 7}))

    assert taken.num_rows == reference.MOST_ROWS
    assert reference.about(taken).rows == 50_000


def test_what_is_kept_holds_no_key_and_nothing_personal(tmp_path):
    table = pa.table({"id": ["k1", "k2"] * 50, "mail": ["ann@example.com"] * 100, "age": [30, 40] * 50})
    reference.write(sample(table, without={"id": "the key", "mail": "personal data"}), tmp_path / "kept")

    kept = reference.read(tmp_path / "kept")

    assert kept.column_names == ["age"]
    assert reference.about(kept).left_out == {"id": "the key", "mail": "personal data"}
    assert b"ann@example.com" not in (tmp_path / "kept").read_bytes()


@pytest.mark.parametrize("content", [b"no table", pa.BufferOutputStream])
def test_a_kept_reference_that_is_none_is_told(tmp_path, content):
    file = tmp_path / "kept"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        pq.write_table(pa.table({"x": [1]}), file)

    with pytest.raises((DataError, DocumentError), match=f"{file}: .*publish"):
        reference.read(file)


def schema(text):
    return text_format.Parse(text, schema_pb2.Schema())


@pytest.mark.parametrize(
    ("comparator", "said"),
    [
        ("infinity_norm { threshold: 0.05 }", "infinity_norm is 0.1, and the drift_comparator allows 0.05"),
        ("infinity_norm { threshold: 0.15 }", None),
        ("jensen_shannon_divergence { threshold: 0.007 }", "jensen_shannon_divergence is 0.00"),
        ("jensen_shannon_divergence { threshold: 0.02 }", None),
        ("normalized_abs_difference { threshold: 0.1 }", "normalized_abs_difference of the drift_comparator could not"),
    ],
)
def test_a_comparator_of_the_schema_is_held(comparator, said):
    found = compared({"x": PLACES}, {"x": TEXTS["shares"][0]})
    rules = schema(f'feature {{ name: "x" drift_comparator {{ {comparator} }} }}')

    messages = [finding.message for finding in comparators.findings(rules, [found])]

    assert len(messages) == (said is not None)
    assert said is None or said in messages[0]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('feature { name: "y" drift_comparator { infinity_norm { threshold: 0.1 } } }', "the column is not in both"),
        (
            'feature { name: "n" drift_comparator { infinity_norm { threshold: 0.1 } } }',
            "a column has jensen_shannon, mi",
        ),
        ('feature { name: "id" drift_comparator { infinity_norm { threshold: 0.1 } } }', "the key"),
        ("dataset_constraints { num_examples_drift_comparator { min_fraction_threshold: 0.5 } }", "the number of rows"),
    ],
)
def test_a_comparator_that_cannot_be_computed_is_an_error(rules, said):
    table = pa.table({"n": [0.5] * 50, "id": ["a"] * 50})
    first = sample(table, without={"id": "the key"})
    found = compare_samples(first, sample(table, version=2, like=first, without={"id": "the key"}))

    (finding,) = comparators.findings(schema(rules), [found])

    assert (finding.kind, finding.severity) == ("anomaly", "error")
    assert said in finding.message


def test_a_skew_comparator_of_a_split_with_too_few_rows_is_an_error():
    rules = schema('feature { name: "x" skew_comparator { infinity_norm { threshold: 0.05 } } }')
    few = Uncompared("eval", "20 rows are too few to compare", too_few=True)
    nothing = Uncompared("test", "nothing to compare with", too_few=False)

    (finding,) = comparators.findings(rules, [], [few, nothing])

    assert (finding.kind, finding.severity, finding.split) == ("anomaly", "error", "eval")
    assert "'x': the skew_comparator could not be computed: 20 rows are too few" in finding.message


def test_a_skew_comparator_is_held_against_eval_and_test():
    first = sample(pa.table({"x": PLACES}))
    found = [
        compare_samples(first, sample(pa.table({"x": TEXTS["new"][0]}), split=split, like=first))
        for split in ("eval", "test")
    ]
    rules = schema('feature { name: "x" skew_comparator { infinity_norm { threshold: 0.05 } } }')

    assert [finding.split for finding in comparators.findings(rules, found)] == ["eval", "test"]
    assert [one.name for one in found] == ["eval against train", "test against train"]
