"""Access to courses, given and ended by the events of orders and subscriptions.

Each source (an order or a subscription) changes its own grants only. An event that arrives after a newer one of its
source changes nothing: AccessSource stores the version that was applied last, also where no grant exists yet.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from models.courses.access_sources import AccessSource
from models.courses.catalogue import CatalogueEntry
from models.courses.enrollments import Enrollment
from models.courses.grants import PAID_SOURCES
from models.courses.versions import CourseVersion
from models.errors import AccessPurchased, NotFound
from models.events import (
    CoursePurchased,
    DisputeClosed,
    DisputeOpened,
    EnrollmentCreated,
    EnrollmentEnded,
    PaymentRefunded,
    RefundReversed,
    SubscriptionExpired,
    SubscriptionRestored,
    SubscriptionStarted,
)
from models.personal_data import is_erased
from workers import task

Source = tuple[str, UUID]  # ("order" or "subscription", its id)
REVOKED_BY_STAFF = "revoked_by_staff"  # the reason in ENROLLMENT_ENDED and in the grant
LEFT = "left"  # the reason of learners who have left: they may join a free course again


@task
def grant_access(session: Session, *, event: CoursePurchased) -> None:
    """Give the buyer access to a course. Erased buyers get none."""
    if is_erased(session, "courses", event.user_id):
        return
    grant_course_access(
        session,
        user_id=event.user_id,
        course_id=event.course_id,
        course_title=event.course_title,
        source="order",
        source_id=str(event.order_id),
    )


@task
def revoke_access_on_refund(session: Session, *, event: PaymentRefunded, event_version: int | None = None) -> None:
    """Revoke the grants of a refunded order; other grants of the learner stay."""
    if event.is_full_refund and not event.keeps_access:
        _revoke(session, event.user_id, ("order", event.order_id), reason="refunded", version=event_version)


@task
def restore_access(session: Session, *, event: RefundReversed, event_version: int | None = None) -> None:
    """Restore the grants of an order after the buyer's bank returned the refund."""
    if event.order_restored:
        _restore(session, event.user_id, ("order", event.order_id), version=event_version)


@task
def suspend_access(session: Session, *, event: DisputeOpened, event_version: int | None = None) -> None:
    """Suspend the grants of a disputed order until the bank has decided."""
    if not event.order_suspended:
        return
    order = ("order", event.order_id)
    if not _apply_source_state(
        session, event.user_id, order, status="suspended", reason="disputed", version=event_version
    ):
        return
    for enrollment in _granted_by(session, event.user_id, order):
        at = utc_now()
        ended = enrollment.suspend("order", str(event.order_id), reason="disputed", at=at)
        record_access(session, enrollment, ended, at=at)


@task
def apply_dispute_outcome(session: Session, *, event: DisputeClosed, event_version: int | None = None) -> None:
    """Restore the suspended grants of an order, or revoke them if the dispute is lost."""
    source = ("order", event.order_id)
    if event.order_restored:
        _restore(session, event.user_id, source, version=event_version)
    elif event.order_charged_back:
        _revoke(session, event.user_id, source, reason="charged_back", version=event_version)


@task
def grant_subscription_access(session: Session, *, event: SubscriptionStarted) -> None:
    """Give a subscriber access to every course of the plan. Erased subscribers get none."""
    if is_erased(session, "courses", event.user_id):
        return
    for course_id in sorted(event.course_ids):
        grant_course_access(
            session,
            user_id=event.user_id,
            course_id=course_id,
            course_title=CourseVersion.get_latest(session, course_id).title,
            source="subscription",
            source_id=str(event.subscription_id),
        )


@task
def revoke_subscription_access(
    session: Session, *, event: SubscriptionExpired, event_version: int | None = None
) -> None:
    """Revoke the grants of a subscription; a course that was bought as well stays."""
    source = ("subscription", event.subscription_id)
    _revoke(session, event.user_id, source, reason="subscription_ended", version=event_version)


@task
def restore_subscription_access(
    session: Session, *, event: SubscriptionRestored, event_version: int | None = None
) -> None:
    """Restore the grants of a subscription whose payment came back."""
    _restore(session, event.user_id, ("subscription", event.subscription_id), version=event_version)


