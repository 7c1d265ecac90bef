"""Which addresses are asked without a proxy, whatever `HTTP_PROXY` and the like say."""

import ipaddress
from urllib.parse import urlsplit

IN_CLUSTER = (".svc", ".cluster.local")


def is_near(url: str) -> bool:
    """Whether an address is of this machine or of this cluster, which no proxy knows."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(IN_CLUSTER))
