"""Projection of the courses on sale. Events older than the stored version of a course are ignored."""

from sqlalchemy.orm import Session

from core.bus.applied_versions import AppliedVersion
from models.events import CourseArchived, CoursePublished, CourseUpdated
from models.payments import Offer
from models.payments.offers import OFFERS
from workers import projection, task


@task
def upsert_offer(session: Session, *, event: CoursePublished, event_version: int | None = None) -> None:
    """Store the offer of a published course."""
    if AppliedVersion.advance(session, OFFERS, str(event.course_id), event_version):
        Offer.upsert(session, event)


@task
def update_offer(session: Session, *, event: CourseUpdated, event_version: int | None = None) -> None:
    """Store a changed price. New checkouts use it at once; open checkout sessions keep the old price."""
    if AppliedVersion.advance(session, OFFERS, str(event.course_id), event_version):
        Offer.apply_update(session, event)


@task
def withdraw_offer(session: Session, *, event: CourseArchived, event_version: int | None = None) -> None:
    """End the sale of an archived course."""
    if AppliedVersion.advance(session, OFFERS, str(event.course_id), event_version):
        Offer.withdraw(session, event.course_id)


projection(OFFERS, clear_rows=Offer.delete, handlers=[upsert_offer, update_offer, withdraw_offer])
