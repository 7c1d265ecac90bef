"""The cluster's API: how to reach it, and what it says when it refuses."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

from cd4ml.cluster import accounts
from cd4ml.errors import DeploymentError

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

ANSWER_SECONDS = 30
"""How long the API may take to answer, or to take a connection, before it is asked again; five times at most."""


class Client(client.ApiClient):  # type: ignore[misc]  # it has no types
    """Waits for no answer for ever."""

    def request(self, *args: Any, _request_timeout: Any = None, **named: Any) -> Any:  # noqa: D102
        seconds = _request_timeout or (ANSWER_SECONDS, ANSWER_SECONDS)  # to connect, and to answer
        return super().request(*args, _request_timeout=seconds, **named)


def connect() -> Client:
    """A client of the cluster that KUBECONFIG names, or this pod's, or that of the default kubeconfig.

    Raises:
        DeploymentError: There is none of them.
    """
    settings = client.Configuration()
    try:
        if _in_a_pod():
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)
    except config.ConfigException as error:
        raise DeploymentError(
            f"no cluster is known here ({error}); name one by KUBECONFIG, or run this in a pod of the cluster"
        ) from error
    settings.retries = urllib3.Retry(
        total=5,
        backoff_factor=0.5,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
        allowed_methods=None,  # also POST: who makes an object twice is told of the first
    )
    return Client(settings)


def own_namespace() -> str:
    """The namespace of this pod, or that of the kubeconfig's context."""
    if _in_a_pod():
        return POD_NAMESPACE.read_text(encoding="utf-8").strip()
    try:
        _, context = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    except config.ConfigException as error:
        raise DeploymentError(f"no cluster is known here ({error}); name one by KUBECONFIG") from error
    namespace: str = context["context"].get("namespace", "default")
    return namespace


def check(api: client.ApiClient, namespace: str, needed: Mapping[tuple[str, str, str], Sequence[str]]) -> None:
    """Makes sure that a namespace is there and that all may be done in it, before anything is.

    Args:
        api: As whom to ask.
        namespace: Where.
        needed: The verbs, by API group, resource and subresource.

    Raises:
        DeploymentError: There is no such namespace, or a permission is missing.
    """
    missing = [
        f"{verb} {resource}{subresource and '/'}{subresource}"
        for (group, resource, subresource), verbs in needed.items()
        for verb in verbs
        if not _may(api, namespace=namespace, group=group, resource=resource, subresource=subresource, verb=verb)
    ]
    if missing:
        user = client.AuthenticationV1Api(api).create_self_subject_review({}).status.user_info.username
        raise DeploymentError(
            f"{user} must not {', '.join(missing)} in the namespace {namespace}: run the pipeline with the "
            f"ServiceAccount `{accounts.DEPLOYER}` of that namespace, or ask its admin for that role "
            "(manifests/base/tasks.yaml has it)"
        )
    _check_namespace(api, namespace)


@contextmanager
def told() -> Iterator[None]:
    """Says what the cluster refuses.

    Raises:
        DeploymentError: It does.
    """
    try:
        yield
    except client.ApiException as error:
        raise DeploymentError(_words(error)) from error
    except urllib3.exceptions.HTTPError as error:
        raise DeploymentError(
            f"the cluster's API does not answer ({error}); is it up, and KUBECONFIG right?"
        ) from error


def _in_a_pod() -> bool:
    return "KUBECONFIG" not in os.environ and POD_NAMESPACE.exists()


def _check_namespace(api: client.ApiClient, namespace: str) -> None:
    try:
        client.CoreV1Api(api).read_namespace(namespace)
    except client.ApiException as error:
        if error.status == 404:
            raise DeploymentError(
                f"there is no namespace {namespace} in this cluster; make it, or name another"
            ) from None
        if error.status != 403:  # who works in one namespace only need not see it from outside
            raise


def _may(api: client.ApiClient, *, namespace: str, group: str, resource: str, subresource: str, verb: str) -> bool:
    attributes = {
        "namespace": namespace,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
    }
    review = {"spec": {"resourceAttributes": attributes}}
    answer = client.AuthorizationV1Api(api).create_self_subject_access_review(review)
    return bool(answer.status.allowed)


def _words(error: client.ApiException) -> str:
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.body or error.reason
    if error.status == 401:
        return f"the cluster's API does not know who asks ({message}): has the token of your kubeconfig expired?"
    return f"the cluster refuses: {message}"
