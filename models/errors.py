"""Every expected failure. Its class says what went wrong, its args say with what; it crosses the queue as both.

No class here has an ``__init__``: the gateway rebuilds an error that a worker raised as ``cls(*args)``, so the args are
JSON values (send ``str(id)``), and the message is made from them. ``code`` is stable: clients branch on it.

During an upgrade the reader of a reply may not know the class. Hence ``to_wire`` adds the status, the code and the
text, and ``from_wire`` falls back to them.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar
from uuid import UUID

import msgspec

_ERROR_STATUSES = {status.value for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}


class DomainError(Exception):
    """An expected failure. ``status`` is its HTTP status, ``code`` its stable name, ``message`` its text for people."""

    status: int = 400
    code: str = "domain_error"
    message: ClassVar[str] = "The request could not be carried out."
    # Seconds after which a repeat may succeed; None where only another request would. Whoever raises may know better.
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
        """The fields at fault: [{"pointer", "detail"}], a JSON pointer each."""
        return []

    @property
    def transient(self) -> bool:
        """Whether time alone may remove the cause, so that an event's handler is retried without limit."""
        return isinstance(self, Unavailable)

    def to_wire(self) -> dict[str, Any]:
        """The error as a reply carries it. Only ``name`` and ``args`` are read by a process that knows the class."""
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
        except (IndexError, KeyError):  # raised with too few args: the caller must get an answer nevertheless
            return self.message

    @staticmethod
    def from_wire(fields: Mapping[str, Any]) -> "DomainError":
        """Rebuild the error of a reply, a stored answer or an operation. Never raises, whatever the fields hold."""
        known, args = DomainError.by_name.get(str(fields.get("name"))), fields.get("args")
        if known is not None and isinstance(args, list):
            error = known(*args)
            try:
                str(error)
            except (IndexError, KeyError):  # the sender's class has other args than ours
                pass
            else:
                return error
        return RemoteError.from_fields(fields)


class RemoteError(DomainError, registered=False):
    """An error of a class that only the sender knows. ``args[0]`` is its name, ``args[1]`` its text."""

    status = 500
    code = "internal_error"
    message = "{1}"
    _transient = True

    @property
    def transient(self) -> bool:
        return self._transient

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "RemoteError":
        """Take over status, code and text where they have the right form."""
        detail, status, code = fields.get("detail"), fields.get("status"), fields.get("code")
        text = detail if isinstance(detail, str) else "Something went wrong on our side; it has been logged."
        error = cls(str(fields.get("name")), text)
        if isinstance(status, int) and status in _ERROR_STATUSES:
            error.status = status
        if isinstance(code, str):
            error.code = code
        retry_after_seconds, transient = fields.get("retry_after_seconds"), fields.get("transient")
        error.retry_after_seconds = retry_after_seconds if isinstance(retry_after_seconds, int) else None
        # Without the flag assume the best: an unknown error must not discard the events of a newer service.
        error._transient = transient if isinstance(transient, bool) else True
        return error

    def to_wire(self) -> dict[str, Any]:
        """The fields as they came, for a reader that may know the class."""
        return {**super().to_wire(), "name": self.args[0], "args": []}


# Families: raised through their members.


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


# Who is asking.


class TokenMissing(Unauthorized):
    message = "Send an access token: Authorization: Bearer <token>."


class TokenInvalid(Unauthorized):
    message = "The access token is not valid: {0}."


class TokenOutdated(Unauthorized):
    message = "The roles of this account have changed since the access token was issued: get a new one."


class PermissionMissing(Forbidden):
    message = "This needs the permission {0}."


class MachineRefused(Forbidden):
    message = "This is for people: a program's own token is not taken here."


class AccountErased(Forbidden):
    message = "This account was erased. Sign up anew, or wait for the receipt at its operation."


class AccountBlocked(Forbidden):
    message = "This account is blocked."


class OwnRoles(Forbidden):
    message = "You cannot change your own roles: ask another administrator."


class HookRefused(Unauthorized):
    message = "The hook's authorization is not the one agreed upon."


class HookUnreadable(Malformed):
    message = "The hook cannot be read: {0}."


class UnsubscribeLinkInvalid(NotFound):
    message = "This is not a link of ours, or not the whole of it."


# How it is asked.


class IdempotencyKeyMissing(Malformed):
    message = "This request needs an Idempotency-Key header."


class IdempotencyKeyInvalid(Malformed):
    message = "An Idempotency-Key has 1 to 255 visible ASCII characters."


class SecretNotStored(Malformed):
    message = "The answer holds a secret and is never stored: send the request without {0}."


class IdempotencyKeyReused(Invalid):
    message = "This Idempotency-Key was used with another request."


class RequestInProgress(Conflict):
    message = "The first request with this Idempotency-Key is still running."
    retry_after_seconds = 1


class CursorInvalid(Malformed):
    message = "The cursor is not one of this list's."


class PreconditionRequired(DomainError):
    status = 428
    message = "Send If-Match with the ETag of what you change."


class PreconditionFailed(DomainError):
    status = 412
    message = "The {0} has changed since: its version is {1}."


class RateLimited(DomainError):
    status = 429
    message = "Too many requests."
    retry_after_seconds = 60


class QueueFull(Unavailable):
    message = "The {0} service has too much to do; nothing was done."


class TransactionConflict(Unavailable):
    """PostgreSQL ended the transaction for the sake of another one: a deadlock or a serialization failure."""

    message = "Another request changed the same data of the {0} service at the same time; nothing was done."
    retry_after_seconds = 1


