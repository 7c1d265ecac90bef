"""Where gunicorn listens: seldon-core binds to every address and has no option for it."""

from seldon_core.gunicorn_utils import StandaloneApplication


def listen_on(host: str) -> None:
    """Has the servers that seldon-core starts from now on listen on this address and nowhere else.

    Gunicorn's control socket is turned off: its place in the home folder is shared by all servers of a user, and
    lies on a read-only file system in a container.
    """
    load_config = StandaloneApplication.load_config

    def load_config_for_host(application: StandaloneApplication) -> None:
        load_config(application)
        port = application.options["bind"].rsplit(":", 1)[1]
        application.cfg.set("bind", f"{host}:{port}")
        application.cfg.set("control_socket_disable", True)

    StandaloneApplication.load_config = load_config_for_host
