"""The bill of materials of a published version: what it was made of, how good it is, and what its limits are.

It is an ML-BOM of CycloneDX 1.6, for who keeps an inventory of software: the model with its model card, the version of
the dataset and the test split by their digests, the revision of the code, and the packages of every environment.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from cd4ml import images
from cd4ml.contracts.dataset import DatasetVersion
from cd4ml.contracts.evaluation import CANDIDATE, OVERALL, Fairness, Group, Slice, Summary
from cd4ml.contracts.model import Contract
from cd4ml.contracts.release import Version
from cd4ml.contracts.verdict import Verdict
from cd4ml.registry import card
from cd4ml.version import VERSION

FILE = "bom.cdx.json"
SPECIFICATION = "1.6"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")

Part = dict[str, Any]


def text(version: Version, *, contract: Contract, verdict: Verdict, summary: Summary, dataset: DatasetVersion) -> str:
    """The bill of a version, as JSON.

    Args:
        version: What is published.
        contract: What the model takes and gives.
        verdict: What the gate said of it.
        summary: What `evaluate_model` found.
        dataset: The version that it was trained on.
    """
    materials = [_dataset(dataset), _test_split(summary), *_environments(version)]
    model = _model(version, contract) | {"modelCard": _model_card(contract, verdict, summary)}
    bill = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"{version.folder} {version.digest}").urn,
        "version": 1,
        "metadata": {
            "timestamp": version.published_at,
            "tools": {"components": [_cd4ml()]},
            "component": model,
            "properties": [{"name": "cd4ml:run", "value": version.run}],
        },
        "components": materials,
        "dependencies": [{"ref": "model", "dependsOn": [one["bom-ref"] for one in materials]}],
    }
    return json.dumps(bill, indent=1, allow_nan=False) + "\n"


def _cd4ml() -> Part:
    licence = {"license": {"id": "Apache-2.0"}}
    return {"type": "application", "name": "cd4ml", "version": VERSION, "licenses": [licence]}


def _model(version: Version, contract: Contract) -> Part:
    known = {"pedigree": {"commits": [{"uid": version.revision}]}} if _COMMIT.match(version.revision) else {}
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": version.name,
        "version": str(version.version),
        "description": f"predicts {contract.label}; the hash is over the names and bytes of the files that predict",
        "hashes": _hashes(version.digest),
        **known,
        "properties": [
            {"name": f"cd4ml:{name}", "value": value}
            for name, value in (
                ("digest", version.digest),
                ("revision", version.revision),
                ("specification", json.dumps(contract.model)),
                ("arguments", json.dumps(version.arguments)),
                ("champion", version.champion),
            )
            if value
        ],
    }


def _model_card(contract: Contract, verdict: Verdict, summary: Summary) -> Part:
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": contract.problem.task,
            "architectureFamily": str(contract.model["model"]),
            "datasets": [{"ref": "dataset"}, {"ref": "test-split"}],
            "inputs": [{"format": f"{one.name}: {one.kind}"} for one in contract.inputs],
            "outputs": [{"format": f"{contract.output}: {contract.gives}"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(summary))},
        "considerations": {
            "technicalLimitations": [
                *card.caveats(verdict, summary),
                *(f"limit: {one.reason}" for one in verdict.checks),
            ],
            "fairnessAssessments": list(_fairness(contract, summary)),
        },
    }


def _metrics(summary: Summary) -> Iterator[Part]:
    """All metrics on the whole test split, and the headlines on each slice."""
    for one in summary.of(CANDIDATE).values():
        shown = one.metrics if one.slice == OVERALL else card.headlines(summary)
        yield from (_metric(one, name) for name in shown if one.metrics.get(name) is not None)


def _metric(one: Slice, name: str) -> Part:
    ends = one.intervals.get(name)
    interval = {"lowerBound": f"{ends[0]:.6g}", "upperBound": f"{ends[1]:.6g}"} if ends else None
    measured = {"type": name, "value": f"{one.metrics[name]:.6g}", "slice": f"{one.slice} ({one.rows} rows)"}
    return measured | ({"confidenceInterval": interval} if interval else {})


def _fairness(contract: Contract, summary: Summary) -> Iterator[Part]:
    """By sensitive column the rate that differs the most between its groups."""
    reweighted = contract.model.get("reweight")
    for one in card.widest([one for one in summary.fairness if one.model == CANDIDATE]):
        yield {
            "groupAtRisk": f"{one.column}={one.lowest}",
            "harms": f"{one.metric}{_at(one)} is lowest there: {_rate(one.groups, one.lowest)}, and "
            f"{_rate(one.groups, one.highest)} in {one.column}={one.highest}",
            **({"mitigationStrategy": f"rows weighted by {', '.join(reweighted)}"} if reweighted else {}),
        }


def _at(one: Fairness) -> str:
    return "" if one.threshold is None else f" at {one.threshold}"


def _rate(groups: Mapping[str, Group], group: str | None) -> str:
    rate = groups[group].rate if group is not None else None
    return "unknown" if rate is None else f"{rate:.6g}"


def _dataset(dataset: DatasetVersion) -> Part:
    owner = {"governance": {"owners": [{"organization": {"name": dataset.owner}}]}} if dataset.owner else {}
    contents = {"type": "dataset", "name": dataset.name, "description": dataset.headline, **owner}
    return _data("dataset", dataset.name, dataset.digest) | {"version": str(dataset.version), "data": [contents]}


def _test_split(summary: Summary) -> Part:
    contents = {"type": "dataset", "description": f"{summary.rows:,} rows, which training never saw"}
    return _data("test-split", "test split", summary.test_digest) | {"data": [contents]}


def _data(reference: str, name: str, digest: str) -> Part:
    return {"type": "data", "bom-ref": reference, "name": name, "hashes": _hashes(digest)}


def _environments(version: Version) -> Iterator[Part]:
    """The image of each environment, with the digest of its lock and the packages that this names."""
    packages = images.packages()
    for name, digest in version.locks.items():
        yield {
            "type": "container",
            "bom-ref": f"environment:{name}",
            "name": f"cd4ml/{name}",
            "description": "the hash is that of its lock",
            "hashes": _hashes(digest),
            "components": [_package(name, *one) for one in packages.get(name, ())],
        }


def _package(environment: str, name: str, version: str) -> Part:
    return {
        "type": "library",
        "bom-ref": f"{environment}:{name}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{quote(version)}",
    }


def _hashes(digest: str) -> list[Part]:
    found = _DIGEST.fullmatch(digest)
    return [{"alg": "SHA-256", "content": found[1]}] if found else []
