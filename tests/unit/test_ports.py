"""What is said of a port that a server of this machine cannot have."""

import errno
import os
import socket

import pytest

from cd4ml.deployment.targets import servers
from cd4ml.errors import DeploymentError


def test_a_port_in_use_is_told_with_its_user() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(DeploymentError, match=f"is in use by process {os.getpid()} .*the argument `port`"):
            servers.check_port(taken.getsockname()[1])


def test_a_port_that_the_system_refuses_is_not_said_to_be_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)

    with pytest.raises(DeploymentError) as raised:
        servers.check_port(1024)

    assert str(raised.value) == (
        "port 1024 cannot be listened on (Permission denied): name another port with the argument `port`"
    )
