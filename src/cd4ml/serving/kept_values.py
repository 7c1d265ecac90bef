"""How values of requests are kept: as they are, hashed where they are personal, or not at all.

A hash is that of ingestion (`cd4ml.contracts.hashes`).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import orjson

from cd4ml.contracts.hashes import hashed, too_short
from cd4ml.errors import EnvironmentSetupError
from cd4ml.serving import messages


@dataclass(frozen=True)
class Masks:
    """Which features are personal, and by what their values are hashed."""

    personal: frozenset[str] = frozenset()
    key: bytes = b""
    """Empty: they are left out."""

    def with_personal(self, names: Iterable[str]) -> "Masks":
        """The same, with further features that are."""
        return replace(self, personal=self.personal.union(names))

    def unit(self, caller: str) -> str:
        """Stands for a caller: a short hash, by the key where there is one."""
        return blake2b(caller.encode(), digest_size=8, key=self.key[: blake2b.MAX_KEY_SIZE]).hexdigest()

    def text(self, columns: Mapping[str, Sequence[Any]]) -> str | None:
        """JSON of values as they may be kept; None where there are none, or one is nested too deeply.

        Args:
            columns: By feature, one a row.
        """
        try:
            if self.personal and not self.personal.isdisjoint(columns):
                columns = {name: values for name, values in self._masked(columns).items() if values is not None}
            return orjson.dumps(dict(columns), default=str).decode() if columns else None
        except TypeError:
            return None

    def _masked(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any] | None]:
        return {
            name: values if name not in self.personal else [self._hash(one) for one in values] if self.key else None
            for name, values in columns.items()
        }

    def _hash(self, value: Any) -> str | None:
        """That of a value as a key; None of a missing one."""
        if value is None or value == "":
            return None
        return hashed(self.key, messages.key(value))


def of_environment() -> Masks:
    """How a server keeps values, as its environment says.

    Raises:
        EnvironmentSetupError: The key is too short.
    """
    key = os.environ.get("CAPTURE_KEY", "")
    if key and (wrong := too_short("CAPTURE_KEY", key)):
        raise EnvironmentSetupError(wrong)
    return Masks(frozenset(names("CAPTURE_PERSONAL") or ()), key.encode())


def names(variable: str) -> list[str] | None:
    """The names of features that a variable of the environment has; None where it is not set.

    Raises:
        EnvironmentSetupError: It begins as a list in JSON does, and is none of names.
    """
    given = os.environ.get(variable)
    if given is None:
        return None
    if not given.startswith("["):
        return [name.strip() for name in given.split(",") if name.strip()]
    try:
        found = orjson.loads(given)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise EnvironmentSetupError(f'{variable}: {given!r} is no list of names; write a,b or ["a", "b"]')
    return found
