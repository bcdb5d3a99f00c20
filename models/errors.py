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
from uuid import UUID

import msgspec

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
        text = detail if isinstance(detail, str) else "Something went wrong on our side; it has been logged."
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


# Authentication and authorization.


class TokenMissing(Unauthorized):
    message = "Send an access token: Authorization: Bearer <token>."


class TokenInvalid(Unauthorized):
    message = "The access token is not valid: {0}."


class TokenOutdated(Unauthorized):
    message = "The roles of this account have changed since the access token was issued: get a new one."


class PermissionMissing(Forbidden):
    message = "This needs the permission {0}."


class MachineRefused(Forbidden):
    message = "Machine-to-machine tokens are not accepted on this endpoint."


class AccountErased(Forbidden):
    message = "This account was erased. Sign up again, or follow the operation of the erasure for the receipt."


class AccountBlocked(Forbidden):
    message = "This account is blocked."


class OwnRoles(Forbidden):
    message = "You cannot change your own roles: ask another administrator."


class HookRefused(Unauthorized):
    message = "The authorization of the webhook is not valid."


class HookUnreadable(Malformed):
    message = "The webhook is malformed: {0}."


class UnsubscribeLinkInvalid(NotFound):
    message = "This unsubscribe link is invalid, incomplete or expired."


# Requests, idempotency and availability.


class IdempotencyKeyMissing(Malformed):
    message = "This request needs an Idempotency-Key header."


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
    message = "Send If-Match with the ETag of the resource that you change."


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


class ServiceSlow(Unavailable):
    message = "The {0} service responds slowly and has too many waiting requests; nothing was done."


class OutcomeUnknown(DomainError):
    status = 504
    message = "No response in time: the outcome is unknown. Repeat the request with the same Idempotency-Key."


class ProjectionBehind(Unavailable):
    """A handler needs an event of another topic that has not arrived; the bridge retries the handler."""

    message = "The {0} {1} has not arrived yet."
    retry_after_seconds = 1


class OperationBegun(Conflict):
    message = "The operation is {0}: only a pending one can be canceled."


class OperationCanceled(Conflict):
    message = "The operation was canceled before it started."


class TaskUnknown(Unavailable):
    """The worker has another version than the caller, during an upgrade or a rollback."""

    message = "This version of the service does not know the command {0}; nothing was done."


class CommandCrashed(DomainError):
    status = 500
    code = "internal_error"
    message = "Something went wrong on our side; it has been logged, and the command is not retried."


class EventTooLarge(Invalid):
    message = "The resulting event {0} has {1} bytes; the limit is {2} bytes. Send less data in one request."


# Learning.


class NotEnrolled(Forbidden):
    message = "You have no access to course {0}."


class NoProgress(NotFound):
    # The same code as for NotEnrolled: for a client the reason is the same.
    code = "not_enrolled"
    message = "You are not enrolled in course {0}."


class LessonLocked(Conflict):
    message = "Complete lesson {0} first."


class LessonNotOpen(Conflict):
    code = "lesson_locked"
    message = "The lesson opens at {0}."


class PrerequisiteMissing(Conflict):
    message = "Complete course {0} first."


class QuizNotPassed(Conflict):
    message = "Lesson {0} is completed by passing its quiz."


class NotAQuiz(Conflict):
    message = "Lesson {0} has no questions."


class AnswersUnfit(Invalid):
    message = "The quiz has no question or option {0}."


# Authoring.


class CourseEmpty(Conflict):
    message = "Course {0} has no lesson to publish."


class SectionNotEmpty(Conflict):
    message = "Move or delete the lessons of section {0} first."


class TooManyLessons(Conflict):
    message = "A course has up to {0} lessons."


class TooManySections(Conflict):
    message = "A course has up to {0} sections."


class OutlineIncomplete(Invalid):
    message = "The outline must name every lesson of the course once: {0}."


class OwnPrerequisite(Invalid):
    message = "A course cannot be completed before itself."


class PrerequisiteCycle(Invalid):
    message = "Course {0} requires this course, directly or through others."


class CourseNotPublishable(Invalid):
    """``args[0]`` is the id of the course, ``args[1]`` the errors as JSON: [{"pointer", "detail"}]."""

    message = "Course {0} cannot be published: see errors."

    @classmethod
    def of(cls, course_id: UUID, faults: list[dict[str, str]]) -> "CourseNotPublishable":
        return cls(str(course_id), msgspec.json.encode(faults).decode())

    @property
    def errors(self) -> list[dict[str, str]]:
        faults: list[dict[str, str]] = msgspec.json.decode(self.args[1])
        return faults


