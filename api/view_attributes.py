"""Typed attributes that decorators set on views and other decorators read. functools.wraps copies them to wrappers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .rate_limits import Limit

View = TypeVar("View", bound=Callable[..., Any])

_ATTRIBUTES = "coursebus_attributes"
_DOCUMENTATION = "_apidoc"  # flask-smorest's attribute


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The access policy and rate limit of a route."""

    permissions: tuple[str, ...] = ()
    anonymous: bool = False  # no token required
    machines: bool = False  # accepts machine-to-machine tokens
    idempotency_key_required: bool = False
    reads_personal_data: bool = False  # of other people: each successful read is recorded in the audit log
    accepts_ticket: bool = False  # ``?ticket=`` in place of a token: core/stream_tickets.py
    returns_secret: bool = False  # the response has a secret: not stored for an idempotency key or an operation
    raw_body: bool = False  # the body is passed as bytes, not parsed as JSON
    limit: Limit | None = None  # None: READ or WRITE, by the method
    rate_limited: bool = True


@dataclass(frozen=True)
class ViewAttributes:
    """What the decorators of a view declare."""

    policy: Policy | None = None  # who may call it
    # Raises the error of an object that does not exist; called before a malformed request is answered.
    existence_check: Callable[..., None] | None = None


def attributes_of(view: Callable[..., Any]) -> ViewAttributes:
    """Return the attributes of ``view``; the defaults if no decorator set one."""
    attributes: ViewAttributes = getattr(view, _ATTRIBUTES, ViewAttributes())
    return attributes


def set_policy(view: Callable[..., Any], policy: Policy) -> None:
    """Declare who may call ``view``."""
    setattr(view, _ATTRIBUTES, replace(attributes_of(view), policy=policy))


def set_existence_check(view: Callable[..., Any], check: Callable[..., None]) -> None:
    """Call ``check(**path_parameters)`` before a malformed request to ``view`` is answered."""
    setattr(view, _ATTRIBUTES, replace(attributes_of(view), existence_check=check))


def document(view: Callable[..., Any], **fields: Any) -> None:
    """Add ``fields`` to the documentation of ``view``, which api/openapi.py reads."""
    setattr(view, _DOCUMENTATION, {**getattr(view, _DOCUMENTATION, {}), **fields})
