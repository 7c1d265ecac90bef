"""How right a version was within a window, made up, for tests of what comes after it."""

from cd4ml.contracts.verdict import Outcome
from cd4ml.contracts.window_quality import Labelling, Reliance, VersionQuality

VERSION = VersionQuality(
    version="1",
    digest="sha256:1",
    problem_name="binary",
    arms=("only",),
    rows=500,
    labelled=0,
    strange=0,
    thresholds=(),
    slices=(),
    fairness=(),
    moved=(),
    estimates=(),
    reliance=Reliance(Outcome.SKIPPED, 0, 0, "there are no estimates"),
    labelling=Labelling(Outcome.INCONCLUSIVE, 0, "no row has a label"),
    limits_digest="",
    checks=(),
)
"""Of which no row has a label, and nothing is checked."""
