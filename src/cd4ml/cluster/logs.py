"""What the log of a server that ended says of its error, wherever in the log it says it."""

import re
from itertools import takewhile

LINES = 10
LONGEST_LINE = 400
TRACEBACK = "Traceback (most recent call last):"
IGNORED = "Exception ignored in"
"""How Python begins to tell an exception that ended nothing."""
BEGINNING = re.compile(r"\[?\d|\w+: |Traceback|$")
"""How lines of a log begin that do not continue the message before: with a time, say."""
MARK = re.compile(r"\b(ERROR|CRITICAL|FATAL|[Ee]rror:|[Ff]atal:|panic:|Segmentation fault|Killed$)|^[\d-]+ [\d:.]+: F ")
"""What marks the line of an error; the last one is a fatal line of TensorFlow."""


def excerpt(log: str) -> list[str]:
    """What tells the error: the last exception and where it was raised, else lines marked as errors, else the end.

    Args:
        log: Of a program that did not end well; of one that Python runs or any other.
    """
    return errors(log) or _short(log.splitlines()[-LINES:])


def errors(log: str) -> list[str]:
    """What tells an error, as `excerpt` has it; empty where nothing does."""
    lines = log.splitlines()
    return _short(_exception(lines) or _marked(lines))


def _short(told: list[str]) -> list[str]:
    return [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..." for line in told]


def _exception(lines: list[str]) -> list[str]:
    """The last exception that ended something, after the innermost place of its traceback."""
    for start in reversed(range(len(lines))):
        if TRACEBACK in lines[start] and not (start and lines[start - 1].startswith(IGNORED)):
            places = list(takewhile(lambda line: line.startswith(" "), lines[start + 1 :]))
            message = lines[start + 1 + len(places) :]
            innermost = max((i for i, line in enumerate(places) if line.startswith("  File ")), default=0)
            rest = takewhile(lambda line: not BEGINNING.match(line), message[1:])
            return [*places[innermost:][:3], *message[:1], *rest][:LINES]
    return []


def _marked(lines: list[str]) -> list[str]:
    """The last lines that are marked as errors, each with the line that follows it."""
    marked = [index for index, line in enumerate(lines) if MARK.search(line)]
    told = sorted({place for index in marked for place in (index, index + 1) if place < len(lines)})
    return [lines[index] for index in told[-LINES:]]
