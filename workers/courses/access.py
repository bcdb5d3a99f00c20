"""Who is let in, and why: grants follow what payments tell, and each follows its own order or subscription alone.

Events of one order come in their order, but for one that a repair sends after younger ones: a grant keeps the version
of the last news that it has followed (``ce_sequence``), and older ones change it no more.
"""

from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.courses.catalogue import CatalogueEntry
from models.courses.enrollments import Enrollment
from models.courses.versions import CourseVersion
from models.events import (
    CoursePurchased,
    DisputeClosed,
    PaymentDisputed,
    PaymentRefunded,
    RefundReturned,
    SubscriptionExpired,
    SubscriptionRestored,
    SubscriptionStarted,
)
from models.outbox import record
from models.personal import is_erased
from workers import task

Headers = dict[str, str] | None  # None: the task was called past the bridge


@task
def grant_access(session: Session, *, event: CoursePurchased) -> None:
    """Let the buyer of a course in, unless they have gone meanwhile."""
    if is_erased(session, "courses", event.user_id):
        return
    let_in(
        session,
        user_id=event.user_id,
        course_id=event.course_id,
        course_title=event.course_title,
        source="order",
        source_id=str(event.order_id),
    )


@task
def end_access(session: Session, *, event: PaymentRefunded, event_headers: Headers = None) -> None:
    """End what a refunded order granted, and nothing else: another order, or an admin's word, lets the learner stay."""
    if event.order_refunded and not event.access_kept:
        _shut_out(session, event.user_id, ("order", event.order_id), reason="refunded", headers=event_headers)


@task
def restore_access(session: Session, *, event: RefundReturned, event_headers: Headers = None) -> None:
    """Open again what a refund closed that the buyer's bank has sent back."""
    if event.order_restored:
        _let_in_again(session, event.user_id, ("order", event.order_id), headers=event_headers)


@task
def suspend_access(session: Session, *, event: PaymentDisputed, event_headers: Headers = None) -> None:
    """Close what a disputed order granted until the bank has decided."""
    if not event.order_suspended:
        return
    order, version = str(event.order_id), _version(event_headers)
    for enrollment in Enrollment.granted_by(session, "order", order, user_id=event.user_id):
        if ended := enrollment.suspend("order", order, reason="disputed", version=version, at=now()):
            record(session, enrollment, ended)


@task
def settle_access(session: Session, *, event: DisputeClosed, event_headers: Headers = None) -> None:
    """Open again what a dispute had closed, or end it for good, as the bank has decided."""
    source = ("order", event.order_id)
    if event.order_restored:
        _let_in_again(session, event.user_id, source, headers=event_headers)
    elif event.order_charged_back:
        _shut_out(session, event.user_id, source, reason="charged_back", headers=event_headers)


@task
def admit_subscriber(session: Session, *, event: SubscriptionStarted) -> None:
    """Let a subscriber into every course of the plan, unless they have gone meanwhile."""
    if is_erased(session, "courses", event.user_id):
        return
    for course_id in sorted(event.course_ids):
        let_in(
            session,
            user_id=event.user_id,
            course_id=course_id,
            course_title=CourseVersion.latest(session, course_id).title,
            source="subscription",
            source_id=str(event.subscription_id),
        )


@task
def dismiss_subscriber(session: Session, *, event: SubscriptionExpired, event_headers: Headers = None) -> None:
    """End what a subscription granted, and nothing else: a course that was bought as well stays."""
    source = ("subscription", event.subscription_id)
    _shut_out(session, event.user_id, source, reason="subscription_ended", headers=event_headers)


@task
def readmit_subscriber(session: Session, *, event: SubscriptionRestored, event_headers: Headers = None) -> None:
    """Open again what a subscription granted, whose payment came back."""
    _let_in_again(session, event.user_id, ("subscription", event.subscription_id), headers=event_headers)


def let_in(
    session: Session, *, user_id: UUID, course_id: UUID, course_title: str, source: str, source_id: str
) -> Enrollment:
    """Give access for a reason, and count a learner who is new to the course."""
    at = now()
    enrollment = Enrollment.reserve(session, user_id=user_id, course_id=course_id, at=at)
    is_new = not enrollment.grants
    if event := enrollment.grant(source, source_id, course_title=course_title, at=at):
        record(session, enrollment, event)
    if is_new:
        CatalogueEntry.count_learner(session, course_id)
    return enrollment


def _let_in_again(session: Session, user_id: UUID, source: tuple[str, UUID], *, headers: Headers) -> None:
    kind, source_id = source
    for enrollment in Enrollment.granted_by(session, kind, str(source_id), user_id=user_id):
        title = CourseVersion.latest(session, enrollment.course_id).title
        version = _version(headers)
        if begun := enrollment.restore(kind, str(source_id), course_title=title, version=version, at=now()):
            record(session, enrollment, begun)


def _shut_out(session: Session, user_id: UUID, source: tuple[str, UUID], *, reason: str, headers: Headers) -> None:
    kind, source_id = source
    for enrollment in Enrollment.granted_by(session, kind, str(source_id), user_id=user_id):
        version = _version(headers)
        if ended := enrollment.revoke(kind, str(source_id), reason=reason, version=version, at=now()):
            record(session, enrollment, ended)


def _version(headers: Headers) -> int | None:
    """How many news of its order or subscription there were with this one."""
    return int(headers["ce_sequence"]) if headers else None
