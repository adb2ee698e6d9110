"""Sums in recipes: numbers by name, + - * / // % **, and ceil, floor, round, min, max. Nothing else is understood.

A recipe must say where each of its numbers comes from, so a sum holds names and no numbers but 0 and 1.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "ceil": math.ceil, "floor": math.floor, "round": round, "min": min, "max": max,
}  # fmt: skip
_POWER_MAX: Final = 16


class Unclear(ValueError):
    """A sum that cannot be understood; says why."""


@lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Unclear(f"{text!r} is no sum of names") from None


def names_in(text: str) -> set[str]:
    """Names of numbers that a sum needs.

    Raises
    ------
    Unclear: it holds something else than sums of names.
    """
    found: set[str] = set()
    rest: list[ast.expr] = [_parsed(text)]
    while rest:
        node = rest.pop()
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, bool) or node.value not in (0, 1):
                raise Unclear(f"{node.value!r} in {text!r}: give that number a name and a source")
        elif isinstance(node, ast.BinOp) and (type(node.op) in _BINARY or isinstance(node.op, ast.Pow)):
            rest += [node.left, node.right]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            rest.append(node.operand)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _FUNCTIONS
            and not node.keywords
            and node.args
        ):
            rest += node.args
        else:
            raise Unclear(f"{ast.unparse(node)!r} in {text!r} is no sum; there are + - * / // % ** and "
                          f"{', '.join(sorted(_FUNCTIONS))}")  # fmt: skip
    return found


def value_of(text: str, numbers: Mapping[str, float]) -> float:
    """The value of a sum.

    Raises
    ------
    Unclear: it is no sum, a name is not known, or it has no finite value.
    """
    unknown = sorted(names_in(text) - set(numbers))
    if unknown:
        raise Unclear(f"{unknown[0]!r} in {text!r} is no number of the recipe or the data set")
    try:
        result = float(_value(_parsed(text), numbers))
    except (ZeroDivisionError, OverflowError, TypeError):
        raise Unclear(f"{text!r} has no value here") from None
    if not math.isfinite(result):
        raise Unclear(f"{text!r} has no finite value here")
    return result


def _value(node: ast.expr, numbers: Mapping[str, float]) -> float:
    if isinstance(node, ast.Name):
        return numbers[node.id]
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, numbers)
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return float(_FUNCTIONS[node.func.id](*(_value(one, numbers) for one in node.args)))
    assert isinstance(node, ast.BinOp)
    left, right = _value(node.left, numbers), _value(node.right, numbers)
    if isinstance(node.op, ast.Pow):
        if abs(right) > _POWER_MAX:
            raise OverflowError
        return float(left**right)
    return float(_BINARY[type(node.op)](left, right))
