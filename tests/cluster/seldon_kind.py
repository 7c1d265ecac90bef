"""The kind SeldonDeployment as Seldon Core 1.17.1 brings it: what its schema prunes, and what its webhook refuses.

The webhook is played by an admission policy, so that the API server says no as it would of the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import client
from operators import ANYTHING, CustomKind, wait_until

POLICY = "seldon-webhook"

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _known(names: str, required: tuple[str, ...] = (), **typed: Any) -> dict[str, Any]:
    """An object of these fields; the API server prunes others without a word."""
    fields = {**dict.fromkeys(names.split(), ANYTHING), **typed}
    return {"type": "object", "properties": fields, "required": list(required)}


def _list(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


PORT = _known(
    "hostIP hostPort name",
    ("containerPort",),
    containerPort={"type": "integer"},
    protocol={"type": "string", "default": "TCP"},
)
HOOK = _known("exec httpGet tcpSocket")
CONTAINER = _known(
    "args command env envFrom image imagePullPolicy livenessProbe readinessProbe resources securityContext "
    "startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts "
    "workingDir",
    ("name",),
    name={"type": "string"},
    lifecycle=_known("", postStart=HOOK, preStop=HOOK),
    ports=_list(PORT, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"]}),
)
POD = _known(
    "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks "
    "ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostname imagePullSecrets nodeName nodeSelector os "
    "overhead preemptionPolicy priority priorityClassName readinessGates restartPolicy runtimeClassName schedulerName "
    "securityContext serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain "
    "terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes",
    ("containers",),
    containers=_list(CONTAINER),
    initContainers=_list(CONTAINER),
)
GRAPH = _known(
    "endpoint envSecretRefName implementation logger methods modelUri parameters serviceAccountName "
    "storageInitializerImage type",
    ("name",),
    name={"type": "string"},
    children=_list({"type": "object", **ANYTHING}),
)
PREDICTOR = _known(
    "engineResources explainer progressDeadlineSeconds ssl svcOrchSpec",
    ("graph", "name"),
    name={"type": "string"},
    annotations=TEXTS,
    labels=TEXTS,
    replicas={"type": "integer"},
    traffic={"type": "integer"},
    shadow={"type": "boolean"},
    graph=GRAPH,
    componentSpecs=_list(
        _known(
            "hpaSpec kedaSpec pdbSpec replicas",
            metadata=_known("", name={"type": "string"}, annotations=TEXTS, labels=TEXTS),
            spec=POD,
        )
    ),
)
SPEC = _known(
    "name oauth_key oauth_secret protocol replicas serverType transport",
    ("predictors",),
    annotations=TEXTS,
    predictors=_list(PREDICTOR),
)
KIND = CustomKind(
    name="SeldonDeployment",
    group="machinelearning.seldon.io",
    version="v1",
    plural="seldondeployments",
    short="sdep",
    schema={"properties": {"spec": SPEC, "status": {"type": "object", **ANYTHING}}},
)

REFUSED = {
    "Graph contains no predictors": "variables.all.size() > 0",
    "Duplicate predictor name": "variables.all.all(p, variables.all.exists_one(q, q.name == p.name))",
    "Multiple shadows are not allowed": "variables.shadows.size() < 2",
    "Shadow can not exist as only predictor": "variables.all.size() != 1 || variables.shadows.size() == 0",
    "shadow traffic is illegal, the traffic number should be between [0, 100]": (
        "variables.shadows.all(p, !has(p.traffic) || (p.traffic >= 0 && p.traffic <= 100))"
    ),
    "Traffic must sum to 100 for multiple predictors": "variables.answering.size() < 2 || variables.traffic == 100",
    "Traffic must sum be 100 for a single predictor when set": (
        "variables.all.size() != 1 || variables.traffic <= 0 || variables.traffic >= 100"
    ),
    "Running without engine only valid for single element graphs": (
        "variables.all.all(p, !has(p.annotations) || !('seldon.io/no-engine' in p.annotations) "
        "|| !has(p.graph.children) || p.graph.children.size() == 0)"
    ),
    "Found duplicate service name in seldon.io/svc-name": (
        "variables.named.all(p, variables.named.exists_one(q, q.annotations['seldon.io/svc-name'] "
        "== p.annotations['seldon.io/svc-name']))"
    ),
    "Can't find container for Predictive Unit": (
        "variables.all.all(p, has(p.graph.implementation) || (has(p.componentSpecs) && p.componentSpecs.exists(c, "
        "c.spec.containers.exists(one, one.name == p.graph.name))))"
    ),
}
"""What the webhook says no with, and what has to hold for a yes. A weight of 150 is fine, and `type: MODLE`."""
POLICY_CONTENT = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": POLICY},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [KIND.group],
                    "apiVersions": [KIND.version],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": [KIND.plural],
                }
            ]
        },
        "variables": [
            {"name": "all", "expression": "object.spec.predictors"},
            {"name": "shadows", "expression": "variables.all.filter(p, has(p.shadow) && p.shadow)"},
            {"name": "answering", "expression": "variables.all.filter(p, !has(p.shadow) || !p.shadow)"},
            {"name": "traffic", "expression": "variables.answering.map(p, has(p.traffic) ? p.traffic : 0).sum()"},
            {
                "name": "named",
                "expression": "variables.all.filter(p, has(p.annotations) && 'seldon.io/svc-name' in p.annotations)",
            },
        ],
        "validations": [
            {"expression": expression, "message": message, "reason": "Invalid"}
            for message, expression in REFUSED.items()
        ],
    },
}
BINDING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": POLICY},
    "spec": {"policyName": POLICY, "validationActions": ["Deny"]},
}


@contextmanager
def known(api: client.ApiClient) -> Iterator[None]:
    """Makes the cluster know the kind, with its webhook, while the context lasts; where it did before, leaves both."""
    admission = client.AdmissionregistrationV1Api(api)
    with KIND.known(api) as made:
        if made:
            admission.create_validating_admission_policy(POLICY_CONTENT)
            admission.create_validating_admission_policy_binding(BINDING)
            wait_until(lambda: _is_guarded(api), "its webhook")
        yield
        if made:
            admission.delete_validating_admission_policy_binding(POLICY)
            admission.delete_validating_admission_policy(POLICY)


def _is_guarded(api: client.ApiClient) -> bool:
    nothing = {
        "apiVersion": f"{KIND.group}/{KIND.version}",
        "kind": KIND.name,
        "metadata": {"name": "x"},
        "spec": {"predictors": []},
    }
    kind = (KIND.group, KIND.version, "default", KIND.plural)
    try:
        client.CustomObjectsApi(api).create_namespaced_custom_object(*kind, nothing, dry_run="All")
    except client.ApiException as error:
        return "Graph contains no predictors" in error.body
    return False
