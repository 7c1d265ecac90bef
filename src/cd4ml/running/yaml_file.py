"""A YAML file that a person wrote: each value is read in one way, or refused with the line where it stands.

Values are those of YAML 1.2's core schema: `1e-3` is a number, `2026-11-25` and `y` are text. What YAML 1.1 reads
otherwise, such as `yes`, `010` or `5:25:05`, could be meant in either way and is a mistake.
"""

import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cd4ml.errors import ArgumentsError

MAX_BYTES = 2**20
MAX_VALUES = 20_000
"""With what stands behind each alias."""
MAX_DEPTH = 50

Place = tuple[str, ...]
"""The keys and positions that lead to a value."""

_CORE = "tag:yaml.org,2002:"
_TEXT, _MERGE, _TWO_WAYS = f"{_CORE}str", f"{_CORE}merge", "two ways"


@dataclass
class Content:
    """What a file says."""

    value: Any = None
    written: dict[Place, str] = field(default_factory=dict)
    """The numbers, truth values and nulls, as they stand in the file."""
    mistakes: dict[Place, str] = field(default_factory=dict)


def read(path: Path) -> Content:
    """Reads a YAML file.

    Raises:
        ArgumentsError: The file is missing, is no YAML, or is too large for a file that a person wrote.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ArgumentsError(f"{path}: {error.strerror}; name a YAML file with a pipeline's arguments") from error
    if len(text) > MAX_BYTES:
        raise ArgumentsError(f"{path}: has more than {MAX_BYTES:,} bytes; data does not belong in it, only its path")
    try:
        loader = _Loader(text.decode("utf-8-sig"))
        loader.name = str(path)
        node = loader.get_single_node()
        content = Content()
        if node:
            _look(node, content)
            content.value = loader.construct_document(node)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentsError(f"{path}: not YAML: {error}") from error
    return content


def plain(path: Path) -> Any:
    """What a YAML file says, where each of its values can be read in one way alone.

    Raises:
        ArgumentsError: As `read` does; or with each value that can be read in more than one.
    """
    content = read(path)
    if content.mistakes:
        lines = "".join(f"\n  - {'.'.join(place)}: {what}" for place, what in content.mistakes.items())
        raise ArgumentsError(f"{path}: not as it should be{lines}")
    return content.value


class _Loader(yaml.SafeLoader):
    """Reads no more than a person writes, and no tags."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None):
            raise _error(f"the tag {event.tag} is not known here; leave it out", event.start_mark)
        self._depth += 1
        self._values += 1
        _check_size(self._values, self._depth, event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern in (
    (f"{_CORE}null", r"~|null|Null|NULL|"),
    (f"{_CORE}bool", r"true|True|TRUE|false|False|FALSE"),
    (f"{_CORE}int", r"[-+]?(0|[1-9][0-9]{0,17})|0x[0-9a-fA-F]{1,15}"),
    (_TWO_WAYS, r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"),
    (_TWO_WAYS, r"[-+]?(0[0-9]+|[0-9]{19,}|0[box][0-9a-fA-F_]+)"),
    (_TWO_WAYS, r"[-+]?([0-9]+_[0-9_]*(\.[0-9_]*)?|[0-9]+\.[0-9]*_[0-9_]*|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)"),
    (f"{_CORE}float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    (_MERGE, r"<<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"({_pattern})\Z"), None)  # the first that fits


def _look(top: yaml.Node, content: Content) -> None:
    """Notes what stands in a file; keys, and values that can be read in two ways, become text."""
    waiting: deque[tuple[Place, yaml.Node]] = deque([((), top)])
    values = 0
    while waiting:
        place, node = waiting.popleft()
        values += 1
        _check_size(values, len(place), node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            _look_at_scalar(place, node, content)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(((*place, str(number)), one) for number, one in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            waiting.extend(_look_at_keys(place, node, content))


def _look_at_scalar(place: Place, node: yaml.ScalarNode, content: Content) -> None:
    if node.tag == _TWO_WAYS:
        content.mistakes[place] = (
            f"{node.value} can be read in two ways ({_line(node)}); as text write it in quotes: "
            f"{json.dumps(node.value)}, else a plain number, true or false"
        )
        node.tag = _TEXT
    elif node.tag != _TEXT:
        content.written[place] = node.value
    elif _unwritable(node.value):
        content.mistakes[place] = f"holds a character that no file or table can hold ({_line(node)}); take it out"


def _look_at_keys(place: Place, node: yaml.MappingNode, content: Content) -> Iterator[tuple[Place, yaml.Node]]:
    lines: dict[str, str] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error("a key must be a text", key.start_mark)
        name = key.value
        if key.tag not in (_TEXT, _MERGE):
            content.mistakes[*place, name] = (
                f"{name or 'null'} is no text, as a name must be ({_line(key)}); write it in quotes: {json.dumps(name)}"
            )
            key.tag = _TEXT
        elif _unwritable(name):
            content.mistakes[place] = f"the name {name!r} holds a character that no table can hold ({_line(key)})"
        if name in lines:
            content.mistakes[*place, name] = f"is there twice ({lines[name]} and {_line(key)}); keep one of them"
        lines[name] = _line(key)
        yield (*place, name), value


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _unwritable(text: str) -> bool:
    return any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def _check_size(values: int, depth: int, mark: yaml.Mark) -> None:
    if values > MAX_VALUES:
        raise _error(f"there are more than {MAX_VALUES:,} values, with those that aliases repeat", mark)
    if depth > MAX_DEPTH:
        raise _error(f"values are nested deeper than {MAX_DEPTH}", mark)


def _error(said: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=said, problem_mark=mark)
