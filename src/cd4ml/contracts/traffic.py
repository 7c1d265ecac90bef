"""Which arm of a model gets which share of the requests: what the router follows, and who deploys writes.

The file may change at any time; it is written whole.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cd4ml.contracts.document import Document
from cd4ml.names import shown

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SERVER = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?")
_TOLERANCE = 1e-6
"""Of the sum of the weights."""


@dataclass(frozen=True)
class Arm:
    """One release that answers requests, or is only shown them."""

    name: str
    """The release's; tags, metrics and what is captured call it so."""
    url: str
    """Of the server, without a path: `http://127.0.0.1:9001`."""
    weight: float
    """The share of the requests that it answers, in [0, 1]; the weights of all arms sum to 1."""
    version: str = ""
    """The model's, in the registry."""
    mirror: bool = False
    """Whether it is shown copies of requests, and its answers are captured and given to nobody."""
    copied: float = 1.0
    """Of a mirror, the share of the requests of which it gets a copy, in (0, 1]."""

    @property
    def propensity(self) -> float:
        """How likely it is to get a request, or its copy."""
        return self.copied if self.mirror else self.weight


def arm_of(version: str) -> str:
    """What an arm is called that is told from others by the version of its model alone."""
    return f"version-{version}"


@dataclass(frozen=True)
class Sticky:
    """By what a caller is known, so that one arm answers all of its requests: a header, or a feature of the model."""

    header: str | None = None
    feature: str | None = None

    @property
    def mistakes(self) -> list[str]:
        """What is not as it should be."""
        if bool(self.header) == bool(self.feature):
            return ["sticky: takes either the name of a header or that of a feature"]
        if self.header and not _HEADER.fullmatch(self.header):
            return [f"sticky: {shown(self.header)} is no name of a header"]
        return []


@dataclass(frozen=True)
class Traffic(Document, kind="cd4ml/Traffic", remedy="write it again as docs/routing.md says"):
    """The arms of a model, and who is answered by which."""

    arms: tuple[Arm, ...]
    sticky: Sticky | None = None
    """None: each request has an arm of its own."""
    captured_features: tuple[str, ...] = ()
    """The features whose values are captured, whatever `CAPTURE_FEATURES` of the router says."""
    personal_features: tuple[str, ...] = ()
    """Those whose values are captured as hashes alone, or not at all where there is no key."""
    model_features: tuple[str, ...] = ()
    """Those of the models, whose values are captured too unless `CAPTURE_FEATURES` of the router names others."""

    def __post_init__(self) -> None:
        mistakes = [said for arm in self.arms for said in _mistakes_of(arm)]
        twice = [name for name, count in Counter(arm.name for arm in self.arms).items() if count > 1]
        mistakes += [f"arm {name} is there more than once" for name in twice]
        whole = sum(arm.weight for arm in self.arms)
        if not abs(whole - 1) <= _TOLERANCE:
            mistakes.append(f"the weights of the arms sum to {whole:g}, not 1")
        if self.sticky:
            mistakes += self.sticky.mistakes
        if mistakes:
            raise ValueError("; ".join(mistakes))

    @property
    def answering(self) -> tuple[Arm, ...]:
        """The arms with a weight."""
        return tuple(arm for arm in self.arms if arm.weight)

    @property
    def mirrors(self) -> tuple[Arm, ...]:
        """The arms that are shown copies of requests."""
        return tuple(arm for arm in self.arms if arm.mirror)

    def features(self, named: Sequence[str] | None) -> tuple[str, ...]:
        """Those whose values are captured, each once; the values of all others are not, for they may tell of persons.

        Args:
            named: In place of those of the models; None where nothing is said.
        """
        return tuple(dict.fromkeys((*self.captured_features, *(self.model_features if named is None else named))))

    @property
    def headline(self) -> str:
        """Who gets how much."""
        return ", ".join(f"{arm.name} {'mirror' if arm.mirror else f'{arm.weight:.4g}'}" for arm in self.arms)


def _mistakes_of(arm: Arm) -> list[str]:
    mistakes = []
    if not _NAME.fullmatch(arm.name):
        mistakes.append(
            "its name is not at most 63 small letters, digits, '-' and '.' that begin and end with a letter or digit"
        )
    if "@" in arm.url:
        mistakes.append("its url names a user; it has to be http://HOST:PORT alone")
    elif not _is_server(arm.url):
        mistakes.append(f"its url is {shown(arm.url)}, not http://HOST:PORT")
    if not 0 <= arm.weight <= 1:
        mistakes.append(f"its weight is {arm.weight:g}, not in [0, 1]")
    elif arm.mirror and arm.weight:
        mistakes.append(f"a mirror answers nobody, so its weight is 0, not {arm.weight:g}")
    if not 0 < arm.copied <= 1:
        mistakes.append(f"the share of requests that are copied is {arm.copied:g}, not in (0, 1]")
    elif arm.copied < 1 and not arm.mirror:
        mistakes.append("only a mirror gets copies; write `mirror: true`, or no `copied`")
    return [f"arm {shown(arm.name)}: {said}" for said in mistakes]


def _is_server(url: str) -> bool:
    found = _SERVER.fullmatch(url)
    return found is not None and 0 < int(found["port"] or 80) < 2**16
