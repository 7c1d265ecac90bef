"""The process of one task on this machine, which imports what the task needs while it waits for its inputs.

    python -P -m cd4ml.running.task_process READY FOLDER MODULE...

READY is a file descriptor that gets a byte once the MODULEs are imported. FOLDER, the task's, is there for whoever
looks at the processes of a machine. What to run comes as JSON on the standard input: the `source` of KFP's component,
and the `arguments` of KFP's executor. Where nothing comes, as when the run has ended, nothing runs.
"""

import contextlib
import gc
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path


def main(ready: int, modules: list[str]) -> None:
    """Imports, waits, and runs."""
    gc.disable()  # next to nothing of what is imported is garbage, and the search for it takes a quarter of the time
    for module in modules:
        with contextlib.suppress(ImportError):  # told where the component itself imports it
            importlib.import_module(module)
    gc.freeze()
    gc.enable()
    os.write(ready, b".")
    os.close(ready)
    told = sys.stdin.read()
    if told:
        _run(**json.loads(told))


def _run(source: str, arguments: list[str]) -> None:
    from kfp.dsl import executor_main

    program = Path(tempfile.mkdtemp()) / "ephemeral_component.py"
    program.write_text(source)
    sys.argv = ["executor_main", "--component_module_path", str(program), *arguments]
    executor_main.executor_main()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[3:])
