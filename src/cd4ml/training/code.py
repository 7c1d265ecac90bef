"""The code of a team's function: of a module beside the run file, which goes with the run, or of an installed package.

A module beside the run file is one argument of the run: its source, packed into a text, for KFP takes braces that
follow each other for its own. Whoever trains unpacks it into a file and imports that. What a version says of the code
is its digest: of one file that of its bytes, as `sha256sum` prints it.
"""

import base64
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from cd4ml.errors import TrainingError
from cd4ml.names import nearest

MOST_BYTES = 64 * 2**10
"""Of a module beside the run file: all arguments of a run go by the command line of a task."""

MOST_SAID = 500
"""Characters of what an error of a team's code says; those of Keras have pages."""


def parts(function: str) -> tuple[str, str]:
    """The module and the name of `team.models:wide`.

    Raises:
        ValueError: It is not of this form.
    """
    module, _, name = function.partition(":")
    if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"{function!r} is no function; write MODULE:NAME, as team.models:wide")
    return module, name


def beside(function: str, folder: Path) -> str:
    """The source of a function's module, packed; empty where the folder has no such module.

    Args:
        function: As `team.models:wide`, whose file would be `team/models.py`.
        folder: That of the run file.

    Raises:
        TrainingError: It is too large, or cannot be read.
    """
    file = folder / _path(function)
    if not file.is_file():
        return ""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TrainingError(f"{file}: cannot be read ({error.strerror}); give yourself the right to") from error
    if len(content) > MOST_BYTES:
        raise TrainingError(
            f"{file}: has {len(content):,} bytes, and a module that goes with a run may have {MOST_BYTES:,}; put what "
            "it holds into a package that the train environment has"
        )
    return base64.b64encode(zlib.compress(content)).decode()


def unpacked(source: str) -> bytes:
    """The bytes of the module that `beside` packed.

    Raises:
        ValueError: It is no such text.
    """
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(base64.b64decode(source, validate=True), MOST_BYTES + 1)
        whole = unpacking.eof and len(content) <= MOST_BYTES
    except (ValueError, zlib.error):
        whole = False
    if not whole:
        raise ValueError("is no module that cd4ml packed; leave it out, for cd4ml fills it in")
    return content


def digest(function: str, source: str) -> str:
    """Tells the code of a function from every other: `sha256:` of the module, or of all files of its package.

    Args:
        function: As `team.models:wide`.
        source: Of its module, packed; empty where it is installed.

    Raises:
        TrainingError: No such module is installed.
    """
    if source:
        return f"sha256:{hashlib.sha256(unpacked(source)).hexdigest()}"
    module, _ = parts(function)
    found = _found(module.partition(".")[0])
    if found is None:
        raise _absent(function)
    folders = [Path(one) for one in found.submodule_search_locations or []]
    if not folders and found.origin:
        content = Path(found.origin).read_bytes() if Path(found.origin).is_file() else b""
        return f"sha256:{hashlib.sha256(content).hexdigest()}"
    whole = hashlib.sha256()
    for folder in folders:
        for file in _files(folder):
            whole.update(f"{file.relative_to(folder)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def load(function: str, *, source: str, folder: Path) -> Callable[..., Any]:
    """Imports a function that takes one object.

    Args:
        function: As `team.models:wide`.
        source: Of its module, packed; empty where it is installed.
        folder: Takes the module, and is to be there as long as the function is used.

    Raises:
        TrainingError: The module or the function is not there, cannot be imported, or takes something else.
    """
    module, name = parts(function)
    try:
        imported = _unpacked_module(function, unpacked(source), folder) if source else importlib.import_module(module)
    except Exception as error:  # what a module does when it is imported can be anything
        raise _not_imported(function, source, error) from error
    found: Callable[..., Any] | None = getattr(imported, name, None)
    if not callable(found):
        functions = [one for one, value in vars(imported).items() if inspect.isfunction(value)]
        raise TrainingError(f"{function}: the module {module} has no function {name!r}; {nearest(name, functions)}")
    _check_signature(function, found)
    return found


def said(error: BaseException) -> str:
    """An error in one line, as `ValueError: no rows`."""
    try:
        text = " ".join(_COLOURS.sub("", str(error)).split()).encode(errors="replace").decode()
    except Exception:  # as above
        text = "it cannot say what is wrong"
    return f"{type(error).__name__}: {text if len(text) <= MOST_SAID else text[:MOST_SAID] + ' ...'}"


def place(error: BaseException) -> str:
    """Where an error came up in the code of a team, not in what that calls: `models.py, line 4, in wide`."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    return place_among(traceback.extract_tb(error.__traceback__))


def place_among(frames: Sequence[traceback.FrameSummary]) -> str:
    """The last of these frames that is in the code of a team; the last of all where none is."""
    own = [one for one in frames if not one.filename.startswith(_LIBRARIES)]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}, in {last.name}"


_LIBRARIES = (
    "<frozen",
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
)
_COLOURS = re.compile(r"\x1b\[\d*m")


def _path(function: str) -> Path:
    module, _ = parts(function)
    return Path(*module.split(".")).with_suffix(".py")


def _found(module: str) -> Any:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file() and file.parent.name != "__pycache__")


def _unpacked_module(function: str, content: bytes, folder: Path) -> ModuleType:
    module, _ = parts(function)
    file = folder / _path(function)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    made = importlib.util.module_from_spec(spec)
    sys.modules[module] = made
    spec.loader.exec_module(made)
    return made


def _not_imported(function: str, source: str, error: Exception) -> TrainingError:
    module, _ = parts(function)
    lacking = error.name if isinstance(error, ModuleNotFoundError) and error.name else ""
    if not source and f"{module}.".startswith(f"{lacking}."):
        return _absent(function)
    if lacking:
        return TrainingError(
            f"{function}: needs the module {lacking!r}, which the train environment lacks; install it there "
            "(docs/your-model.md), or do without; a file that goes with a run goes alone"
        )
    return TrainingError(f"{function}: its module cannot be imported: {place(error)}: {said(error)}; mend it")


def _absent(function: str) -> TrainingError:
    module, _ = parts(function)
    return TrainingError(
        f"{function}: there is no module {module}: neither {_path(function)} beside the run file, nor in a package of "
        "the train environment; write the one, or install the other"
    )


def _check_signature(function: str, found: Callable[..., Any]) -> None:
    _, name = parts(function)
    try:
        inspect.signature(found).bind(object())
    except TypeError as error:
        raise TrainingError(
            f"{function}: takes {inspect.signature(found)}, and is called with one object; write `def {name}(job):`"
        ) from error
    except ValueError:  # a function of C, which tells nothing of what it takes
        pass
