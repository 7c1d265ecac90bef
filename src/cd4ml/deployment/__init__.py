"""A published version on its way into production."""

import logging

logging.getLogger("httpx").setLevel(logging.WARNING)  # below, it tells of each request that is made
