"""Where a model can be served: what cannot work is said before anything runs."""

import pytest

from cd4ml.deployment import targets
from cd4ml.errors import DeploymentError


@pytest.mark.parametrize(
    ("target", "store"), [("machine", "store"), ("machine", "s3://cd4ml"), ("cluster", "s3://cd4ml/team")]
)
def test_a_target_with_a_store_that_it_sees_is_fine(target: str, store: str) -> None:
    targets.check_together(targets.check(target), store, "promotion-uptake")


@pytest.mark.parametrize("name", ["u", "u2", "a-9", "u" * 47])
def test_a_name_that_seldon_can_make_names_of_is_fine(name: str) -> None:
    targets.check_together("cluster", "s3://cd4ml", name)


@pytest.mark.parametrize(
    ("target", "store", "name", "said"),
    [
        ("cluster", "store", "uptake", "store store: no pod of a cluster sees this folder"),
        ("cluster", "s3://cd4ml", "Uptake", "name 'Uptake': a cluster cannot serve a model of this name"),
        ("cluster", "s3://cd4ml", "up_take", "name 'up_take': a cluster cannot serve"),
        ("cluster", "s3://cd4ml", "9u", "name '9u': a cluster cannot serve"),
        ("cluster", "s3://cd4ml", "u-", "name 'u-': a cluster cannot serve"),
        ("cluster", "s3://cd4ml", "u" * 48, "47 characters at most"),
    ],
)
def test_what_cannot_be_served_is_refused(target: str, store: str, name: str, said: str) -> None:
    with pytest.raises(DeploymentError, match=said):
        targets.check_together(target, store, name)


def test_a_mistyped_target_is_named() -> None:
    with pytest.raises(
        DeploymentError, match="target 'clusters': no such place to serve a model; did you mean 'cluster'"
    ):
        targets.check("clusters")
