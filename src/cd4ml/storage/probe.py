"""Whether a store keeps what every version rests on: of many that create one object at once, exactly one does.

There are stores that take the condition and do not heed it, or heed it and let several pass at the same moment.
"""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from cd4ml.errors import StorageError
from cd4ml.storage import AlreadyStoredError, Store

WRITERS = 8
ROUNDS = 5
"""How often they meet, for a store that lets several pass does not always do it."""


def check(store: Store) -> str:
    """Has eight writers create one object at once, several times; what they write stays below `probes/`.

    Returns:
        What was seen, in a few words.

    Raises:
        StorageError: Another number of them than one was told that it did; or the store cannot be written.
    """
    with ThreadPoolExecutor(WRITERS) as writers:
        for _ in range(ROUNDS):
            name = f"probes/{uuid.uuid4().hex}"
            won = _winners(store, name, writers)
            if len(won) != 1 or store.read(name) != won[0]:
                raise StorageError(
                    f"store {store.location}: of {WRITERS} that created one object at once {len(won)} were told that "
                    "they did, so that two runs at once would publish the same version; upgrade it, or keep the store "
                    "in an S3 that heeds `If-None-Match`, as MinIO and Amazon's do"
                )
    return f"of {WRITERS} writers at once one won, {ROUNDS} times"


def _winners(store: Store, name: str, writers: ThreadPoolExecutor) -> list[str]:
    """What was written by each who was told that it created the object."""
    together = threading.Barrier(WRITERS)

    def create(text: str) -> bool:
        together.wait()
        try:
            store.add(name, text)
        except AlreadyStoredError:
            return False
        return True

    texts = [f"writer {number}\n" for number in range(WRITERS)]
    return [text for text, won in zip(texts, writers.map(create, texts), strict=True) if won]
