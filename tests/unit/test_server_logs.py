"""What is told of a server that did not come up: its error, and not whatever its log ends with."""

import subprocess
import sys

import pytest

from cd4ml.cluster.logs import errors, excerpt

WORKER_FAILED = """\
2026-11-25 09:49:31.795172: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow binary is optimized.
[2026-11-25 09:49:40 +0000] [16289] [INFO] Booting worker with pid: 16289
[2026-11-25 09:49:40 +0000] [16289] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "/opt/google/protobuf/internal/decoder.py", line 915, in _SkipLengthDelimited
    raise _DecodeError('Truncated message.')
google.protobuf.message.DecodeError: Truncated message.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/opt/gunicorn/arbiter.py", line 752, in spawn_worker
    worker.init_process()
    ^^^^^^^^^^^^^^^^^^^^^
  File "/opt/tensorflow/python/saved_model/loader_impl.py", line 110, in parse_saved_model
    raise IOError(f"Cannot parse file {path_to_pb}: {str(e)}.") from e
OSError: Cannot parse file b'/mnt/models/saved_model/saved_model.pb': Truncated message..
[2026-11-25 09:49:41 +0000] [16289] [INFO] Worker exiting (pid: 16289)
[2026-11-25 09:49:41 +0000] [16275] [INFO] Handling signal: term
Exception ignored in atexit callback: <function _exit_function at 0x7f9122ec1ee0>
Traceback (most recent call last):
  File "/usr/local/lib/python3.11/multiprocessing/process.py", line 147, in join
    assert self._parent_pid == os.getpid(), 'can only join a child process'
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
AssertionError: can only join a child process
[2026-11-25 09:49:41 +0000] [16275] [INFO] Shutting down: Master
[2026-11-25 09:49:44 +0000] [15842] [ERROR] Worker (pid:16289) exited with code 3.
[2026-11-25 09:49:44 +0000] [15842] [ERROR] Shutting down: Master
[2026-11-25 09:49:44 +0000] [15842] [ERROR] Reason: Worker failed to boot.
"""
"""What the model server says of a model that it cannot read, shortened."""


def test_the_exception_that_ended_the_server_is_told_with_its_place() -> None:
    assert excerpt(WORKER_FAILED) == [
        '  File "/opt/tensorflow/python/saved_model/loader_impl.py", line 110, in parse_saved_model',
        '    raise IOError(f"Cannot parse file {path_to_pb}: {str(e)}.") from e',
        "OSError: Cannot parse file b'/mnt/models/saved_model/saved_model.pb': Truncated message..",
    ]


def test_what_python_itself_says_of_a_program_is_understood() -> None:
    program = """
import sys
def load(folder):
    raise ValueError(f"{folder}: not a model:\\n  - no contract\\n  - no signature")
try:
    load("/mnt/models")
finally:
    print("\\n".join(f"line {number}" for number in range(50)), file=sys.stderr, flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert excerpt(ended.stderr + "2026-11-25 INFO: bye\n" * 50) == [
        '  File "<string>", line 4, in load',
        "ValueError: /mnt/models: not a model:",
        "  - no contract",
        "  - no signature",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-25 09:49:40,709 - server:main:12 - ERROR:  the port is taken",
        "2026-11-25 09:49:40,709 - server:main:12 - CRITICAL:  the port is taken",
        "[2026-11-25 09:49:44 +0000] [15842] [ERROR] Reason: Worker failed to boot.",
        "ERROR:    [Errno 98] error while attempting to bind on address",
        "Error: unknown flag --threadz",
        "server.py: error: unrecognized arguments: --threadz",
        "fatal: no such file",
        "panic: runtime error: index out of range [5] with length 3",
        "Fatal Python error: Segmentation fault",
        "2026-11-25 09:49:40.795172: F tensorflow/core/platform/statusor.cc:33] Check failed: ok",
    ],
)
def test_a_line_that_is_marked_as_an_error_is_told_with_the_next(line: str) -> None:
    log = ["INFO: starting"] * 20 + [line, "  detail"] + ["INFO: no error here, 0 errors, error_rate=0"] * 20

    assert excerpt("\n".join(log)) == [line, "  detail"]


def test_of_many_errors_the_last_are_told() -> None:
    log = [f"ERROR: request {number}" for number in range(100)]

    assert excerpt("\n".join(log)) == log[-10:]


def test_where_nothing_stands_out_the_end_is_told() -> None:
    log = [f"INFO: line {number}" for number in range(100)]

    assert excerpt("\n".join(log)) == log[-10:]
    assert excerpt("") == []
    assert errors("\n".join(log)) == []
    assert errors("\n".join([*log, "ERROR: it cannot", "go on", *log])) == ["ERROR: it cannot", "go on"]


def test_a_long_line_is_cut() -> None:
    [line] = excerpt("ERROR: " + "x" * 10_000)

    assert len(line) < 500
