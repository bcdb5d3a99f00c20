"""Stripe's requests: form fields with nested brackets, ``line_items[0][price_data][currency]=usd``."""

import re
from typing import Any

from ops.local.standins.store import Document
from ops.local.standins.stripe import amounts, errors

Path = tuple[str, ...]


def decode(pairs: list[tuple[str, str]]) -> Document:
    """The document that the bracketed ``pairs`` spell; every leaf is a string."""
    document: Document = {}
    for name, value in pairs:
        steps = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        target: Any = document
        for step in steps[:-1]:
            target = target.setdefault(step, {})
        last = steps[-1] or str(len(target))  # "expand[]=a" appends
        target[last] = value
    return _with_lists(document)


def _with_lists(node: Any, name: str = "") -> Any:
    if not isinstance(node, dict):
        return node
    # A key of metadata may well be a number.
    if node and name != "metadata" and all(key.isdigit() for key in node):
        return [_with_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _with_lists(value, key) for key, value in node.items()}


def only(message: Document, names: tuple[str, ...]) -> None:
    """Raises parameter_unknown for a field that the endpoint does not have."""
    for name in message:
        if name not in names and name != "expand":
            raise errors.invalid(f"Received unknown parameter: {name}", name, "parameter_unknown")


def required(message: Document, name: str) -> Any:
    value = message.get(name)
    if value in (None, ""):
        raise errors.invalid(f"Missing required param: {name}.", name, "parameter_missing")
    return value


def integer(message: Document, name: str, default: int | None = None) -> int:
    """A whole number; without a ``default`` it must be there."""
    if default is not None and message.get(name) in (None, ""):
        return default
    text = str(required(message, name))
    try:
        return int(text)
    except ValueError:
        raise errors.invalid(f"Invalid integer: {text}", name, "parameter_invalid_integer") from None


def positive(message: Document, name: str, default: int | None = None) -> int:
    number = integer(message, name, default)
    if number < 1:
        raise errors.invalid("This value must be greater than or equal to 1.", name, "parameter_invalid_integer")
    return number


def flag(message: Document, name: str, *, default: bool = False) -> bool:
    return {"true": True, "false": False}.get(str(message.get(name)), default)


def one_of(message: Document, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
    value = str(message.get(name) or default or required(message, name))
    if value not in allowed:
        raise errors.invalid(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
    return value


def currency(message: Document, name: str = "currency") -> str:
    code = str(required(message, name)).lower()
    if code not in amounts.SUPPORTED:
        supported = ", ".join(sorted(amounts.SUPPORTED))
        raise errors.invalid(f"Invalid currency: {code}. Stripe currently supports these currencies: {supported}", name)
    return code


def metadata(message: Document, known: Document | None = None) -> Document:
    """``known`` with the message's entries laid over it; an empty value takes an entry away."""
    given = message.get("metadata")
    if given == "":
        return {}
    merged = (known or {}) | dict(given or {})
    return {key: value for key, value in merged.items() if value != ""}
