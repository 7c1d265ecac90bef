"""KFP's cache of results, which reuses one only as long as it and its files are what the task wrote, to the byte."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.local import cache as kfp_cache

from cd4ml.contracts import document


class Cache(kfp_cache.LocalCache):  # type: ignore[misc]
    """The outputs of tasks, each under a key."""

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """Keeps the outputs of a task, with the digests of their files."""
        _write_metrics(outputs)
        super().put(key, outputs)
        document.write(self._digests(key), {"result": document.digest(self._result(key)), "files": _digests(outputs)})

    def get(self, key: str) -> dict[str, Any] | None:
        """The outputs of a task; None where there are none, or where they or their files have gone or are others."""
        try:
            known = json.loads(self._digests(key).read_text())
            if known["result"] != document.digest(self._result(key)):
                return None
        except (OSError, ValueError, LookupError, TypeError, RecursionError):  # gone, cut short or damaged
            return None
        outputs: dict[str, Any] | None = super().get(key)
        return outputs if outputs is not None and known["files"] == _digests(outputs) else None

    def _result(self, key: str) -> Path:
        return Path(self.cache_root) / f"{key}.json"

    def _digests(self, key: str) -> Path:
        return Path(self.cache_root) / f"{key}.digests.json"


def _write_metrics(outputs: Mapping[str, Any]) -> None:
    """Gives metrics a file: they are metadata alone, and KFP's cache takes an artifact without a file for lost."""
    for artifact in _artifacts(outputs).values():
        if isinstance(artifact, dsl.Metrics | dsl.ClassificationMetrics) and not Path(artifact.path).exists():
            document.write(artifact.path, artifact.metadata)


def _digests(outputs: Mapping[str, Any]) -> dict[str, str]:
    """By output: over the names and bytes of its files; one without a file has none, and is never reused."""
    paths = {name: Path(one.path) for name, one in _artifacts(outputs).items()}
    return {name: document.digest(path) for name, path in paths.items() if path.exists()}


def _artifacts(outputs: Mapping[str, Any]) -> dict[str, dsl.Artifact]:
    """By output; those of a list with their position."""
    found = {}
    for name, value in outputs.items():
        if isinstance(value, dsl.Artifact):
            found[name] = value
        elif isinstance(value, list):
            found |= {f"{name}.{place}": one for place, one in enumerate(value) if isinstance(one, dsl.Artifact)}
    return found
