"""Domain errors: every expected failure, with its HTTP status, its stable ``code`` and its message.

An error that a worker raises crosses the queue as class name and args. The gateway rebuilds it as ``cls(*args)`` and
formats the message with the args. Hence no class has an ``__init__``, and args are JSON values (``str(id)``).

During an upgrade the receiver may not know the class. ``to_wire`` therefore adds status, code and text, and
``from_wire`` falls back to them.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

_ERROR_STATUSES = {status.value for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}


class DomainError(Exception):
    """An expected failure. ``code`` is stable, so that clients can branch on it; ``message`` is for people."""

    status: int = 400
    code: str = "domain_error"
    message: ClassVar[str] = "The request could not be carried out."
    # Seconds after which the same request may succeed; None if it cannot. The code that raises the error may set it.
    retry_after_seconds: int | None = None

    by_name: ClassVar[dict[str, type["DomainError"]]] = {}

    def __init_subclass__(cls, *, registered: bool = True) -> None:
        if "code" not in vars(cls):
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        if registered:
            DomainError.by_name[cls.__name__] = cls

    def __str__(self) -> str:
        return self.message.format(*self.args)

    @property
    def errors(self) -> list[dict[str, str]]:
        """Return the invalid fields: [{"pointer", "detail"}], where ``pointer`` is a JSON pointer."""
        return []

    @property
    def transient(self) -> bool:
        """Return whether the cause may disappear over time; event handlers are then retried without limit."""
        return isinstance(self, Unavailable)

    def to_wire(self) -> dict[str, Any]:
        """Return the form for replies. A receiver that knows the class reads only ``name`` and ``args``."""
        return {
            "name": type(self).__name__,
            "args": [str(arg) for arg in self.args],
            "status": self.status,
            "code": self.code,
            "detail": self._detail(),
            "retry_after_seconds": self.retry_after_seconds,
            "transient": self.transient,
        }

    def _detail(self) -> str:
        try:
            return str(self)
        except (IndexError, KeyError):  # raised with too few args; the caller must get a response nevertheless
            return self.message

    @staticmethod
    def from_wire(fields: Mapping[str, Any]) -> "DomainError":
        """Rebuild the error of a reply, a stored response or an operation. Never raises, even for invalid fields."""
        known, args = DomainError.by_name.get(str(fields.get("name"))), fields.get("args")
        if known is not None and isinstance(args, list):
            error = known(*args)
            try:
                str(error)
            except (IndexError, KeyError):  # the sender's version of the class has other args
                pass
            else:
                return error
        return RemoteError.from_fields(fields)


class RemoteError(DomainError, registered=False):
    """An error whose class only the sender knows. ``args[0]`` is its class name, ``args[1]`` its text."""

    status = 500
    code = "internal_error"
    message = "{1}"
    _transient = True

    @property
    def transient(self) -> bool:
        return self._transient

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "RemoteError":
        """Create the error from the status, code and text of a reply; invalid values are replaced by defaults."""
        detail, status, code = fields.get("detail"), fields.get("status"), fields.get("code")
        text = detail if isinstance(detail, str) else "An internal error occurred; it has been logged."
        error = cls(str(fields.get("name")), text)
        if isinstance(status, int) and status in _ERROR_STATUSES:
            error.status = status
        if isinstance(code, str):
            error.code = code
        retry_after_seconds, transient = fields.get("retry_after_seconds"), fields.get("transient")
        error.retry_after_seconds = retry_after_seconds if isinstance(retry_after_seconds, int) else None
        # Assume that an error without the flag is transient: it must not dead-letter the events of a newer service.
        error._transient = transient if isinstance(transient, bool) else True
        return error

    def to_wire(self) -> dict[str, Any]:
        """Return the error under its original name, for a receiver that may know the class."""
        return {**super().to_wire(), "name": self.args[0], "args": []}


# Base classes by HTTP status; code raises their subclasses.


class Malformed(DomainError):
    status = 400


class Unauthorized(DomainError):
    status = 401


class Forbidden(DomainError):
    status = 403


class NotFound(DomainError):
    status = 404
    message = "There is no {0} {1}."


class Conflict(DomainError):
    status = 409
    message = "The {0} is not in a state that allows this."


class Invalid(DomainError):
    status = 422
    message = "{0}"


class Unavailable(DomainError):
    status = 503
    message = "{0} is not available; nothing was done."
    retry_after_seconds: int | None = 5


# Authentication and authorization, of clients and of webhooks.


class TokenMissing(Unauthorized):
    message = "Send an access token: Authorization: Bearer <token>."


class TokenInvalid(Unauthorized):
    message = "The access token is not valid: {0}."


class TokenOutdated(Unauthorized):
    message = "The roles of this account have changed since the access token was issued: get a new one."


class InsufficientPermission(Forbidden):
    message = "The permission {0} is required."


class MachineTokenNotAllowed(Forbidden):
    message = "Machine-to-machine tokens are not accepted on this endpoint."


class WebhookUnauthorized(Unauthorized):
    message = "The authorization of the webhook is not valid."


class WebhookMalformed(Malformed):
    message = "The webhook is malformed: {0}."


class SignatureInvalid(Malformed):
    message = "The webhook's signature is not valid: {0}."


class SenderNotAllowed(Forbidden):
    message = "The webhook does not come from an address of {0}."


# Requests, idempotency, availability and the bus.


class IdempotencyKeyMissing(Malformed):
    message = "This request requires an Idempotency-Key header."


class IdempotencyKeyInvalid(Malformed):
    message = "An Idempotency-Key has 1 to 255 visible ASCII characters."


class SecretNotStored(Malformed):
    message = "The response contains a secret and is never stored: send the request without {0}."


class IdempotencyKeyReused(Invalid):
    message = "This Idempotency-Key was used with another request."


class RequestInProgress(Conflict):
    message = "The first request with this Idempotency-Key is still running."
    retry_after_seconds = 1


class CursorInvalid(Malformed):
    message = "The cursor is not valid for this list."


class PreconditionRequired(DomainError):
    status = 428
    message = "Send If-Match with the current ETag of the resource."


class PreconditionFailed(DomainError):
    status = 412
    message = "The {0} has changed: its version is {1}."


class RateLimited(DomainError):
    status = 429
    message = "Too many requests."
    retry_after_seconds = 60


class QueueFull(Unavailable):
    message = "The {0} service is overloaded; nothing was done."


class TransactionConflict(Unavailable):
    """PostgreSQL aborted the transaction because of a deadlock or a serialization failure."""

    message = "Another request changed the same data of the {0} service at the same time; nothing was done."
    retry_after_seconds = 1


class ServiceOverloaded(Unavailable):
    message = "The {0} service responds slowly and has too many waiting requests; nothing was done."


class OutcomeUnknown(DomainError):
    status = 504
    message = "No response in time: the outcome is unknown. Repeat the request with the same Idempotency-Key."


class ProjectionNotReady(Unavailable):
    """A handler needs an event of another topic that has not arrived; the bridge retries the handler."""

    message = "The {0} {1} has not arrived yet."
    retry_after_seconds = 1


class OperationAlreadyStarted(Conflict):
    message = "The operation is {0}: only a pending one can be canceled."


class OperationCanceled(Conflict):
    message = "The operation was canceled before it started."


class TaskUnknown(Unavailable):
    """The worker has another version than the caller, during an upgrade or a rollback."""

    message = "This version of the service does not know the command {0}; nothing was done."


class CommandCrashed(DomainError):
    status = 500
    code = "internal_error"
    message = "An internal error occurred; it has been logged, and the command is not retried."


class EventTooLarge(Invalid):
    message = "The resulting event {0} has {1} bytes; the limit is {2} bytes. Send less data in one request."


class DeadLetterClosed(Conflict):
    message = "The dead letter has already been {0}."
