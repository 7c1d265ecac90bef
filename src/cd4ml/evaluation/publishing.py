"""A checked model becomes a version of the registry, once the gate has said again what its verdict says."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cd4ml.contracts.record import Judgement, found_by
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import Verdict
from cd4ml.errors import GateError
from cd4ml.evaluation import gate
from cd4ml.registry import catalogue, models, records
from cd4ml.registry.models import Judged, Published

__all__ = ["Judged", "publish"]


def publish(
    location: str,
    *,
    name: str,
    judged: Judged,
    limits: Mapping[str, Any],
    run: str,
    revision: str,
    arguments: Mapping[str, Any] | None = None,
    check: Callable[[Sequence[Version]], None] = lambda _: None,
) -> Published:
    """Adds a model to the registry; the one that is there already is returned as it is.

    A verdict is a file, which may be another gate's, of another run, or changed. So the evaluation is held against the
    limits once more, and the verdict has to say the same.

    Args:
        location: The store that holds the registry.
        name: The model's name.
        judged: The model, and what was found of it.
        limits: What `check_model` held it against.
        run: The run that publishes.
        revision: The revision of the code.
        arguments: What the version is made by; those of the run of this task if not said.
        check: Refuses, by raising, to publish after the versions that are there.

    Raises:
        GateError: The verdict is not that of `check_model` on this evaluation and these limits.
        RegistryError: The verdict or the evaluation is about another model, or it did not pass.
    """
    verdict, again = Verdict.read(judged.verdict), gate.check(judged.evaluation, limits)
    if verdict.gate == again.gate and verdict != again:
        differs = [f"its {name}" for name in again.about if verdict.about.get(name) != again.about[name]]
        raise GateError(
            f"{judged.verdict}: not what {again.gate} says of this evaluation and these limits "
            f"({', '.join(differs) or 'its checks'} differ); run {again.gate} on them again"
        )
    published = models.publish(
        location,
        name=name,
        judged=judged,
        verdict=verdict,
        run=run,
        revision=revision,
        arguments=arguments,
        check=check,
    )
    records.publish(
        location,
        **found_by(judged.evaluation),
        dataset=published.version.dataset,
        gates=tuple(Judgement.of(one) for one in (Verdict.read(judged.dataset_verdict), verdict)),
        published=published.version.version,
    )
    catalogue.published(location, published.version)
    return published
