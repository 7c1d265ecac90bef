"""What a run on this machine does about its servers before its tasks and after them, and what ends them for good."""

from cd4ml.deployment import rollout
from cd4ml.deployment.targets.machine import Machine
from cd4ml.deployment.targets.servers import Server, check_port
from cd4ml.storage import Store


def check_free(store: Store, model: str, port: int) -> None:
    """Makes sure that a model can be served at a port, where a server or router of its own may listen already.

    Raises:
        DeploymentError: The port is in use, or cannot be had for another reason.
    """
    if port not in Machine(store, model).ports():
        check_port(port)


def recover(store: Store, model: str) -> str:
    """Undoes what a run that was killed left of its deployment.

    Returns:
        What was done, in a sentence; empty where nothing was left, where a run is at it that lives, or where it is not
        ours to change.
    """
    here = Machine(store, model)
    if not here.may_change():
        return ""
    with here.alone(wait=False) as held:
        if not held:
            return ""
        undone = rollout.put_right(here)
        server = here.server()
        if undone or server is None or server.kept or server.owner_lives():
            return undone
        here.end_server()
        return f"{model}: the server at {server.url}, which run {server.run} left when it was killed, was ended"


def after(store: Store, model: str, run: str) -> tuple[Server | None, str]:
    """Ends the server that a run started, unless it is to be kept, and undoes a rollout that was killed.

    Returns:
        The server that is left, if any, and what was undone.
    """
    here = Machine(store, model)
    with here.turn():
        undone = rollout.put_right(here)
        server = here.server()
        if server is None or server.run != run or server.kept:
            return server, undone
        here.end_server()
        return None, undone
