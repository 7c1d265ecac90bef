"""Personal values as hashes: HMAC with SHA-256 by a secret key, so that nobody without it finds one by trying all."""

import hmac

SHORTEST = 16
"""Characters of a key: a shorter one is found by trying."""
PATTERN = "^[0-9a-f]{64}$"
"""Of a hash, in hexadecimal digits."""


def hashed(key: bytes, value: str) -> str:
    """The hash of a value."""
    return hmac.digest(key, value.encode(), "sha256").hex()


def too_short(name: str, key: str) -> str:
    """What is wrong with a key; empty where it is long enough.

    Args:
        name: What it is called.
        key: The key.
    """
    if len(key) >= SHORTEST:
        return ""
    return (
        f"{name}: is shorter than {SHORTEST} characters, so that it can be found by trying; make one by "
        "`openssl rand -hex 32`"
    )
