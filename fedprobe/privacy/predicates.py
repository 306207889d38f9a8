"""Predicates on users' public attributes, as `--where` takes them: `app_version == "2.1" and locale in ("de", "at")`.

A little of Python's expressions, read by `ast` and never run: names of attributes, strings, numbers, True and False,
`== != < <= > >= in`, `and or not`, parentheses. A name alone stands for an attribute that is True.
"""

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

Value = str | int | float | bool
_LONGEST = 500
_LONE_EQUALS = re.compile(r"(?<![=!<>])=(?!=)")
_COMPARED: dict[type, Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ALLOWED = (
    'a condition is made of names of attributes, "strings", numbers, True, False, == != < <= > >= in, and or not, '
    "parentheses"
)


class _Unknown(Exception):
    """An attribute is missing, or of a kind that cannot be compared so."""


@dataclass(frozen=True)
class Predicate:
    """A condition on one user's attributes; `text` in one spelling, which `parse` makes."""

    text: str

    @cached_property
    def _tree(self) -> ast.expr:
        return ast.parse(self.text, mode="eval").body

    @cached_property
    def names(self) -> frozenset[str]:
        """The attributes that it asks for."""
        return frozenset(node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name))

    def holds(self, attributes: Mapping[str, Value]) -> bool:
        """Whether a user of these attributes matches; one who lacks an attribute that is named matches nothing."""
        if not self.names <= attributes.keys():
            return False
        try:
            return _holds(self._tree, attributes)
        except _Unknown:
            return False

    @cached_property
    def equalities(self) -> dict[str, frozenset[Value]]:
        """Values that every matching user's attribute is one of, for the attributes where that can be told."""
        found: dict[str, frozenset[Value]] = {}
        for name, values in _equalities(self._tree):
            found[name] = found[name] & values if name in found else values
        return found

    def disjoint(self, other: "Predicate") -> bool:
        """Whether no user can match both: they ask one attribute for values that differ. Decided from them alone."""
        shared = self.equalities.keys() & other.equalities.keys()
        return any(not self.equalities[name] & other.equalities[name] for name in shared)


@lru_cache(maxsize=1024)
def parse(text: str) -> Predicate:
    """The predicate that `text` says. Raises ValueError, which says what one is made of, for anything else."""
    if len(text) > _LONGEST:
        raise ValueError(f"--where is too long: it takes {_LONGEST} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = "; equality is ==" if _LONE_EQUALS.search(text) else ""
        raise ValueError(f"--where cannot be read{hint}: {_ALLOWED}") from None
    _require_known(tree)
    return Predicate(ast.unparse(tree))


def values_of_each(text: str) -> tuple[str, list[Value]]:
    """The attribute and the values that `NAME in (VALUE, ...)` lists. Raises ValueError for anything else."""
    match ast.parse(parse(text).text, mode="eval").body:
        case ast.Compare(ast.Name(name), [ast.In()], [ast.Tuple(elements) | ast.List(elements) | ast.Set(elements)]):
            return name, list(dict.fromkeys(_value(element) for element in elements))
    raise ValueError('--where-each lists the values of one attribute: \'NAME in ("one", "other")\'')


def _require_known(node: ast.expr) -> None:
    """Raise ValueError for what is no condition."""
    match node:
        case ast.BoolOp():
            for value in node.values:
                _require_known(value)
        case ast.UnaryOp(ast.Not(), operand):
            _require_known(operand)
        case ast.Name():
            pass
        case ast.Compare():
            operands = [node.left, *node.comparators]
            if not any(isinstance(operand, ast.Name) for operand in operands):
                raise ValueError(f"--where compares attributes of users: {_ALLOWED}")
            for position, operand in enumerate(operands):
                listed = position > 0 and isinstance(node.ops[position - 1], ast.In | ast.NotIn)
                elements = _elements(operand) if listed else [operand]
                if any(not (isinstance(one, ast.Name) and not listed) and _value(one) is None for one in elements):
                    raise ValueError(f"--where cannot be read: {_ALLOWED}")
            if not all(isinstance(op, ast.In | ast.NotIn) or type(op) in _COMPARED for op in node.ops):
                raise ValueError(f"--where cannot be read: {_ALLOWED}")
        case _:
            raise ValueError(f"--where cannot be read: {_ALLOWED}")


def _elements(node: ast.expr) -> list[ast.expr]:
    if not isinstance(node, ast.Tuple | ast.List | ast.Set) or not node.elts:
        raise ValueError('--where: after in comes a list of values, ("one", "other")')
    return node.elts


def _value(node: ast.expr) -> Value | None:
    """The constant that stands there; None if none that an attribute can have does."""
    match node:
        case ast.Constant(bool() | str() | int() as value):
            return value
        case ast.Constant(float() as value) if math.isfinite(value):
            return value
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float()) as number) if type(number.value) is not bool:
            value = _value(number)
            return None if value is None else -value
    return None


def _holds(node: ast.expr, attributes: Mapping[str, Value]) -> bool:
    match node:
        case ast.BoolOp(ast.And(), values):
            return all([_holds(value, attributes) for value in values])
        case ast.BoolOp(_, values):
            return any([_holds(value, attributes) for value in values])
        case ast.UnaryOp(_, operand):
            return not _holds(operand, attributes)
        case ast.Name(name):
            if not isinstance(attributes[name], bool):
                raise _Unknown
            return attributes[name]
    operands = [node.left, *node.comparators]
    pairs = zip(operands[:-1], node.ops, operands[1:], strict=True)
    return all([_compared(left, op, right, attributes) for left, op, right in pairs])


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, attributes: Mapping[str, Value]) -> bool:
    def of(node: ast.expr) -> Value:
        return attributes[node.id] if isinstance(node, ast.Name) else _value(node)

    if isinstance(op, ast.In | ast.NotIn):
        return (of(left) in [_value(element) for element in right.elts]) == isinstance(op, ast.In)
    try:
        return _COMPARED[type(op)](of(left), of(right))
    except TypeError:
        raise _Unknown from None


def _equalities(node: ast.expr) -> list[tuple[str, frozenset[Value]]]:
    """What a conjunction asks of single attributes."""
    match node:
        case ast.BoolOp(ast.And(), values):
            return [pair for value in values for pair in _equalities(value)]
        case ast.Name(name):
            return [(name, frozenset([True]))]
        case ast.UnaryOp(ast.Not(), ast.Name(name)):
            return [(name, frozenset([False]))]
        case ast.Compare(ast.Name(name), [ast.In()], [listed]):
            return [(name, frozenset(_value(element) for element in listed.elts))]
        case ast.Compare(ast.Name(name), [ast.Eq()], [other]) | ast.Compare(other, [ast.Eq()], [ast.Name(name)]):
            # Two attributes that are to be alike say nothing of either.
            value = _value(other)
            return [] if value is None else [(name, frozenset([value]))]
    return []
