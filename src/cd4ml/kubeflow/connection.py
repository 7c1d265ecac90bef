"""The connection to a KFP API server: where it is, as whom it is asked, and what a refusal of it means."""

import base64
import binascii
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import kfp_server_api
import urllib3

from cd4ml.errors import KubeflowError

TIMEOUT = (5, 60)
"""Seconds to connect, and to wait for an answer."""
PAGE = 200
"""The most that KFP gives of a list at once."""
KFP_NAMESPACE = "kubeflow"
"""Where KFP itself runs; the runs can be in another one."""
UI_VARIABLE = "KF_PIPELINES_UI_ENDPOINT"
_IN_CLUSTER = "http://ml-pipeline.{}.svc.cluster.local:8888"
_IN_CLUSTER_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 (KFP's own path, no token)
_PROXY = "{}/api/v1/namespaces/{}/services/{}:http/proxy"


class UnreachableError(KubeflowError):
    """The connection is lost, or KFP is overloaded or restarting: it may be there again in a moment."""


@dataclass(frozen=True)
class Address:
    """Which KFP is asked, and as whom; what is not said comes from the kubeconfig, as for KFP's own client."""

    host: str | None = None
    namespace: str | None = None
    context: str | None = None
    token_file: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class Health:
    """What the API server says of itself."""

    version: str | None
    """None where its build does not say it."""
    multi_user: bool

    @property
    def major(self) -> int | None:
        """The first number of the version."""
        return int(self.version.split(".")[0]) if self.version else None


class Connection:
    """A KFP API server, and what it offers."""

    def __init__(
        self, configuration: kfp_server_api.Configuration, *, host: str, address: Address, context: str
    ) -> None:
        """Takes what `connect` found."""
        self.host = host
        self.context = context
        """The context of the kubeconfig that led here; empty where none did."""
        self._address = address
        self._configuration = configuration
        self._client = _Client(configuration)
        self.runs = kfp_server_api.RunServiceApi(self._client)
        self.experiments = kfp_server_api.ExperimentServiceApi(self._client)
        self.pipelines = kfp_server_api.PipelineServiceApi(self._client)
        self.uploads = kfp_server_api.PipelineUploadServiceApi(self._client)
        self.recurring_runs = kfp_server_api.RecurringRunServiceApi(self._client)

    @property
    def where(self) -> str:
        """What is asked, for a person."""
        namespace = f", namespace {self.namespace}" if self.namespace else ""
        context = f" (kubeconfig's context {self.context})" if self.context else ""
        return f"KFP at {self.host}{namespace}{context}"

    @cached_property
    def health(self) -> Health:
        """What the API server says of itself.

        Raises:
            KubeflowError: It cannot be reached, it refuses, or it is no KFP.
        """
        for version in ("v2beta1", "v1beta1"):
            try:
                said = _content(self.fetch(f"{self.host}/apis/{version}/healthz"), self.host)
            except NotFoundError:
                continue
            if said.get("apiServerReady") is False:
                raise UnreachableError(f"{self.host}: KFP's API server is not ready; try again in a minute")
            named = said.get("tag_name") or said.get("apiServerTagName") or ""  # the API server's own word, or the UI's
            tag = re.match(r"\d+\.\d+[\w.+-]*", str(named).removeprefix("v"))
            known = tag.group() if tag else "1" if version == "v1beta1" else None
            return Health(known, bool(said.get("multi_user")))
        raise KubeflowError(f"{self.host}: there is no KFP API; name its address with --host")

    @property
    def namespace(self) -> str | None:
        """The namespace of the runs; None in single-user mode, where KFP wants to hear of none."""
        return self._address.namespace if self.health.multi_user else None

    @property
    def within(self) -> dict[str, Any]:
        """The argument that keeps a list to the namespace."""
        return {"namespace": self.namespace} if self.namespace else {}

    def check(self) -> None:
        """Makes sure that this KFP takes what cd4ml sends.

        Raises:
            KubeflowError: It is of another major version, or does not run in the namespace that is named.
        """
        ours = sdk_version()
        if self.health.major not in (None, int(ours.split(".")[0])):
            raise KubeflowError(
                f"{self.host}: is KFP {self.health.version}, and cd4ml compiles for KFP {ours}; "
                "name another KFP with --host, or upgrade it"
            )
        self.check_namespace()

    def check_namespace(self) -> None:
        """Makes sure that runs go where they are meant to go.

        Raises:
            KubeflowError: It has many users and no namespace is named, or one user and another one than its own is.
        """
        named = self._address.namespace
        if self.health.multi_user and not named:
            raise KubeflowError(f"{self.host}: has many users; name the namespace of your profile with --namespace")
        if not self.health.multi_user and named and named != KFP_NAMESPACE:
            raise KubeflowError(
                f"{self.host}: has one user, so all runs go to its own namespace ({KFP_NAMESPACE}, as a rule) and none "
                f"to {named}, where their accounts and Secrets are; leave --namespace out and apply the manifests of "
                "cd4ml to KFP's own namespace, or set KFP up for many users (MULTIUSER=true)"
            )

    def ask(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Calls one of the API's functions.

        Raises:
            KubeflowError: In plain words, why there is no answer.
        """
        try:
            return function(*arguments, **named, _request_timeout=TIMEOUT)
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
            raise self._explained(error, self.host) from error

    def listed(self, function: Callable[..., Any], kind: str, *, page: int = PAGE, **named: Any) -> Iterator[Any]:
        """What one of the API's lists holds, page after page.

        Args:
            function: The API's function.
            kind: What its answer calls them, as `runs`.
            page: How many to ask for at once.
            named: Its other arguments.

        Raises:
            KubeflowError: In plain words, why there is no answer.
        """
        token = ""
        while True:
            answer = self.ask(function, page_size=page, page_token=token, **named)
            yield from getattr(answer, kind) or []
            token = answer.next_page_token
            if not token:
                return

    def fetch(self, url: str, body: bytes | None = None, content_type: str = "application/json") -> bytes:
        """What a URL of KFP that the API's functions do not know gives; with a body it is posted.

        Raises:
            KubeflowError: In plain words, why there is no answer.
        """
        headers = {"Content-Type": content_type}
        try:
            self._client.update_params_for_auth(headers, [], ["Bearer"])
            answer = self._client.rest_client.request(
                "GET" if body is None else "POST", url, headers=headers, body=body, _request_timeout=TIMEOUT
            )
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
            raise self._explained(error, self.ui if url.startswith(self.ui) else self.host) from error
        content: bytes = answer.data
        return content

    def link(self, path: str) -> str | None:
        """Where a person sees something in the UI; None where no browser gets there."""
        ui = os.environ.get(UI_VARIABLE) or (self.host if self._address.host else None)
        return f"{ui.rstrip('/')}/#/{path}" if ui else None

    @property
    def ui(self) -> str:
        """The address of the UI, which also hands on what is asked of ML Metadata."""
        if os.environ.get(UI_VARIABLE) or not self.context:
            return os.environ.get(UI_VARIABLE, self.host).rstrip("/")
        return self.host.replace("/services/ml-pipeline:http/", "/services/ml-pipeline-ui:http/")

    def _explained(self, error: Exception, place: str) -> KubeflowError:
        if isinstance(error, urllib3.exceptions.HTTPError):
            return _explained_loss(error, place)
        status, said = getattr(error, "status", None) or 0, _said(error)
        match status:
            case 401:
                return KubeflowError(f"{place}: refuses to know you (401): {self._token_words()}")
            case 403:
                remedy = "ask an admin for the role, or name your own namespace with --namespace"
                if "services/proxy" in said:  # it is the cluster's API that refuses to hand on
                    remedy = "ask an admin for that right (docs/for-engineers.md), or name KFP's address with --host"
                return KubeflowError(f"{place}: you may not do this (403): {said}; {remedy}")
            case 404:
                return NotFoundError(f"{place}: not found (404): {said}")
            case 429 | 502 | 503 | 504:
                return UnreachableError(f"{place}: not ready ({status}): {said}; try again in a minute")
            case _ if 300 <= status < 400:
                return KubeflowError(f"{place}: sends to a login ({status}); give a token with --token-file")
            case _ if status >= 500:
                return KubeflowError(f"{place}: fails ({status}): {said}; see the log of the pod ml-pipeline")
        return KubeflowError(f"{place}: refuses ({status}): {said}")

    def _token_words(self) -> str:
        token = str(self._configuration.api_key.get("authorization", ""))
        if not token:
            return "no token was given; name the file of one with --token-file"
        expiry = _expiry(token)
        if expiry and expiry < datetime.now(UTC):
            return f"the token expired at {expiry:%Y-%m-%d %H:%M} UTC; get a new one"
        return "the token is not accepted; get a new one, for this KFP"


class NotFoundError(KubeflowError):
    """There is nothing of this name or id."""


class _Client(kfp_server_api.ApiClient):  # type: ignore[misc]
    """KFP's client, which by itself takes a web page for an answer in which everything is empty."""

    def deserialize(self, response: Any, response_type: Any) -> Any:
        _content(response.data, self.configuration.host)
        return super().deserialize(response, response_type)


def connect(address: Address) -> Connection:
    """Finds out where KFP is: the named host, else from within a cluster, else through the kubeconfig.

    Nothing is asked yet.

    Raises:
        KubeflowError: There is no host and no kubeconfig, or a file that was named cannot be read.
    """
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a retry is told in words of our own
    configuration = kfp_server_api.Configuration()
    configuration.retries = urllib3.Retry(connect=1, read=0, redirect=0, status=0, raise_on_redirect=False)
    host, context = address.host, ""
    if host:
        configuration.host = (host if re.match(r"https?://", host) else f"https://{host}").rstrip("/")
        host = configuration.host
    elif "KUBERNETES_SERVICE_HOST" in os.environ:
        host = configuration.host = _IN_CLUSTER.format(KFP_NAMESPACE)
        if not address.token_file and Path(_IN_CLUSTER_TOKEN).exists():
            _use_token(configuration, Path(_IN_CLUSTER_TOKEN))
    else:
        context = load_kubeconfig(configuration, address.context)
        host = _PROXY.format(configuration.host.rstrip("/"), KFP_NAMESPACE, "ml-pipeline")
        _hold_host(configuration, host)
    if address.ca:
        if not address.ca.is_file():
            raise KubeflowError(f"{address.ca}: no such file; --ca names a PEM file of certificates")
        configuration.ssl_ca_cert = str(address.ca)
    if address.token_file:
        _use_token(configuration, address.token_file)
    return Connection(configuration, host=host, address=address, context=context)


def load_kubeconfig(configuration: Any, context: str | None) -> str:
    """Fills in a client's configuration; the context's name.

    Raises:
        KubeflowError: There is no kubeconfig, or no such context in it.
    """
    import kubernetes  # takes half a second, and with a host it is not needed

    files = os.environ.get("KUBECONFIG")
    try:
        _, current = kubernetes.config.list_kube_config_contexts(files)
        kubernetes.config.load_kube_config(files, context, configuration)
    except kubernetes.config.ConfigException as error:
        named = f"the context {context!r}" if context else "a cluster"
        raise KubeflowError(
            f"the kubeconfig does not say how to reach {named} ({str(error).rstrip('.')}); "
            "name KFP with --host or KF_PIPELINES_ENDPOINT, or a context with --context"
        ) from error
    return context or str(current["name"])


def sdk_version() -> str:
    """The version of KFP's SDK, which compiles the pipelines."""
    return metadata.version("kfp")


def _hold_host(configuration: Any, host: str) -> None:
    """Sets the host for good: a kubeconfig's hook that renews its token sets the cluster's own again, and itself."""
    configuration.host = host
    renew = configuration.refresh_api_key_hook

    def refresh(changed: Any) -> None:
        renew(changed)
        changed.host, changed.refresh_api_key_hook = host, refresh

    if renew:
        configuration.refresh_api_key_hook = refresh


def _use_token(configuration: kfp_server_api.Configuration, file: Path) -> None:
    """Reads a token again for each request, for it may be replaced while a run is waited for."""

    def read(_: Any) -> str:
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise KubeflowError(f"{file}: {error.strerror}; --token-file names a file with a token in it") from error

    once = read(None)

    def refresh(changed: kfp_server_api.Configuration) -> None:
        changed.api_key["authorization"] = read(None) if file.is_file() else once

    configuration.api_key["authorization"] = once
    configuration.api_key_prefix["authorization"] = "Bearer"
    configuration.refresh_api_key_hook = refresh


def _content(answer: bytes | str, place: str) -> dict[str, Any]:
    """What KFP's API says, which is always an object of JSON."""
    try:
        content = json.loads(answer)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise KubeflowError(
            f"{place}: answers, but not as KFP's API does; where a login stands before it give a token with "
            "--token-file, else name the API itself with --host"
        )
    return content


def _explained_loss(error: urllib3.exceptions.HTTPError, place: str) -> KubeflowError:
    reason = getattr(error, "reason", None) or error
    words = loss_words(reason)
    if isinstance(reason, urllib3.exceptions.SSLError):
        return KubeflowError(f"{place}: TLS fails ({words}); name the authority that signed its certificate with --ca")
    return UnreachableError(
        f"{place}: cannot be reached ({words}); name KFP's address with --host, "
        "or forward it with `kubectl port-forward`"
    )


def loss_words(reason: Any) -> str:
    """Why a connection came to nothing: the end of what urllib3 says."""
    innermost = reason.args[-1] if reason.args and isinstance(reason.args[-1], Exception) else reason
    return str(innermost).rsplit(": ", 1)[-1]


def _said(error: Any) -> str:
    """The server's own words, the first line of them."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body or ""
    try:
        content = json.loads(body)
        words = str(content.get("message") or content.get("error") or "")
    except (ValueError, AttributeError):
        words = "" if body.lstrip().startswith("<") else body
    return (words.strip().splitlines() or [str(error.reason)])[0][:300]


def _expiry(token: str) -> datetime | None:
    """When a JWT expires; None for another kind of token."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None
