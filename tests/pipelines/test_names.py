"""A table with the names that tables have: it reaches a deployment, though the machine is behind a proxy."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from workplace import Workplace

KEY, LABEL, GROUP, OTHER_GROUP = ".id", "<b>took</b> = 50 %, {{ 7*7 }}", "com,ma", "e=f"
NUMBERS = ["", " ", "a b", "a.b", "a_b", "x%", "_x", "price/unit", "$5", "$x^{$", "größe", "名", "😀", "new\nline"]
NUMBERS += ['q"q', "it's", "`tick`", "|", "probability", "features", "digest", "overall", "value", "Encoded_1"]
NUMBERS += ["self", "class", "training", "inputs", "__prediction_candidate", "cd4ml_side", "[x](y)", "z" * 300]
TEXTS = [GROUP, OTHER_GROUP, "__label", "&amp;"]


def write_table(file: Path, rows: int = 1500) -> None:
    random = np.random.default_rng(1)
    numbers = {name: random.normal(size=rows) for name in NUMBERS}
    texts = {name: random.choice(["north", "south"], rows) for name in TEXTS}
    took = numbers["self"] + numbers[""] + random.normal(size=rows) > 0
    pq.write_table(pa.table({KEY: np.arange(rows), **numbers, **texts, LABEL: took}), file)


@pytest.fixture
def _proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment names one that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.usefixtures("_proxy")
def test_columns_of_any_name_reach_a_verified_deployment_behind_a_proxy(tmp_path: Path) -> None:
    place, port = Workplace(tmp_path), free_port()
    write_table(tmp_path / "table.parquet")
    arguments = {
        "name": "named",
        "source": "table.parquet",
        "dataset": "named",
        "key": KEY,
        "label": LABEL,
        "slices": ["__label"],
        "sensitive": [GROUP, OTHER_GROUP],
        "data_limits": {"anomalies": 0},
        "model_limits": {
            "example_count": {"min": 30, "slices": ["overall", "com%2Cma=*", "__label=*"]},
            "fairness": {"e%3Df": {"selection_rate": {"max_gap": 1}}},
        },
        "baseline": {"model": "linear", "epochs": 2},
        "candidate": {"model": "dnn", "hidden": [8], "epochs": 2, "reweight": [GROUP, OTHER_GROUP]},
        "store": "store",
        "port": port,
    }
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"pipeline": "training", "arguments": arguments}, allow_unicode=True))

    run = place.run("run", "--keep-serving", file)

    try:
        assert run.code == 0, run.output
        assert set(run.states().values()) == {"passed"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            inputs = client.get("/metadata").json()["inputs"]
            assert [one["name"] for one in inputs] == [*NUMBERS, *TEXTS]
            row = [0.5] * len(NUMBERS) + ["north"] * len(TEXTS)
            request = {"data": {"names": [*NUMBERS, *TEXTS], "ndarray": [row]}}
            assert 0 < client.post("/api/v1.0/predictions", json=request).json()["data"]["ndarray"][0][0] < 1
    finally:
        assert place.run("stop", "named").code == 0
