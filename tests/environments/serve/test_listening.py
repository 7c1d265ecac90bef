"""Where a server listens."""

import pytest

from cd4ml.errors import EnvironmentSetupError
from cd4ml.serving.listening import bind


def test_a_port_has_one_server_but_for_a_router_that_takes_its_place():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]

        with pytest.raises(EnvironmentSetupError, match=f"^port {port} cannot be listened on .Address already in use"):
            bind("127.0.0.1", port)
        with bind("127.0.0.1", port, beside=True) as router:
            assert router.getsockname() == first.getsockname()
    bind("127.0.0.1", port).close()
