"""Match, update and order documents with the rules of MongoDB, for the operators that the project uses.

Every other operator is refused: a query must not silently mean something else than on MongoDB.
Reference: https://www.mongodb.com/docs/manual/reference/operator/
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from bson import Binary, ObjectId

Document = dict[str, Any]

_BAD_VALUE = 2
_MISSING = object()


class CommandError(Exception):
    """A command is refused; the client raises OperationFailure or WriteError with this code."""

    def __init__(self, message: str, code: int = _BAD_VALUE) -> None:
        """Create the error with MongoDB's error ``code``."""
        super().__init__(message)
        self.code = code


def matches(document: Document, query: Mapping[str, Any]) -> bool:
    """Return whether ``document`` matches ``query``."""
    for name, condition in query.items():
        if name == "$and":
            if not all(matches(document, each) for each in condition):
                return False
        elif name == "$or":
            if not any(matches(document, each) for each in condition):
                return False
        elif name.startswith("$"):
            raise CommandError(f"unknown top level operator: {name}")
        elif not _field_matches(get_field(document, name), condition):
            return False
    return True


def _field_matches(value: Any, condition: Any) -> bool:
    if is_operators(condition):
        return all(_operator(name)(value, operand) for name, operand in condition.items())
    return _equals(value, condition)


def is_operators(condition: Any) -> bool:
    """Return whether a condition consists of operators, such as {"$lt": 5}; else it is compared as a value."""
    return isinstance(condition, dict) and any(name.startswith("$") for name in condition)


def _operator(name: str) -> Callable[[Any, Any], bool]:
    if (operator := _OPERATORS.get(name)) is None:
        raise CommandError(f"unknown operator: {name}")
    return operator


def _equals(value: Any, operand: Any) -> bool:
    """Compare as MongoDB does: null matches missing fields, and a value matches an array that contains it."""
    if operand is None:
        return value is _MISSING or value is None
    return _same(value, operand) or (isinstance(value, list) and any(_same(each, operand) for each in value))


def _same(value: Any, operand: Any) -> bool:
    return _rank(value) == _rank(operand) and bool(value == operand)  # True does not equal 1


def _compares(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    # Values of different types never match a range: a null or a missing due_at is not before any time.
    return lambda value, operand: _rank(value) == _rank(operand) and test(sort_value(value), sort_value(operand))


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equals,
    "$ne": lambda value, operand: not _equals(value, operand),
    "$in": lambda value, operands: any(_equals(value, each) for each in operands),
    "$nin": lambda value, operands: not any(_equals(value, each) for each in operands),
    "$lt": _compares(lambda value, operand: value < operand),
    "$lte": _compares(lambda value, operand: value <= operand),
    "$gt": _compares(lambda value, operand: value > operand),
    "$gte": _compares(lambda value, operand: value >= operand),
    "$exists": lambda value, wanted: (value is not _MISSING) == bool(wanted),
}

# The order of types in a sort: https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
_RANKS: list[tuple[type | tuple[type, ...], int]] = [
    (bool, 8),  # before int, of which it is a subclass
    ((int, float), 2),
    (str, 3),
    (dict, 4),
    (list, 5),
    (bytes, 6),
    (ObjectId, 7),
    (datetime, 9),
]


def _rank(value: Any) -> int:
    if value is _MISSING or value is None:
        return 1
    for types, rank in _RANKS:
        if isinstance(value, types):
            return rank
    raise CommandError(f"values of the type {type(value).__name__} are not supported")


def sort_value(value: Any) -> tuple[int, Any]:
    """Return a key that orders values of all types as MongoDB does."""
    rank = _rank(value)
    if isinstance(value, bytes):  # by length, subtype and content
        return rank, (len(value), value.subtype if isinstance(value, Binary) else 0, bytes(value))
    return rank, None if rank == 1 else value


def sort(documents: Iterable[Document], order: Mapping[str, int]) -> list[Document]:
    """Return ``documents`` ordered by several fields; a direction of -1 is descending."""
    found = list(documents)
    for name, direction in reversed(list(order.items())):
        found.sort(key=lambda document, name=name: sort_value(get_field(document, name)), reverse=direction < 0)  # type: ignore[misc]
    return found


def project(document: Document, fields: Mapping[str, Any]) -> Document:
    """Return the included ``fields`` and the id of ``document``; all if ``fields`` is empty."""
    if not fields:
        return document
    if not all(fields.values()) or any("." in name for name in fields):
        raise CommandError("only projections that include whole fields are supported")
    return {name: value for name, value in document.items() if name == "_id" or name in fields}


def update(document: Document, changes: Mapping[str, Any], *, inserted: bool) -> Document:
    """Return a copy of ``document`` after the ``changes``; $setOnInsert applies only if it is ``inserted``."""
    if not isinstance(changes, dict) or not all(name.startswith("$") for name in changes):
        raise CommandError("replacements and pipelines are not supported as updates")
    changed = copy.deepcopy(document)
    for operator, fields in changes.items():
        for path, operand in fields.items():
            if operator == "$set" or (operator == "$setOnInsert" and inserted):
                _set_field(changed, path, operand)
            elif operator == "$inc":
                _set_field(changed, path, _or_zero(get_field(changed, path)) + operand)
            elif operator == "$unset":
                _unset_field(changed, path)
            elif operator != "$setOnInsert":
                raise CommandError(f"unknown update operator: {operator}")
    return changed


def get_field(document: Document, path: str) -> Any:
    """Return the value at a dotted ``path``; a private marker if it is missing."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _or_zero(value: Any) -> Any:
    return 0 if value is _MISSING else value


def _set_field(document: Document, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[name] = value


def _unset_field(document: Document, path: str) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        document = document.get(parent, {})
    document.pop(name, None)
