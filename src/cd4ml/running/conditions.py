"""Conditions of a pipeline (`dsl.If`), as the compiler writes them; values are compared and never run as code."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from cd4ml.errors import ArgumentsError
from cd4ml.names import shown

_WORDS = re.compile(
    r"inputs\.parameter_values\['(?P<value>[^']+)'\]|'(?P<text>[^']*)'|(?P<sign>&&|\|\||!(?!=))|\b(?P<python>and|or|not)\b"
)
_SIGNS = {"&&": " and ", "||": " or ", "!": " not "}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CONVERSIONS: dict[str, type] = {"int": int, "double": float, "string": str}
_CONSTANTS = {"true": True, "false": False, "null": None}


def holds(condition: str, value: Callable[[str], Any]) -> bool:
    """Whether a condition holds.

    Args:
        condition: Comparisons of values and constants in CEL, joined by `&&`, `||` and `!`.
        value: Gives the value of an input by its name.

    Raises:
        ArgumentsError: It is anything else, or its values cannot be compared.
    """
    bound: dict[str, Any] = dict(_CONSTANTS)

    def word(found: re.Match[str]) -> str:
        if found["sign"]:
            return _SIGNS[found["sign"]]
        if found["python"]:
            raise ValueError(f"{found['python']!r} is no word of a condition")
        name = f"_{len(bound)}"
        bound[name] = found["text"] if found["value"] is None else value(found["value"])
        return name

    try:
        tree = ast.parse(_WORDS.sub(word, condition).strip(), mode="eval")
        return _truth(tree.body, bound)
    except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ArgumentsError(
            f"condition {condition}: {error}; on one machine a condition compares values with constants, as "
            "`task.output == 'yes'`"
        ) from error


def _truth(node: ast.expr, bound: Mapping[str, Any]) -> bool:
    found = _result(node, bound)
    if not isinstance(found, bool):
        raise ValueError(f"{shown(found)} is neither true nor false")
    return found


def _result(node: ast.expr, bound: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name) if name in bound:
            return bound[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _truth(operand, bound)
        case ast.BoolOp(op=ast.And(), values=operands):
            return all(_truth(operand, bound) for operand in operands)
        case ast.BoolOp(op=ast.Or(), values=operands):
            return any(_truth(operand, bound) for operand in operands)
        case ast.Call(func=ast.Name(id=name), args=[operand], keywords=[]) if name in _CONVERSIONS:
            return _CONVERSIONS[name](_result(operand, bound))
        case ast.Compare(left=left, ops=[comparison], comparators=[right]) if type(comparison) in _COMPARISONS:
            return _COMPARISONS[type(comparison)](_result(left, bound), _result(right, bound))
        case _:
            raise ValueError("this is no plain comparison")
