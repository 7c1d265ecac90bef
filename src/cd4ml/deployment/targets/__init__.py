"""Where a model can be served: on this `machine`, or in the run's namespace by Seldon (`cluster`) or `kserve`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cd4ml.contracts.deployment import Begun, Event
from cd4ml.contracts.release import Version
from cd4ml.contracts.traffic import Sticky
from cd4ml.errors import DeploymentError
from cd4ml.names import nearest
from cd4ml.plugins import PluginPoint
from cd4ml.storage import S3, Store, check_name

MACHINE = "machine"
CLUSTER = "cluster"
KSERVE = "kserve"
IN_A_CLUSTER = (CLUSTER, KSERVE)
"""The targets whose pods read the store, and which only a task in the cluster can verify."""
NAME = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")
"""A model's name that Seldon and KServe can make the names of a Deployment and a Service of."""


@dataclass(frozen=True)
class Release:
    """A published version on its way into production."""

    version: Version
    begun: Begun
    """The first event of its deployment."""
    port: int
    """Where a server of this machine listens."""
    log_file: Path
    """Takes what a server of this machine says."""


@dataclass(frozen=True)
class Served:
    """What answers at a target."""

    number: int | None
    """Its deployment's; None where an older version of cd4ml put it there, or a run with another store."""
    url: str


@dataclass(frozen=True)
class Unfinished:
    """What the note of a target says: a rollout that is not over."""

    number: int
    """Its deployment's."""
    before: Served | None
    """What was served when it began."""
    under_way: bool = False
    """Whether its process may be at it; where a target has locks, who has the turn finds none that is."""


@dataclass(frozen=True)
class Split:
    """How requests are divided between a release and what was served before."""

    capture: str | Path
    """Where the router keeps them: a folder, or `s3://bucket/prefix`."""
    champion: str
    """The arm of what was served before."""
    challenger: str
    """The arm of the release."""
    mirrored: bool = False
    """Whether the release gets copies, and answers nobody."""


class Target(ABC):
    """Where one model is served: a few verbs, which the engine (`cd4ml.deployment.rollout`) calls in turn.

    From `raise_` to `keep` or `undo` a target holds a note of what was served before, with the number of the deployment
    that is on its way, which outlives this process: so whoever comes next can put right what it left.
    """

    name: ClassVar[str]
    """As the argument `target` has it."""
    splits: ClassVar[bool] = False
    """Whether it can divide requests, which is to have `share` and `mirror`."""

    def __init__(self, store: Store, model: str) -> None:
        """Names the model, and the store that has its versions and its history; nothing is asked yet."""
        self.store, self.model = store, check_name(model)

    @property
    def where(self) -> str:
        """Where it serves, for a person."""
        return f"the target `{self.name}`"

    @abstractmethod
    def check(self, version: Version) -> None:
        """Makes sure that a version can be served here, before anything is changed.

        Raises:
            DeploymentError: It cannot; says what to change.
        """

    @abstractmethod
    def turn(self) -> AbstractContextManager[object]:
        """Waits until no other rollout of this model goes on here, and keeps others waiting as long as it lasts."""

    @abstractmethod
    def unfinished(self) -> Unfinished | None:
        """What the note says; None where there is none."""

    @abstractmethod
    def raise_(self, release: Release) -> str:
        """Writes down what is served, and brings up the release beside it; callers do not reach it yet.

        Returns:
            The release's own address, where it alone answers.

        Raises:
            DeploymentError: It does not come up.
        """

    @abstractmethod
    def route(self, release: Release) -> str:
        """Has the release get all requests; returns once nothing else answers.

        Returns:
            The address that callers ask, which is the same for one release after another.

        Raises:
            DeploymentError: It does not answer there.
        """

    def share(
        self,
        release: Release,  # noqa: ARG002
        weight: float,  # noqa: ARG002
        features: list[str],  # noqa: ARG002
        *,
        sticky: Sticky | None = None,  # noqa: ARG002
    ) -> Split | None:
        """Has the release get a part of the requests, by chance; returns once it does.

        Args:
            release: It is raised.
            weight: The part, in (0, 1]; of 1, what was served before stays beside it, and gets none.
            features: Those whose values are to be captured.
            sticky: By what a caller is known, who always has the same arm; None where each request has its own.

        Returns:
            How they are divided; None where nothing was served before, so that the release gets none yet.

        Raises:
            DeploymentError: They cannot be divided here.
        """
        raise DeploymentError(f"{self.where} gives all requests to one version; use another strategy")

    def mirror(self, release: Release, copied: float, features: list[str]) -> Split | None:  # noqa: ARG002
        """Has the release get copies of a part of the requests, which what was served before answers; likewise.

        Args:
            release: It is raised.
            copied: The part, in (0, 1].
            features: Those whose values are to be captured.

        Returns:
            Where the answers of both are kept; None where nothing was served before.

        Raises:
            DeploymentError: Requests cannot be copied here.
        """
        raise DeploymentError(f"{self.where} copies no requests; use another strategy")

    @abstractmethod
    def current(self) -> Served | None:
        """What is served."""

    def meant(self) -> Served | None:
        """What is meant to be served, which may have ended."""
        return self.current()

    def divides(self) -> bool:
        """Whether all that a split of requests needs is there, as far as can be told now."""
        return self.current() is not None

    def tell(self, begun: Begun, event: Event) -> None:  # noqa: B027 (most have nobody to tell)
        """Tells those who look here, and not into the history, what has happened; where that fails, a warning says so.

        Args:
            begun: The deployment.
            event: Which the history has been told.
        """

    @abstractmethod
    def keep(self) -> None:
        """Takes away the note: what is served now holds."""

    @abstractmethod
    def undo(self) -> str:
        """Routes back to what the note has, and takes away both the release and the note.

        Returns:
            What became of it, in a sentence; empty where nothing was changed.
        """

    @abstractmethod
    def remove(self) -> None:
        """Ends all that is served of the model, also what a rollout has left halfway."""


TARGETS: PluginPoint[type[Target]] = PluginPoint(
    kind="target",
    group="cd4ml.targets",
    of=Target,
    built_in={
        MACHINE: "cd4ml.deployment.targets.machine:Machine",
        CLUSTER: "cd4ml.deployment.targets.cluster:Cluster",
        KSERVE: "cd4ml.deployment.targets.kserve:KServe",
    },
)


def check(target: str) -> str:
    """Makes sure that there is such a target.

    Raises:
        DeploymentError: There is not.
    """
    if target not in TARGETS.names:
        raise DeploymentError(f"target {target!r}: no such place to serve a model; {nearest(target, TARGETS.names)}")
    return target


def mistakes_in_a_cluster(target: str) -> Iterator[str]:
    """Why a pod cannot serve a model at a target."""
    if target == MACHINE:
        yield "target: 'machine' serves the model where its task runs; in a cluster it must be 'cluster' or 'kserve'"


def check_together(target: str, store: str, name: str) -> None:
    """Makes sure that a target can serve this model from this store.

    Raises:
        DeploymentError: It cannot; says what to change.
    """
    if target not in IN_A_CLUSTER:
        return
    if not store.startswith(S3):
        raise DeploymentError(f"store {store}: no pod of a cluster sees this folder; name a bucket as s3://bucket")
    if not NAME.fullmatch(name):
        raise DeploymentError(
            f"name {name!r}: a cluster cannot serve a model of this name; use a-z, 0-9 and '-', a letter first, "
            "47 characters at most"
        )
