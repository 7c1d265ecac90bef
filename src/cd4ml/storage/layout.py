"""What the store keeps, and as whom it is read and written; the policies of its users are made from this.

A kind of object has a folder of its own, for a policy goes by the beginning of a name. `sources/` is the one into which
people put what they want; all else is written by runs.
"""

from dataclasses import dataclass
from enum import StrEnum

from cd4ml.errors import StorageError
from cd4ml.names import nearest, shown


class Role(StrEnum):
    """As whom the store is asked."""

    PIPELINES = "pipelines"
    """The tasks of a run, but for the three below."""
    TRAINER = "trainer"
    """The tasks that train, which run a team's own code: they write how far they are, and nothing else."""
    PUBLISHER = "publisher"
    """The task that publishes, which alone writes models."""
    DEPLOYER = "deployer"
    """The task that deploys, which alone writes deployments."""
    MODELS = "models"
    """The pods that serve a model."""
    ROUTER = "router"
    """The pods that divide requests between the releases of a model."""
    MONITORING = "monitoring"
    """What watches the data and the deployments."""


@dataclass(frozen=True)
class Kind:
    """One kind of what is kept, all below one name."""

    name: str
    holds: str
    readers: frozenset[Role]
    writers: frozenset[Role] = frozenset()
    replaced: bool = False
    """Whether its objects are written again in each other's place, as of few kinds."""
    days: int | None = None
    """After which its objects go; None of what stays for good."""


