"""Chance that a text always draws alike."""

from hashlib import blake2b


def drawn(text: str) -> float:
    """A number in (0, 1] that a text always gets."""
    return (int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") + 0.5) / 2**64
