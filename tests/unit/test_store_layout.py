"""What the store keeps, and who may do what with it: the same in the library, the policies, the manifests, the docs."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from cd4ml.cluster import accounts, store_setup
from cd4ml.errors import StorageError
from cd4ml.storage import layout, open_store

ROOT = Path(__file__).parents[2]
ROLES = {role.user: role for role in store_setup.ROLES}
OF_THE_STORE = ("pipelines", "trainer", "publisher", "deployer", "models", "router", "monitoring")


def permitted(user: str, action: str) -> set[str]:
    """The kinds for whose objects a user's policy has the action."""
    patterns = [
        pattern.removeprefix("arn:aws:s3:::cd4ml/")
        for statement in ROLES[user].statements
        if action in statement["Action"]
        for pattern in statement["Resource"]
    ]
    kinds = [kind.name for kind in layout.KINDS] + ["other"]
    return {kind for kind in kinds if any(fnmatchcase(f"{kind}/name", pattern) for pattern in patterns)}


def told(user: str) -> tuple[set[str], set[str]]:
    """What the table in docs/admin.md says that a user may read, and write."""
    [row] = re.findall(rf"^\| `{user}` \| `(\S+)` \| (.*) \|$", (ROOT / "docs/admin.md").read_text(), re.MULTILINE)
    assert row[0] == ROLES[user].secret
    parts = {"read": set(), "write": set(), "read and write": set()}
    for part in row[1].split("; "):
        verb = next((verb for verb in ("read and write", "read", "write") if part.startswith(f"{verb} ")), "")
        if verb:
            parts[verb] |= set(re.findall(r"`(\w+)/`", part))
    return parts["read"] | parts["read and write"], parts["write"] | parts["read and write"]


@pytest.mark.parametrize("user", OF_THE_STORE)
def test_a_user_s_policy_and_the_admin_s_table_say_what_the_layout_says(user: str) -> None:
    role = layout.Role(user)
    read, written = set(layout.read_by(role)), set(layout.written_by(role))

    assert (permitted(user, "s3:GetObject"), permitted(user, "s3:PutObject")) == (read, written)
    assert told(user) == (read, written)


@pytest.mark.parametrize("kind", ["approvals", "promotions"])
def test_no_task_can_say_that_people_approved_what_it_deploys(kind: str) -> None:
    assert [user for user in OF_THE_STORE if kind in permitted(user, "s3:PutObject")] == []


def test_who_trains_writes_nothing_but_how_far_it_is_and_what_it_tries_and_reads_nothing_else() -> None:
    assert permitted("trainer", "s3:GetObject") == {"checkpoints", "learning", "sweeps", "workers"}
    assert permitted("trainer", "s3:PutObject") == {"checkpoints", "learning", "progress", "sweeps", "workers"}
    for kind in ("checkpoints", "learning", "progress", "sweeps", "workers"):
        assert [user for user in OF_THE_STORE if kind in permitted(user, "s3:PutObject")] == ["trainer"]
    for kind in ("checkpoints", "workers"):
        assert [user for user in OF_THE_STORE if kind in permitted(user, "s3:GetObject")] == ["trainer"]


def test_nobody_may_delete() -> None:
    actions = [action for role in store_setup.ROLES for one in role.statements for action in one["Action"]]

    assert not [action for action in actions if "Delete" in action or action.endswith("*")]


def test_who_writes_nothing_that_it_reads_sees_no_other_names() -> None:
    for user in ("models", "router"):
        [listing] = [one for one in ROLES[user].statements if "s3:ListBucket" in one["Action"]]
        seen = listing["Condition"]["StringLike"]["s3:prefix"]
        assert sorted(seen) == sorted(f"{kind}/*" for kind in layout.read_by(layout.Role(user)))


def test_what_the_layout_does_not_know_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing of the kind 'modells'; did you mean 'models'"):
        open_store(tmp_path).add("modells/uptake", "text")


def test_the_manifests_bear_the_same_names() -> None:
    files = [file for file in (ROOT / "manifests").rglob("*.yaml") if file.name != "kustomization.yaml"]
    resources = [one for file in files for one in yaml.safe_load_all(file.read_text()) if one]
    named = {(one.get("kind"), one.get("metadata", {}).get("name")): one for one in resources}
    secrets = {role.secret for role in store_setup.ROLES} | {accounts.ROOT_SECRET}

    assert ("ServiceAccount", accounts.DEPLOYER) in named
    assert ("ConfigMap", accounts.LAUNCHER_SETTINGS) in named
    assert set(named["Role", "minio-setup"]["rules"][0]["resourceNames"]) == secrets
