"""The cluster's API, as a client asks it."""

import socket
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from cd4ml.cluster import connection
from cd4ml.errors import DeploymentError


def test_an_api_that_takes_connections_and_says_nothing_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {
            "contexts": [{"name": "silent", "context": {"cluster": "silent", "user": "nobody"}}],
            "clusters": [{"name": "silent", "cluster": {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}}],
            "users": [{"name": "nobody", "user": {}}],
            "current-context": "silent",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(settings))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.05)
        monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda _: None)

        with pytest.raises(DeploymentError, match="the cluster's API does not answer"), connection.told():
            client.VersionApi(connection.connect()).get_code()
