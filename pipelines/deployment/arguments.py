"""What the deployment pipeline takes."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import WithJsonSchema

from cd4ml.deployment import strategies, targets, waiting
from cd4ml.deployment.strategies import AnyStrategy
from cd4ml.running.arguments import Arguments, Means, Name, Store, Within, checked_by, told

MOST_VERSIONS = 10**9


class Deployment(Arguments):
    """A run of the deployment pipeline."""

    name: Annotated[Name, Means.MODEL]
    """The model's name in the registry."""
    version: Annotated[int, Within(1, MOST_VERSIONS)]
    """The number of the published version."""
    store: Store
    """The store that holds the registry."""
    target: Annotated[str, checked_by(targets.check), WithJsonSchema({"enum": targets.TARGETS.names}), Means.TARGET] = (
        targets.MACHINE
    )
    """Where the model is served: `machine` (this one), or in the run's namespace `cluster` (Seldon) or `kserve`."""
    approvals: Annotated[int, Within(0, waiting.MOST)] = 0
    """How many people have to approve the version before it is deployed (docs/deploying.md)."""
    strategy: Annotated[AnyStrategy, Means.TEXT_IN_KFP] = "replace"
    """How the model gets the requests: `replace`, another strategy, or steps (docs/comparing.md; JSON, in KFP)."""
    port: Annotated[int, Within(1024, 65535), Means.PORT] = 9500
    """Where the model is served on this machine."""

    def mistakes_together(self) -> Iterator[str]:
        """What of the target does not fit the store, the name or the strategy."""
        yield from told(lambda: targets.check_together(self.target, self.store, self.name))
        yield from told(
            lambda: strategies.check_together(strategies.parse(self.strategy), self.target, approvals=self.approvals)
        )

    def mistakes_in_a_cluster(self) -> Iterator[str]:
        """What a cluster cannot use; also a target that is the machine of the task."""
        yield from super().mistakes_in_a_cluster()
        yield from targets.mistakes_in_a_cluster(self.target)
