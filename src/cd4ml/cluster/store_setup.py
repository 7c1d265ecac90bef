"""Gives a namespace its store: a Secret for each role, and the buckets, users and policies of its MinIO.

The Job `minio-setup` runs it: `python -m cd4ml.cluster.store_setup`, with NAMESPACE and MINIO_ENDPOINT (a URL). It is
safe to run again. What is there stays, so a Secret that was deleted is drawn anew, and its user gets the new key.
"""

import base64
import hashlib
import hmac
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3
from kubernetes import client, config
from minio import Minio, MinioAdmin
from minio.commonconfig import ENABLED, Filter
from minio.credentials import StaticProvider
from minio.error import MinioAdminException, MinioException
from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.versioningconfig import VersioningConfig

from cd4ml.cluster import accounts
from cd4ml.errors import Cd4mlError, StorageError
from cd4ml.storage import layout

STORE = "cd4ml"
"""The bucket of sources, datasets, models and deployments. Every version of an object stays, but of what the layout
has go; there an overwritten one goes the day after."""
ARTIFACTS = "mlpipeline"
"""The bucket of KFP's artifacts."""
NONCURRENT_DAYS = 30
"""How long an overwritten object of the bucket of artifacts can be had back."""
UNREACHABLE = urllib3.Retry(total=20, backoff_factor=0.5, backoff_max=15, status_forcelist=[502, 503, 504])
"""How MinIO is waited for: about four minutes, after which the Job tries again."""
TOKEN_SECONDS = 10 * 365 * 86400

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Role:
    """A user of MinIO, what it may do, and the Secret that holds its key."""

    user: str
    secret: str
    key: str
    """The entry of the Secret that is the user's secret key."""
    data: Callable[[str, str, str], dict[str, str]]
    """Makes the Secret of the user's name, its secret key and the endpoint."""
    statements: list[dict[str, Any]]


def _environment(user: str, key: str, endpoint: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
    }


def _launcher(user: str, key: str, endpoint: str) -> dict[str, str]:  # noqa: ARG001  KFP has the endpoint elsewhere
    return {"accesskey": user, "secretkey": key}


def _monitoring(user: str, key: str, endpoint: str) -> dict[str, str]:
    return _environment(user, key, endpoint) | {"token": _metrics_token(user, key)}


def _metrics_token(user: str, key: str) -> str:
    """The bearer token that MinIO takes from Prometheus: a JWT of the user, signed with its secret key."""
    claims = {"sub": user, "iss": "prometheus", "exp": int(time.time()) + TOKEN_SECONDS}
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in ({"alg": "HS512", "typ": "JWT"}, claims))
    return (signed + b"." + _base64url(hmac.digest(key.encode(), signed, hashlib.sha512))).decode()


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _allow(actions: list[str], *resources: str, prefixes: tuple[str, ...] = ()) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": actions,
        "Resource": [f"arn:aws:s3:::{name}" for name in resources],
    }
    return statement | ({"Condition": {"StringLike": {"s3:prefix": list(prefixes)}}} if prefixes else {})


_WRITE = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
_READ_AND_WRITE = ["s3:GetObject", *_WRITE]
_BROWSE = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]


def _on_store(role: layout.Role) -> list[dict[str, Any]]:
    """What a role may do to the kinds of the store's layout; who writes what it reads also sees all names."""
    may_read, may_write = layout.read_by(role), layout.written_by(role)
    both = [f"{kind}/*" for kind in may_write if kind in may_read]
    written = [f"{kind}/*" for kind in may_write if kind not in may_read]
    read = [f"{kind}/*" for kind in may_read if kind not in may_write]
    if both:
        browsing = [_allow(_BROWSE, STORE)]
    else:
        browsing = [
            _allow(["s3:GetBucketLocation"], STORE),
            _allow(["s3:ListBucket"], STORE, prefixes=tuple(read)),
        ]
    return [
        *browsing,
        *([_allow(_READ_AND_WRITE, *(f"{STORE}/{names}" for names in both))] if both else []),
        *([_allow(_WRITE, *(f"{STORE}/{names}" for names in written))] if written else []),
        *([_allow(["s3:GetObject"], *(f"{STORE}/{names}" for names in read))] if read else []),
    ]


