"""What the workers of a training agree on: what one of them knows, all act upon, at the same step."""

import contextlib
import socket
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cd4ml.training.checkpoints import State, packed, unpacked
from cd4ml.training.workers import LOOK_SECONDS, MEET_SECONDS, Worker

LOSSES = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)
"""What TensorFlow raises in a worker that has lost another one."""


class Alone:
    """The one process of a training, which agrees with itself."""

    count = 1
    """How many they are."""
    strategy: tf.distribute.Strategy | None = None
    """How TensorFlow has them train one network; None where that is up to the devices."""

    def any(self, *flags: bool) -> Sequence[bool]:
        """Which of the flags one of them, or more, has set; each of them asks at once."""
        return flags

    def of_first(self, state: State | None) -> State | None:
        """What the first of them has; of the others it makes no difference what they give."""
        return state

    def part(self) -> None:
        """Ends what they do together, once all of them are there; whoever is lost from now on is not missed."""


class Together(Alone):
    """One of several processes, each of which says the same at the same time, else all wait."""

    def __init__(self, worker: Worker, *, seconds: float = MEET_SECONDS) -> None:
        """Waits until all are there; before TensorFlow computes anything in this process.

        Args:
            worker: Which of them this is.
            seconds: How long the first one may take to be there.

        Raises:
            DeadlineExceededError: It is not.
        """
        self.count, self._worker = len(worker.addresses), worker
        if not worker.is_first:
            _wait_for(worker.addresses[0], seconds)
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy(
            tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": list(worker.addresses)}),
                task_type="worker",
                task_id=worker.number,
                rpc_layer="grpc",
            ),
            tf.distribute.experimental.CommunicationOptions(
                implementation=tf.distribute.experimental.CommunicationImplementation.RING
            ),
        )
        self._devices = self.strategy.num_replicas_in_sync // self.count
        self._sum = tf.function(self._summed, input_signature=[tf.TensorSpec([None], tf.int64)])

    def any(self, *flags: bool) -> Sequence[bool]:
        """As above."""
        return [bool(count) for count in self._sum(np.array(flags, np.int64)).numpy()]

    def of_first(self, state: State | None) -> State | None:
        """As above."""
        content = packed(state) if state and self._worker.is_first else b""
        (size,) = self._sum(np.array([len(content)])).numpy()
        numbers = np.zeros(-(-int(size) // 8), np.int64)
        numbers.view(np.uint8)[: len(content)] = np.frombuffer(content, np.uint8)
        return unpacked(self._sum(numbers).numpy().tobytes()[:size]) if size else None

    def part(self) -> None:
        """As above."""
        self._worker.parted()
        with contextlib.suppress(*LOSSES):
            self.any(False)

    def _summed(self, numbers: tf.Tensor) -> tf.Tensor:
        """The sum over all of them."""
        assert self.strategy

        def own() -> tf.Tensor:
            place = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.where(place % self._devices == 0, numbers, tf.zeros_like(numbers))

        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(own), axis=None)


def _wait_for(address: str, seconds: float) -> None:
    """Waits until a worker hears others; not in TensorFlow, which takes no signal meanwhile and waits for long."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_SECONDS).close()
        except OSError as error:
            if time.monotonic() > deadline:
                said = f"worker 0 does not answer at {address} after {seconds:g} s: {error}"
                raise tf.errors.DeadlineExceededError(None, None, said) from error
        time.sleep(LOOK_SECONDS)