class ServiceSlow(Unavailable):
    message = "The {0} service answers slowly, and enough requests wait for it already; nothing was done."


class OutcomeUnknown(DomainError):
    status = 504
    message = "No answer in time: the outcome is unknown. Repeat the request with the same Idempotency-Key."


class ProjectionBehind(Unavailable):
    """A handler needs what another topic has not brought yet; the bridge sends its event again."""

    message = "The {0} {1} has not arrived yet."
    retry_after_seconds = 1


class OperationBegun(Conflict):
    message = "The operation is {0}: only a pending one can be canceled."


class OperationCanceled(Conflict):
    message = "The operation was canceled before it began."


class TaskUnknown(Unavailable):
    """A worker of another version was asked: an upgrade or a rollback is under way."""

    message = "This version of the service does not know the command {0}; nothing was done."


class CommandCrashed(DomainError):
    status = 500
    code = "internal_error"
    message = "Something went wrong on our side; it has been logged, and the command is not tried again."


class EventTooLarge(Invalid):
    message = "This makes an event {0} of {1} bytes; at most {2} bytes are published. Send less at once."


# Learning.


class NotEnrolled(Forbidden):
    message = "You have no access to course {0}."


class NoProgress(NotFound):
    # The same code as on the lesson's own routes: for a client the reason is the same.
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
    """``args[0]`` is the course, ``args[1]`` the faults as JSON: [{"pointer", "detail"}]."""

    message = "Course {0} cannot be published: see errors."

    @classmethod
    def of(cls, course_id: UUID, faults: list[dict[str, str]]) -> "CourseNotPublishable":
        return cls(str(course_id), msgspec.json.encode(faults).decode())

    @property
    def errors(self) -> list[dict[str, str]]:
        faults: list[dict[str, str]] = msgspec.json.decode(self.args[1])
        return faults


class ContentUnfit(Invalid):
    message = "The content of a {0} lesson is {{{1}}}."


# Selling.


class PaymentRequired(Conflict):
    message = "Course {0} is not free: buy it by a checkout."


class AlreadyPurchased(Conflict):
    message = "You have bought the {0} {1} already."


class CurrencyNotSupported(Invalid):
    message = "{0} does not take {1}."


class AmountTooSmall(Invalid):
    message = "The least amount that {0} charges is {1} {2}."


class AmountTooLarge(Invalid):
    message = "The largest amount that {0} charges is {1} {2}."


class AmountNotDivisible(Invalid):
    message = "{0} takes amounts in {1} only in steps of {2}."


class ReceiptEmailMissing(Invalid):
    message = "{0} sends its buyers a receipt by law: send receipt_email."


class OrderClosed(Conflict):
    message = "The order is {0} already."


class AlreadySubscribed(Conflict):
    message = "You are subscribed to plan {0} already."


class SubscriptionEnded(Conflict):
    message = "The subscription {0} is over, or has not begun."


class PaymentMethodMissing(Conflict):
    message = "There is no means of payment saved at {0}: begin by a checkout with plan_id."


class CheckoutOutcomeUnknown(Conflict):
    message = "The payment provider has not answered for order {0} yet; it will be asked again."
    retry_after_seconds = 30


class PaymentInProgress(Conflict):
    message = "A payment for the {0} {1} is on its way: wait for its outcome."
    retry_after_seconds = 30


class ReturnUrlRefused(Invalid):
    message = "The return address {0} is not on the list of this shop."


class CouponUnknown(Invalid):
    message = "There is no coupon {0}."


class CouponExpired(Invalid):
    message = "The coupon {0} is not valid at this time."


class CouponUsedUp(Invalid):
    message = "The coupon {0} has been used as often as it may be."


class CouponNotApplicable(Invalid):
    message = "The coupon {0} is not for this."


class CouponCurrencyMismatch(Invalid):
    message = "The coupon {0} is in {1}."


class CouponTaken(Conflict):
    message = "There is a coupon {0} already."


class CouponUsedMore(Conflict):
    message = "The coupon was used {0} times already."


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
    message = "{0} does not answer; nothing was charged."


class ProviderNotOffered(Invalid):
    message = "The payment provider {0} is not configured here."


class ProviderOutcomeUnknown(Unavailable):
    message = "{0} gave no clear answer."


class SignatureInvalid(Malformed):
    message = "The webhook's signature is not valid: {0}."


class SenderRefused(Forbidden):
    message = "The webhook does not come from an address of {0}."


# Telling.


class NotReplayable(Conflict):
    message = "What was told by {0} cannot be sent again."


class LastEventIdInvalid(Malformed):
    message = "The Last-Event-ID is not one of this stream's."


class TooManyDevices(Conflict):
    message = "You have {0} devices already: remove one first."


class PushServiceRefused(Invalid):
    message = "No known push service has the address {0}."


class PushNotConfigured(Conflict):
    message = "This shop does not push by {0}."


# Integrating.


class WebhookUrlRefused(Invalid):
    message = "Webhooks are not sent there: {0}."


class TooManyEndpoints(Conflict):
    message = "There are {0} webhook endpoints already: delete one first."


class UnknownEventType(Invalid):
    message = "There is no event {0}; docs/asyncapi.json lists them all."


class EndpointDisabled(Conflict):
    message = "The endpoint is disabled ({0}): enable it first."


class EventsPruned(DomainError):
    status = 410
    message = "Events after {0} are forgotten already. Begin anew without after, and fetch what you need by the API."


class DeadLetterClosed(Conflict):
    message = "The dead letter was {0} already."