def _user(role: layout.Role, secret: str) -> Role:
    """Who asks the store with what stands in the environment."""
    return Role(user=role, secret=secret, key="AWS_SECRET_ACCESS_KEY", data=_environment, statements=_on_store(role))


ROLES = (
    _user(layout.Role.PIPELINES, accounts.STORE_SECRET),
    _user(layout.Role.TRAINER, accounts.TRAINER_SECRET),
    _user(layout.Role.PUBLISHER, accounts.PUBLISHER_SECRET),
    _user(layout.Role.DEPLOYER, accounts.DEPLOYER_SECRET),
    _user(layout.Role.MODELS, accounts.MODELS_SECRET),
    _user(layout.Role.ROUTER, accounts.ROUTER_SECRET),
    Role(
        user="artifacts",
        secret=accounts.ARTIFACTS_SECRET,
        key="secretkey",
        data=_launcher,
        statements=[_allow(_BROWSE, ARTIFACTS), _allow(_READ_AND_WRITE, f"{ARTIFACTS}/*")],
    ),
    Role(
        user=layout.Role.MONITORING,
        secret=accounts.MONITORING_SECRET,
        key="AWS_SECRET_ACCESS_KEY",
        data=_monitoring,
        statements=[_allow(["admin:Prometheus"], "*"), *_on_store(layout.Role.MONITORING)],
    ),
)


def set_up(namespace: str, endpoint: str) -> None:
    """Makes what is missing in the namespace and its MinIO.

    Args:
        namespace: Where the Secrets lie.
        endpoint: MinIO's URL, as the pods of the cluster reach it.

    Raises:
        StorageError: The cluster or MinIO refuses, or MinIO cannot be reached.
    """
    root = _secret(
        namespace, accounts.ROOT_SECRET, lambda: {"MINIO_ROOT_USER": "admin", "MINIO_ROOT_PASSWORD": _new_key()}
    )
    keys = [(role, _key(namespace, role, endpoint)) for role in ROLES]
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise StorageError(f"MINIO_ENDPOINT {endpoint!r} is no URL; write http://HOST:PORT or https://HOST:PORT")
    credentials = StaticProvider(root["MINIO_ROOT_USER"], root["MINIO_ROOT_PASSWORD"])
    server = {"endpoint": url.netloc, "secure": url.scheme == "https", "credentials": credentials}
    try:
        log.info("MinIO at %s: waited for", endpoint)
        urllib3.request("GET", f"{endpoint}/minio/health/ready", retries=UNREACHABLE, timeout=10)
        _make_buckets(Minio(**server))
        _make_users(MinioAdmin(**server), keys)
    except urllib3.exceptions.HTTPError as error:
        raise StorageError(
            f"MinIO at {endpoint} does not answer ({error}); look at its pod: kubectl describe pod minio-0"
        ) from error
    except (MinioException, MinioAdminException) as error:
        raise StorageError(f"MinIO at {endpoint}: {_remedy(str(error))}") from error


def _new_key() -> str:
    return secrets.token_urlsafe(30)  # 40 characters, MinIO's limit


def _key(namespace: str, role: Role, endpoint: str) -> str:
    data = _secret(namespace, role.secret, lambda: role.data(role.user, _new_key(), endpoint))
    if not data.get(role.key):
        raise StorageError(f"the Secret {role.secret} has no {role.key}; delete it, and it is made anew")
    return data[role.key]


