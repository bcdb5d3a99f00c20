"""Decode and validate Stripe's requests: form fields with brackets, ``line_items[0][price_data][currency]=usd``."""

import re
from typing import Any

from ops.fakes.store import Document

from . import amounts, errors

Path = tuple[str, ...]

TEXT_MAX_LENGTH = 5000
METADATA_MAX_KEYS, METADATA_KEY_MAX_LENGTH, METADATA_VALUE_MAX_LENGTH = (
    50,
    40,
    500,
)  # https://docs.stripe.com/api/metadata


def decode(pairs: list[tuple[str, str]]) -> Document:
    """Decode bracketed ``pairs`` into a document; every leaf is a string."""
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
    # The keys of metadata may be numbers.
    if node and name != "metadata" and all(key.isdigit() for key in node):
        return [_with_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _with_lists(value, key) for key, value in node.items()}


def require_known_fields(message: Document, names: tuple[str, ...], within: str = "") -> None:
    """Check field names. Raises parameter_unknown for a field that the endpoint, or its parameter ``within``, lacks."""
    for name in message:
        if name not in names and (within or name != "expand"):
            param = f"{within}[{name}]" if within else name
            raise errors.invalid(f"Received unknown parameter: {param}", param, "parameter_unknown")


def text(message: Document, name: str, max_length: int = TEXT_MAX_LENGTH) -> str | None:
    """Return the text of a field, or None. Raises ApiError if it is too long."""
    value = message.get(name)
    if value is not None and len(str(value)) > max_length:
        shown = f"{str(value)[:10]}..."
        raise errors.invalid(f"Invalid string: {shown}; must be at most {max_length} characters", name)
    return value


def required(message: Document, name: str) -> Any:
    value = message.get(name)
    if value in (None, ""):
        raise errors.invalid(f"Missing required param: {name}.", name, "parameter_missing")
    return value


def integer(message: Document, name: str, default: int | None = None) -> int:
    """Return a whole number. Raises ApiError if it is missing and has no ``default``."""
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
    """Return ``known`` updated with the metadata of the message; an empty value removes a key."""
    given = message.get("metadata")
    if given == "":
        return {}
    merged = (known or {}) | dict(given or {})
    kept = {key: value for key, value in merged.items() if value != ""}
    if len(kept) > METADATA_MAX_KEYS:
        raise errors.invalid(f"You can only have up to {METADATA_MAX_KEYS} metadata keys.", "metadata")
    for key, value in kept.items():
        if len(key) > METADATA_KEY_MAX_LENGTH:
            raise errors.invalid(f"Metadata keys can be at most {METADATA_KEY_MAX_LENGTH} characters long.", "metadata")
        if len(str(value)) > METADATA_VALUE_MAX_LENGTH:
            raise errors.invalid(
                f"Metadata values can have up to {METADATA_VALUE_MAX_LENGTH} characters, but you passed in a value "
                f"that is {len(str(value))} characters.",
                f"metadata[{key}]",
            )
    return kept