class ContentUnfit(Invalid):
    message = "The content of a {0} lesson must be {{{1}}}."


# Selling.


class PaymentRequired(Conflict):
    message = "Course {0} is not free: buy it by a checkout."


class AlreadyPurchased(Conflict):
    message = "You already own the {0} {1}."


class CurrencyNotSupported(Invalid):
    message = "{0} does not take {1}."


class AmountTooSmall(Invalid):
    message = "The minimum amount for {0} is {1} {2}."


class AmountTooLarge(Invalid):
    message = "The maximum amount for {0} is {1} {2}."


class AmountNotDivisible(Invalid):
    message = "{0} supports amounts in {1} only in multiples of {2}."


class ReceiptEmailMissing(Invalid):
    message = "{0} must send buyers a receipt by law: send receipt_email."


class OrderClosed(Conflict):
    message = "The order is already {0}."


class AlreadySubscribed(Conflict):
    message = "You are already subscribed to plan {0}."


class SubscriptionEnded(Conflict):
    message = "The subscription {0} has ended or has not started."


class PaymentMethodMissing(Conflict):
    message = "No payment method is saved at {0}: start with a checkout with plan_id."


class CheckoutOutcomeUnknown(Conflict):
    message = "The payment provider has not answered for order {0} yet; the request will be retried."
    retry_after_seconds = 30


class PaymentInProgress(Conflict):
    message = "A payment for the {0} {1} is in progress: wait for its outcome."
    retry_after_seconds = 30


class ReturnUrlRefused(Invalid):
    message = "The return URL {0} is not allowed."


class CouponUnknown(Invalid):
    message = "There is no coupon {0}."


class CouponExpired(Invalid):
    message = "The coupon {0} is not valid at this time."


class CouponUsedUp(Invalid):
    message = "The coupon {0} has reached its usage limit."


class CouponNotApplicable(Invalid):
    message = "The coupon {0} does not apply to this purchase."


class CouponCurrencyMismatch(Invalid):
    message = "The coupon {0} is in {1}."


class CouponTaken(Conflict):
    message = "A coupon {0} already exists."


class CouponUsedMore(Conflict):
    message = "The coupon has already been used {0} times."


class OrderNotPaid(Conflict):
    message = "Nothing was paid for order {0}."


class PaymentNotOfOrder(Invalid):
    message = "Order {0} has no payment {1}."


class PaymentInReview(Conflict):
    message = "Payment {0} is in review: resolve it instead."


class NotInReview(Conflict):
    message = "The {0} {1} is not in review."


class ResolutionRefused(Conflict):
    message = "{0}"


class RefundTooLarge(Invalid):
    message = "At most {0} {1} (minor units) can be given back."


class PaymentRefused(DomainError):
    status = 402
    message = "The payment provider refused: {0}."


class ProviderUnavailable(Unavailable):
    message = "{0} is unavailable; it has not carried out the request."


class ProviderNotOffered(Invalid):
    message = "The payment provider {0} is not configured here."


class ProviderOutcomeUnknown(Unavailable):
    message = "{0} did not return a definite result."


class SignatureInvalid(Malformed):
    message = "The webhook's signature is not valid: {0}."


class SenderRefused(Forbidden):
    message = "The webhook does not come from an address of {0}."


# Notifications.


class NotReplayable(Conflict):
    message = "Notifications by {0} cannot be sent again."


class LastEventIdInvalid(Malformed):
    message = "The Last-Event-ID is not valid for this stream."


class TooManyDevices(Conflict):
    message = "You already have {0} devices: remove one first."


class PushServiceRefused(Invalid):
    message = "{0} is not an address of a known push service."


class PushNotConfigured(Conflict):
    message = "Push notifications by {0} are not configured."


# Integrations and dead letters.


class WebhookUrlRefused(Invalid):
    message = "Webhooks are not sent to this URL: {0}."


class TooManyEndpoints(Conflict):
    message = "There are already {0} webhook endpoints: delete one first."


class UnknownEventType(Invalid):
    message = "There is no event {0}; docs/asyncapi.json lists them all."


class EndpointDisabled(Conflict):
    message = "The endpoint is disabled ({0}): enable it first."


class EventsPruned(DomainError):
    status = 410
    message = "Events after {0} have expired. Start again without ``after``, and fetch the current state by the API."


class DeadLetterClosed(Conflict):
    message = "The dead letter has already been {0}."
