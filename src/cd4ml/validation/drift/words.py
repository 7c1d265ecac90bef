"""What changed in a column, in words that a person who knows the data can check."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cd4ml.contracts.findings import number
from cd4ml.names import quoted
from cd4ml.validation.drift import chance, pair
from cd4ml.validation.drift.effect import divergence, new_values
from cd4ml.validation.drift.pair import Pair

CERTAIN = 0.001
"""A p-value below which a part of what changed is told."""
STANDARD_ERRORS = 3
"""By which a mean has moved that is told."""
EXPLAINED = 0.25
"""What is left of a difference, at most, once a change of units or hours is undone that is told."""
SMALLEST = 0.01
"""The share of the rows from which on something is told."""
NAMED = 3
VERBS = {"is", "has", "holds", "spreads", "lies"}
SENTINELS = {-1, 0, 9, 99, 999, 9999, 99999, 999999, 9999999, -9, -99, -999, -9999, -99999}
"""Numbers that some write where a value is missing."""
STAND_INS = {
    "",
    "-",
    "--",
    "?",
    "na",
    "n/a",
    "nan",
    "none",
    "null",
    "nil",
    "missing",
    "unknown",
    "(missing)",
    "undefined",
}
"""Texts that some write where a value is missing, in small letters."""


@dataclass(frozen=True)
class Unit:
    """Another way to write the same quantity: the value before times a factor, and something added."""

    factor: float
    said: str
    added: float = 0.0

    def of(self, values: np.ndarray) -> np.ndarray:
        """The values as they would be written now."""
        with np.errstate(over="ignore"):
            return np.asarray(values * self.factor + self.added)


_BOTH_WAYS = (
    (10, "another decimal place?", "another decimal place?"),
    (100, "cents instead of euros?", "euros instead of cents, or fractions instead of percent?"),
    (1000, "thousandths of the unit, as grams instead of kilograms?", "thousands, as kilograms instead of grams?"),
    (1e6, "millionths of the unit?", "millions?"),
    (1e9, "nanoseconds instead of seconds?", "seconds instead of nanoseconds?"),
    (60, "minutes instead of hours?", "hours instead of minutes?"),
    (3600, "seconds instead of hours?", "hours instead of seconds?"),
    (24, "hours instead of days?", "days instead of hours?"),
    (86_400, "seconds instead of days?", "days instead of seconds?"),
    (7, "days instead of weeks?", "weeks instead of days?"),
    (12, "months instead of years?", "years instead of months?"),
    (1.609344, "kilometres instead of miles?", "miles instead of kilometres?"),
    (2.204623, "pounds instead of kilograms?", "kilograms instead of pounds?"),
    (2.54, "centimetres instead of inches?", "inches instead of centimetres?"),
    (3.28084, "feet instead of metres?", "metres instead of feet?"),
    (4.184, "kilojoules instead of kilocalories?", "kilocalories instead of kilojoules?"),
)  # fmt: skip
UNITS = (
    *(Unit(factor, f"is about {number(factor, 3)} times what it was: {said}") for factor, said, _ in _BOTH_WAYS),
    *(Unit(1 / factor, f"is about 1/{number(factor, 3)} of what it was: {said}") for factor, _, said in _BOTH_WAYS),
    Unit(-1, "has the other sign now"),
    Unit(1.8, "is about 1.8 times what it was and 32 more: Fahrenheit instead of Celsius?", 32),
    Unit(1 / 1.8, "is about what it was less 32, by 1.8: Celsius instead of Fahrenheit?", -32 / 1.8),
)
FEWEST_CELLS, MOST_CELLS, ROWS_OF_A_CELL = 10, 60, 20
"""By which the numbers before, those in another unit and those of now are compared."""
ROWS_OF_UNITS = 3000
"""So many of either are enough to tell a unit."""
FAR_APART = tuple(unit for unit in UNITS if not 1 / 7 < abs(unit.factor) < 7)
"""These are told apart in a part of the rows too."""


def say(changed: Pair, within: str = "") -> str:
    """A sentence without its full stop about a column that has changed beyond chance, the clearest first.

    Args:
        changed: The column.
        within: The slice that its rows are; empty where they are all.
    """
    kinds = {"number": _numbers, "category": _categories, "time": _times}
    found = [*_missing(changed)]
    if all(map(len, changed.there)) and not (found and divergence(*changed.cells.shares) < SMALLEST):
        found += kinds[changed.kind](changed)
    return sentence(changed.name, "; ".join(found) or "lies otherwise than before", within=within)


def sentence(column: str, said: str, *, within: str = "") -> str:
    """What is said of a column, with its name."""
    subject = f"`{column}` (only where {within})" if within else f"`{column}`"
    return f"{subject} {said}" if said.split()[0] in VERBS else f"{subject}: {said}"


def _missing(changed: Pair) -> Iterator[str]:
    before, after = changed.missing
    rows = len(changed.before), len(changed.after)
    p_value = chance.of_parts(np.array([before]), np.array([after]), rows=rows)[0]
    if p_value < CERTAIN:
        yield f"is missing in {_percent(after / rows[1])} of the rows, {_percent(before / rows[0])} before"


def _numbers(changed: Pair) -> list[str]:
    known, now = (np.unique(one[np.isfinite(one)]) for one in changed.there)
    if len(now) == 1 and len(known) > 1:
        return [f"is {number(float(now[0]))} wherever it is there, and had {number(len(known))} values before"]
    spike = _spike(changed)
    values = [values[values != spike] for values in changed.there] if spike is not None else [*changed.there]
    found = [] if spike is None else [_of_spike(changed, spike)]
    if not all(map(len, values)):
        return found
    cells = pair.of_numbers(*values)
    if divergence(*cells.shares) < SMALLEST or min([1.0, *chance.of_cells(cells, np.random.default_rng(0))]) > CERTAIN:
        return found or [_moved(*values)]
    unit = _unit(*values)
    return [*found, unit or _rounded(*values) or _moved(*values)]


def _spike(changed: Pair) -> float | None:
    """A number that many rows have now and few had before, where numbers are otherwise as good as never the same."""
    before, after = changed.there
    distinct, counts = np.unique(after, return_counts=True)
    value, share = distinct[counts.argmax()], counts.max() / len(after)
    others = np.partition(counts, -2)[-2] if len(counts) > 1 else 0
    known = np.mean(before == value)
    common = len(distinct) > pair.MOST_CELLS or (value in SENTINELS and known == 0)
    return float(value) if common and share > SMALLEST + 3 * known and counts.max() > 3 * others else None


def _of_spike(changed: Pair, value: float) -> str:
    before, after = (float(np.mean(one == value)) for one in changed.there)
    asked = ": does it stand for a missing one?" if value in SENTINELS and before < SMALLEST / 10 else ""
    return f"{number(value)} is the value of {_percent(after)} of the rows, of {_percent(before)} before{asked}"


def _unit(before: np.ndarray, after: np.ndarray) -> str:
    """Another unit, in which the values before would lie as those of now do; empty where there is none."""
    random = np.random.default_rng(0)
    before, after = (random.permutation(one)[:ROWS_OF_UNITS] for one in (before, after))
    return _of_units(before, after, UNITS) or _of_units(before, after, FAR_APART, whole=False)


def _of_units(before: np.ndarray, after: np.ndarray, units: Sequence[Unit], *, whole: bool = True) -> str:
    best, told = EXPLAINED, ""
    for unit in units:
        parts = before, unit.of(before), after
        edges = _edges(np.concatenate(parts), min(len(before), len(after)))
        counts = [np.bincount(np.searchsorted(edges, one), minlength=len(edges) + 1) for one in parts]
        part, left = _explained(*(count / count.sum() for count in counts), whole=whole)
        if left < best and part > SMALLEST:
            best, told = left, unit.said if whole else f"in about {_percent(part)} of the rows {unit.said}"
    return told


def _edges(values: np.ndarray, rows: int) -> np.ndarray:
    """Of cells of as many values each, of which the fewer rows are, the fewer there are."""
    cells = min(max(rows // ROWS_OF_A_CELL, FEWEST_CELLS), MOST_CELLS)
    return np.unique(np.quantile(values, np.arange(1, cells) / cells, method="inverted_cdf"))


def _explained(before: np.ndarray, moved: np.ndarray, after: np.ndarray, *, whole: bool) -> tuple[float, float]:
    """The part of the values that has moved, and how much of the difference that leaves; all are shares of cells."""
    step = moved - before
    if not step.any():
        return 0.0, 1.0
    part = 1.0 if whole else float(np.clip((after - before) @ step / (step @ step), 0, 1))
    left = divergence(before + part * step, after)
    return part, left / max(divergence(before, after), 1e-12)


def _rounded(before: np.ndarray, after: np.ndarray) -> str:
    whole = [float(np.mean(one == np.round(one))) for one in (before, after)]
    if whole[0] < 0.5 and whole[1] > 0.99:
        return "holds whole numbers alone now: rounded?"
    return "has fractions now, whole numbers before" if whole[0] > 0.99 and whole[1] < 0.5 else ""


def _moved(before: np.ndarray, after: np.ndarray) -> str:
    """How far the numbers have moved or spread."""
    before, after = (one[np.isfinite(one)] for one in (before, after))
    if not len(before) or not len(after):
        return "is infinite in other rows than before"
    deviation = before.std()
    means = f"the mean is {number(after.mean(), 3)}, {number(before.mean(), 3)} before"
    if not deviation:
        return means
    steps, spread = (after.mean() - before.mean()) / deviation, after.std() / deviation
    error = np.sqrt((1 + spread**2) / min(len(before), len(after)))
    has_moved = abs(steps) > STANDARD_ERRORS * error
    if has_moved and abs(steps) > abs(np.log(max(spread, 1e-12))):
        return f"{means} ({number(abs(steps), 2)} standard deviations {'more' if steps > 0 else 'less'})"
    if not 1 / 1.1 < spread < 1.1:
        wide = f"spreads {number(spread, 2)} times as wide as before"
        return f"{wide}, and {means}" if has_moved else f"{wide}, about the same mean"
    return f"lies otherwise than before, about the same mean ({number(after.mean(), 3)})"


def _times(changed: Pair) -> list[str]:
    """Hours of the day; that days go on is no change."""
    before, after = changed.there
    midnight = [float(np.mean(one % (pair.HALF_HOUR * pair.HALF_HOURS) == 0)) for one in (before, after)]
    if midnight[0] < 0.5 and midnight[1] > 0.95:
        return ["all times are midnight now: are days alone left?"]
    if midnight[0] > 0.95 and midnight[1] < 0.5:
        return ["has times of the day now, days alone before"]
    shares = [np.bincount(pair.half_hours(one), minlength=pair.HALF_HOURS) / len(one) for one in (before, after)]
    told = _of_hours(*shares, whole=True) or _of_hours(*shares, whole=False)
    most = [int(one.argmax()) // 2 for one in shares]
    other = f"most are between {most[1]} and {most[1] + 1} o'clock, {most[0]} and {most[0] + 1} before"
    return [told or ("other hours of the day: " + other if most[0] != most[1] else "other hours of the day")]


def _of_hours(before: np.ndarray, after: np.ndarray, *, whole: bool) -> str:
    """By how many hours all times or some of them have moved; empty where that explains little."""
    best, told = EXPLAINED, ""
    for halves in range(1, pair.HALF_HOURS):
        part, left = _explained(before, np.roll(before, halves), after, whole=whole)
        if left < best and part > 0.1:
            hours = halves / 2 if halves <= pair.HALF_HOURS / 2 else halves / 2 - 24
            some = "all" if whole else f"about {_percent(part)} of the"
            later = "later" if hours > 0 else "earlier"
            word = "hour" if abs(hours) == 1 else "hours"
            best, told = left, f"{some} times are {number(abs(hours))} {word} {later}: another time zone?"
    return told


@dataclass(frozen=True)
class Shares:
    """How frequent the categories are, of the rows that have one."""

    before: dict[str, float]
    after: dict[str, float]

    @property
    def new(self) -> list[str]:
        """Frequent ones that were not there before, the most frequent first."""
        return [text for text in _falling(self.after) if self.after[text] >= SMALLEST and not self.before[text]]

    @property
    def gone(self) -> list[str]:
        """Once frequent ones that are not there any more."""
        return [text for text in _falling(self.before) if self.before[text] >= SMALLEST and not self.after[text]]


def _categories(changed: Pair) -> list[str]:
    before, after = (counts / counts.sum() for counts in changed.counts)
    shares = Shares(*(dict(zip(changed.texts, one.tolist(), strict=True)) for one in (before, after)))
    renamed = _renamed(shares)
    new = [text for text in shares.new if text not in renamed]
    gone = [text for text in shares.gone if text not in renamed.values()]
    found = _of_renamed(renamed, shares) + _of_new(new, shares) + _of_gone(gone, shares)
    return found or [_of_unseen(new_values(changed), shares) or _shifted(shares)]


def _renamed(shares: Shares) -> dict[str, str]:
    """By the new name of a category its old one."""
    found: dict[str, str] = {}
    known = [text for text in _falling(shares.before) if shares.before[text] > 0]
    for new in shares.new:
        alike = [old for old in known if old not in found.values() and _alike(old, new)]
        if not alike:
            alike = [old for old in shares.gone if old not in found.values() and _as_frequent(old, new, shares)]
            rivals = [one for one in shares.new if alike and one not in found and _as_frequent(alike[0], one, shares)]
            alike = alike if len(alike) == len(rivals) == 1 else []
        if alike and new.lower().strip() not in STAND_INS:
            found[new] = alike[0]
    return found


def _as_frequent(old: str, new: str, shares: Shares) -> bool:
    before, after = shares.before[old], shares.after[new]
    return abs(before - after) < 0.1 * before + 0.005


def _alike(old: str, new: str) -> bool:
    """Whether one text is another spelling of the other: case, spaces, signs, accents, encoding, leading zeros."""
    return old != new and (_plain(old) == _plain(new) or old in _misread(new) or new in _misread(old))


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(letter for letter in letters if letter.isalnum())
    digits = kept.lstrip("0") if kept.isdigit() else kept
    if text.replace(".", "", 1).isdigit() and "." in text:
        digits = text.rstrip("0").rstrip(".").lstrip("0")
    return digits or text


def _misread(text: str) -> list[str]:
    """What a text in another encoding would be."""
    found = []
    for encoding in ("cp1252", "latin-1"):
        try:
            found.append(text.encode(encoding).decode("utf-8"))
        except UnicodeError:
            continue
    return found


def _of_renamed(renamed: dict[str, str], shares: Shares) -> list[str]:
    lines = []
    for new, old in [*renamed.items()][:NAMED]:
        if not shares.after[old]:
            lines.append(f"{quoted(old)} is called {quoted(new)} now")
        else:
            lines.append(f"{_percent(shares.after[new])} of the rows say {quoted(new)}: {quoted(old)} by another name?")
        if old in _misread(new) or new in _misread(old):
            lines[-1] += ": another encoding?"
    more = len(renamed) - len(lines)
    return [", ".join(lines) + (f", and {more} more are called otherwise" if more else "")] if lines else []


def _of_new(new: Sequence[str], shares: Shares) -> list[str]:
    if not new:
        return []
    held = _percent(sum(shares.after[text] for text in new))
    if len(new) > 1:
        return [f"{len(new)} new categories hold {held} of the rows, among them {_listed(new)}"]
    asked = ": does it stand for a missing one?" if new[0].lower().strip() in STAND_INS else ""
    return [f"a new category {quoted(new[0])} holds {held} of the rows{asked}"]


def _of_unseen(share: float, shares: Shares) -> str:
    """What is said of rare new categories; empty where others have changed more."""
    texts = [text for text in _falling(shares.after) if shares.after[text] and not shares.before[text]]
    known = [abs(shares.after[text] - shares.before[text]) for text in shares.before if shares.before[text]]
    if not texts or share < max(known) / 2:
        return ""
    if len(texts) == 1:
        return f"a new category {quoted(texts[0])} holds {_percent(share)} of the rows"
    return f"{_percent(share)} of the rows hold values that were not there before, such as {_listed(texts)}"


def _of_gone(gone: Sequence[str], shares: Shares) -> list[str]:
    if not gone:
        return []
    held = _percent(sum(shares.before[text] for text in gone))
    if len(gone) > 1:
        return [f"{len(gone)} categories are gone that held {held} of the rows, among them {_listed(gone)}"]
    return [f"{quoted(gone[0])} is gone, which held {held} of the rows"]


def _shifted(shares: Shares) -> str:
    most = max(shares.after, key=lambda text: abs(shares.after[text] - shares.before[text]))
    return f"{quoted(most)} holds {_percent(shares.after[most])} of the rows, {_percent(shares.before[most])} before"


def _falling(shares: dict[str, float]) -> list[str]:
    return sorted(shares, key=lambda text: -shares[text])


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(map(quoted, texts[:NAMED]))


def _percent(share: float) -> str:
    digits = 1 if 0 < share < 0.1 or 0.9 < share < 1 else 0
    return f"{share * 100:.{digits}f} %" if share >= 0.0005 or not share else "<0.1 %"
