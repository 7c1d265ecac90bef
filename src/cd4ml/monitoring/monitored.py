"""Windows as they were judged: `monitored/<model>/<window>/<1, 2, …>/` in the store, each a judgement whole.

A window is judged again when it was collected again, as where late labels came, or by other limits: its last judgement
counts. Of two that judge a window alike at once, one judgement is kept.
"""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from cd4ml.contracts.document import Document
from cd4ml.contracts.verdict import Verdict
from cd4ml.contracts.window import Window, ends_of
from cd4ml.contracts.window_drift import WindowDrift
from cd4ml.contracts.window_quality import WindowQuality
from cd4ml.storage import NUMBER, AlreadyStoredError, Store, check_name

FOLDER = "monitored"
READERS = 32
"""Judgements that are read at once: a bucket answers each in milliseconds, most of which are waiting."""
FEW = 10
"""Windows of which each is looked for by itself; for more all are listed."""
_WINDOW, _VERDICT = "window.json", "verdict.json"
_DRIFT, _QUALITY = "drift.json", "quality.json"
Kind = TypeVar("Kind", bound=Document)


@dataclass(frozen=True)
class Judged:
    """One judgement of a window."""

    window: Window
    """The window as it was when it was judged; `window.number` says which of its documents."""
    verdict: Verdict
    drift: WindowDrift | None = None
    """How far what the model is asked and answers is from its reference; None where nobody has looked."""
    quality: WindowQuality | None = None
    """How right the model is; None where nobody has looked."""

    @property
    def contents(self) -> dict[str, str]:
        """Its files; the verdict is the last."""
        found = {_DRIFT: self.drift, _QUALITY: self.quality}
        texts = {part: one.text for part, one in found.items() if one}
        return {_WINDOW: self.window.text, **texts, _VERDICT: self.verdict.text}


@dataclass(frozen=True)
class _Kept:
    """Where a judgement lies."""

    folder: str
    number: int
    parts: frozenset[str]


def keep(store: Store, judged: Judged) -> bool:
    """Keeps a judgement of a window, unless the last one says the same.

    Returns:
        Whether it is a new one.
    """
    model, window = judged.window.model, judged.window.key
    last = _newest(store, f"{_folder(model)}/{window}").get(window)
    if last and _contents(store, last) == judged.contents:
        return False
    number = last.number if last else 0
    while True:
        number += 1
        folder = f"{_folder(model)}/{window}/{number}"
        try:
            store.add_folder(folder, judged.contents)
        except AlreadyStoredError:
            other = _newest(store, f"{_folder(model)}/{window}").get(window)
            if other and other.number == number and _contents(store, other) == judged.contents:
                return False  # another was faster with the same
            continue
        return True


def every(store: Store, model: str, *, last: int | None = None, of: Collection[str] | None = None) -> list[Judged]:
    """The last judgement of each window of a model, the earliest window first.

    Args:
        store: The store.
        model: The model's name.
        last: Of so many windows, the latest; of all if not said.
        of: Of the windows with these keys, of those that were judged.
    """
    return _all(store, model, last=last, of=of, whole=True)


def verdicts(store: Store, model: str, *, last: int | None = None, within: timedelta | None = None) -> list[Judged]:
    """The same, without drift and quality.

    Args:
        store: The store.
        model: The model's name.
        last: Of so many windows, the latest; of all if not said.
        within: Of those that began so long before the latest began, at most.
    """
    return _all(store, model, last=last, within=within, whole=False)


def _all(
    store: Store,
    model: str,
    *,
    last: int | None,
    within: timedelta | None = None,
    of: Collection[str] | None = None,
    whole: bool,
) -> list[Judged]:
    below = [_folder(model)] if of is None or len(of) > FEW else [f"{_folder(model)}/{key}" for key in of]
    newest = {key: kept for folder in below for key, kept in _newest(store, folder).items()}
    keys = sorted(one for one in newest if of is None or one in of)[-last if last else None :]
    first = ends_of(keys[-1])[0] - within if keys and within else None
    chosen = [newest[key] for key in keys if first is None or ends_of(key)[0] >= first]
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda one: _read(store, one, whole=whole), chosen))


def _folder(model: str) -> str:
    return f"{FOLDER}/{check_name(model)}"


def _newest(store: Store, below: str) -> dict[str, _Kept]:
    """By window the last judgement that is there whole; keys of windows sort by time."""
    parts: dict[str, set[str]] = {}
    for name in store.below(below):
        folder, _, part = name.rpartition("/")
        parts.setdefault(folder, set()).add(part)
    found: dict[str, _Kept] = {}
    for folder, names in parts.items():
        window, number = folder.split("/")[-2:]
        if _VERDICT in names and NUMBER.fullmatch(number):
            one = _Kept(folder, int(number), frozenset(names))
            found[window] = max(found.get(window, one), one, key=lambda each: each.number)
    return found


def _contents(store: Store, kept: _Kept) -> dict[str, str]:
    return {part: store.read(f"{kept.folder}/{part}") for part in kept.parts}


def _read(store: Store, kept: _Kept, *, whole: bool) -> Judged:
    def parsed(kind: type[Kind], part: str) -> Kind:
        name = f"{kept.folder}/{part}"
        return kind.parse(store.read(name), store.uri(name))

    return Judged(
        parsed(Window, _WINDOW),
        parsed(Verdict, _VERDICT),
        drift=parsed(WindowDrift, _DRIFT) if whole and _DRIFT in kept.parts else None,
        quality=parsed(WindowQuality, _QUALITY) if whole and _QUALITY in kept.parts else None,
    )