@task
def revoke_access(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Revoke what staff gave and a free enrollment; return the access that is left. Idempotent.

    Learners who have left may not join again. Raises NotFound without an enrollment, AccessPurchased if there is
    access by purchases only.
    """
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    at = utc_now()  # after the lock: what the learner did until now was done with access
    if enrollment is None:
        raise NotFound("enrollment", str(course_id))
    revocable = [grant for grant in enrollment.grants if grant.source not in PAID_SOURCES]
    if not revocable and enrollment.has_access(at):
        raise AccessPurchased(str(course_id))
    for grant in revocable:
        ended = enrollment.revoke(grant.source, grant.source_id, reason=REVOKED_BY_STAFF, at=at)
        record_access(session, enrollment, ended, at=at)
        grant.reason = REVOKED_BY_STAFF  # also of one that the learner has left
    return enrollment.to_access_response(at=at)


@task
def leave_course(session: Session, *, user_id: UUID, course_id: UUID) -> None:
    """End the learner's access that was not bought. Progress, reviews and certificates stay. Idempotent.

    Raises NotFound without an enrollment, AccessPurchased if an order or a subscription gives access.
    """
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    at = utc_now()  # after the lock: what the learner did until now was done with access
    if enrollment is None:
        raise NotFound("enrollment", str(course_id))
    if any(grant.source in PAID_SOURCES and grant.gives_access(at) for grant in enrollment.grants):
        raise AccessPurchased(str(course_id))
    for grant in enrollment.grants:
        if grant.status == "active":
            ended = enrollment.revoke(grant.source, grant.source_id, reason=LEFT, at=at)
            record_access(session, enrollment, ended, at=at)


def grant_course_access(
    session: Session,
    *,
    user_id: UUID,
    course_id: UUID,
    course_title: str,
    source: str,
    source_id: str,
    ends_at: datetime | None = None,
) -> Enrollment:
    """Add a grant to the user's enrollment, created if needed; count a new learner in the catalogue."""
    at = utc_now()
    enrollment = Enrollment.get_or_create_for_update(session, user_id=user_id, course_id=course_id, at=at)
    is_new = not enrollment.grants
    access_source = None
    if source in PAID_SOURCES:
        access_source = AccessSource.get_or_create_for_update(session, source, source_id, user_id=user_id, at=at)
    event = enrollment.grant(
        source, source_id, course_title=course_title, at=at, source_state=access_source, ends_at=ends_at
    )
    record_access(session, enrollment, event, at=at)
    if is_new:
        CatalogueEntry.increment_learners(session, course_id)
    return enrollment


def record_access(
    session: Session, enrollment: Enrollment, event: EnrollmentCreated | EnrollmentEnded | None, *, at: datetime
) -> None:
    """Record the events of a change of the grants: ``event``, and what it means for the end of the access."""
    record(session, enrollment, *enrollment.access_events(event, at=at))


def _restore(session: Session, user_id: UUID, source: Source, *, version: int | None) -> None:
    """Restore the grants of a source, unless the event is outdated."""
    if not _apply_source_state(session, user_id, source, status="active", reason=None, version=version):
        return
    kind, source_id = source
    for enrollment in _granted_by(session, user_id, source):
        title, at = CourseVersion.get_latest(session, enrollment.course_id).title, utc_now()
        restored = enrollment.restore(kind, str(source_id), course_title=title, at=at)
        record_access(session, enrollment, restored, at=at)


def _revoke(session: Session, user_id: UUID, source: Source, *, reason: str, version: int | None) -> None:
    """Revoke the grants of a source, unless the event is outdated."""
    if not _apply_source_state(session, user_id, source, status="revoked", reason=reason, version=version):
        return
    kind, source_id = source
    for enrollment in _granted_by(session, user_id, source):
        at = utc_now()
        record_access(session, enrollment, enrollment.revoke(kind, str(source_id), reason=reason, at=at), at=at)


def _apply_source_state(
    session: Session, user_id: UUID, source: Source, *, status: str, reason: str | None, version: int | None
) -> bool:
    """Store the new state of a source. Return False for an event that is too old, and for an erased user."""
    if is_erased(session, "courses", user_id):
        return False
    return AccessSource.apply(
        session, source, user_id=user_id, status=status, reason=reason, version=version, at=utc_now()
    )


def _granted_by(session: Session, user_id: UUID, source: Source) -> list[Enrollment]:
    kind, source_id = source
    return Enrollment.list_by_grant_source_for_update(session, kind, str(source_id), user_id=user_id)