_PIPELINES, _PUBLISHER, _DEPLOYER = (frozenset({role}) for role in (Role.PIPELINES, Role.PUBLISHER, Role.DEPLOYER))
_TRAINER, _MONITORING = frozenset({Role.TRAINER}), frozenset({Role.MONITORING})
_TASKS = _PIPELINES | _PUBLISHER | _DEPLOYER
KINDS = (
    Kind("sources", "data as others bring it; never written by a run", _PIPELINES | _MONITORING),
    Kind("datasets", "`NAME`: a Delta table with its versions", _PIPELINES | _MONITORING, _PIPELINES),
    Kind(
        "catalogue",
        "pages about datasets and models, and what those of datasets are made of",
        _TASKS,
        _TASKS,
        replaced=True,
    ),
    Kind("tags", "`DATASET/TAG`: a pointer at a version of a dataset", _PIPELINES | _PUBLISHER, _PIPELINES),
    Kind("erasures", "`DATASET/NUMBER.json`: what was taken out of all versions of a dataset", _PIPELINES),
    Kind("models", "`NAME/VERSION`: a published model, whole", _TASKS | _MONITORING | {Role.MODELS}, _PUBLISHER),
    Kind(
        "promotions",
        "`NAME/VERSION.json`: from which environment a version was copied, by whom, and what it was held against; "
        "written by people alone",
        _TASKS | _MONITORING,
    ),
    Kind("aliases", "`NAME/ALIAS`: a pointer at a version of a model", _TASKS, _PUBLISHER),
    Kind(
        "approvals",
        "`NAME/VERSION/NUMBER.json`: what people say of a version and its rollouts; written by them alone",
        _PIPELINES | _DEPLOYER,
    ),
    Kind("freezes", "`NUMBER.json`: when nothing is deployed; written by people alone", _PIPELINES | _DEPLOYER),
    Kind(
        "deployments",
        "`NAME/NUMBER/…`: the events of each deployment",
        _PIPELINES | _DEPLOYER | _MONITORING,
        _DEPLOYER,
    ),
    Kind(
        "traffic",
        "`MODEL/NUMBER.json`: who gets which requests, while that deployment shares them",
        _DEPLOYER | {Role.ROUTER},
        _DEPLOYER,
        replaced=True,
        days=365,
    ),
    Kind(
        "captures",
        "`MODEL/…`: what model servers and routers keep of requests and feedback",
        _PIPELINES | _DEPLOYER | _MONITORING,
        frozenset({Role.MODELS, Role.ROUTER}),
        days=90,
    ),
    Kind(
        "labels",
        "`MODEL/DIGEST/…`: what came to be true of predictions, brought in bulk",
        _PIPELINES | _DEPLOYER | _MONITORING,
        _MONITORING,
    ),
    Kind(
        "windows",
        "`MODEL`: a Delta table of what was predicted, and what came to be true of it, by window",
        _PIPELINES | _MONITORING,
        _MONITORING,
    ),
    Kind(
        "monitored",
        "`MODEL/WINDOW/NUMBER/…`: a window as it was judged: its drift, its quality, the verdict",
        _PIPELINES | _MONITORING,
        _MONITORING,
    ),
    Kind(
        "alerts",
        "`MODEL/NUMBER.json`: what monitoring tells people of a model, each time that it changes",
        _PIPELINES | _MONITORING,
        _MONITORING,
    ),
    Kind(
        "retrainings",
        "`MODEL/NUMBER/…`: whether a model is trained again, why, and what came of it",
        _PIPELINES | _MONITORING,
        _MONITORING,
    ),
    Kind("predictions", "`MODEL/OUTPUT`: a Delta table of what a model predicted", _PIPELINES, _PIPELINES),
    Kind("judgements", "`TEST SPLIT/CANDIDATE`: which models one test split has judged", _PIPELINES, _PIPELINES),
    Kind("runs", "`PIPELINE/RUN/…`: the record of a run", _TASKS | _MONITORING, _TASKS),
    Kind(
        "checkpoints",
        "`KEY/{0,1}`: what a training that was ended goes on from",
        _TRAINER,
        _TRAINER,
        replaced=True,
        days=30,
    ),
    Kind(
        "workers",
        "`TASK/DIGEST`: what a training on several machines gives its further workers to read",
        _TRAINER,
        _TRAINER,
        replaced=True,
        days=3,
    ),
    Kind(
        "progress",
        "`PIPELINE/RUN/TASK-KEY.json`: how far a training of a run is",
        _PIPELINES,
        _TRAINER,
        replaced=True,
        days=30,
    ),
    Kind(
        "sweeps",
        "`SWEEP/…`: what a sweep over a model's settings has tried, which it goes on from",
        _PIPELINES | _TRAINER,
        _TRAINER,
        replaced=True,
        days=90,
    ),
    Kind(
        "learning",
        "`MODEL/KEY/ROWS`: what a model that learns online had learnt after so many rows",
        _PIPELINES | _TRAINER,
        _TRAINER,
        replaced=True,
        days=90,
    ),
    Kind("probes", "what `cd4ml doctor` wrote to see whether one of many writers wins", _PIPELINES, _PIPELINES),
)
PASSING = {kind.name: kind.days for kind in KINDS if kind.days}
"""After how many days the objects of a kind go, in a bucket by a rule, of those that do not stay."""


def read_by(role: Role) -> list[str]:
    """The kinds that a role may read."""
    return [kind.name for kind in KINDS if role in kind.readers]


def written_by(role: Role) -> list[str]:
    """The kinds that a role may write."""
    return [kind.name for kind in KINDS if role in kind.writers]


def check_replaced(name: str) -> str:
    """Makes sure that an object may take the place of the one that has its name.

    Raises:
        StorageError: It may not.
    """
    if not any(kind.replaced for kind in KINDS if kind.name == name.partition("/")[0]):
        raise StorageError(f"{shown(name)}: what is stored never changes; give it another name")
    return name


def check_kind(name: str) -> str:
    """Makes sure that a name begins with a kind, for what does not is refused by a bucket with policies.

    Raises:
        StorageError: It does not.
    """
    kinds = [kind.name for kind in KINDS]
    kind = name.partition("/")[0]
    if kind not in kinds:
        raise StorageError(
            f"{shown(name)}: the store keeps nothing of the kind {shown(kind)}; {nearest(kind, kinds)} "
            "(`cd4ml.storage.layout` holds them)"
        )
    return name