def _secret(namespace: str, name: str, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What a Secret holds; it is made when it is not there, and never changed."""
    api = client.CoreV1Api()
    try:
        found = api.read_namespaced_secret(name, namespace)
        log.info("Secret %s: is there", name)
    except client.ApiException as missing:
        if missing.status != 404:
            raise StorageError(f"Secret {name} in {namespace}: {missing.reason}; see the Role minio-setup") from missing
        labels = {"app.kubernetes.io/part-of": "cd4ml", "app.kubernetes.io/managed-by": "minio-setup"}
        body = client.V1Secret(metadata=client.V1ObjectMeta(name=name, labels=labels), string_data=make())
        try:
            found = api.create_namespaced_secret(namespace, body)
        except client.ApiException as error:
            raise StorageError(f"Secret {name} in {namespace} cannot be made: {error.reason}") from error
        log.info("Secret %s: made", name)
    return {entry: base64.b64decode(value).decode() for entry, value in (found.data or {}).items()}


def _make_buckets(minio: Minio) -> None:
    for bucket in (STORE, ARTIFACTS):
        if minio.bucket_exists(bucket):
            log.info("bucket %s: is there", bucket)
        else:
            minio.make_bucket(bucket)
            log.info("bucket %s: made", bucket)
        minio.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    expiration = NoncurrentVersionExpiration(noncurrent_days=NONCURRENT_DAYS)
    rule = Rule(ENABLED, Filter(prefix=""), rule_id="noncurrent", noncurrent_version_expiration=expiration)
    minio.set_bucket_lifecycle(ARTIFACTS, LifecycleConfig([rule]))
    _let_pass(minio)


def _let_pass(minio: Minio) -> None:
    """Has the store remove what is there for a time, where no rule of others says for how long."""
    found = minio.get_bucket_lifecycle(STORE)
    rules = list(found.rules) if found else []
    others = [rule for rule in rules if _removes(rule)]
    missing = [
        Rule(
            ENABLED,
            Filter(prefix=f"{name}/"),
            rule_id=name,
            expiration=Expiration(days=days),
            noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=1),
        )
        for name, days in layout.PASSING.items()
        if not any(f"{name}/".startswith(rule.rule_filter.prefix or "") for rule in others)
    ]
    if missing:
        minio.set_bucket_lifecycle(STORE, LifecycleConfig([*rules, *missing]))
        log.info("bucket %s: %s goes after a time", STORE, " and ".join(rule.rule_id or "" for rule in missing))


def _removes(rule: Rule) -> bool:
    """Whether a rule says for how long all is there whose name begins somehow."""
    by_name = rule.rule_filter and rule.rule_filter.tag is None and rule.rule_filter.and_operator is None
    return bool(by_name and rule.status == ENABLED and rule.expiration)


def _make_users(admin: MinioAdmin, keys: list[tuple[Role, str]]) -> None:
    for role, key in keys:
        policy = f"cd4ml-{role.user}"
        admin.policy_add(policy, policy={"Version": "2012-10-17", "Statement": role.statements})
        admin.user_add(role.user, key)
        admin.policy_set(policy, user=role.user)
        log.info("user %s: has the key of the Secret %s and the policy %s", role.user, role.secret, policy)


def _remedy(message: str) -> str:
    if "InvalidAccessKeyId" in message or "SignatureDoesNotMatch" in message:
        return (
            f"does not take the key of the Secret {accounts.ROOT_SECRET}; it reads it when it starts: "
            "kubectl rollout restart statefulset/minio"
        )
    if "StorageFull" in message:
        return "its disk is full; enlarge the volume of its claim data-minio-0, or remove what is not needed"
    return message


def main() -> int:
    """Runs it as the Job does; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config()
        else:
            config.load_kube_config()
        set_up(os.environ["NAMESPACE"], os.environ["MINIO_ENDPOINT"])
    except Cd4mlError as error:
        log.error("error: %s", error)
        return 1
    except urllib3.exceptions.HTTPError as error:
        log.error("error: the cluster's API does not answer (%s); does a NetworkPolicy let this pod reach it?", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
