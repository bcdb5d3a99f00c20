"""The projection of what is on sale."""

from sqlalchemy.orm import Session

from models.events import CourseArchived, CoursePublished, CourseUpdated
from models.payments import Offer
from workers import projection, task


@task
def keep_offer(session: Session, *, event: CoursePublished) -> None:
    """Keep what is on sale at what price; the latest published version counts."""
    Offer.keep(session, event)


@task
def change_offer(session: Session, *, event: CourseUpdated) -> None:
    """Keep a new price, which is live at once; an open page keeps the price that it was opened with."""
    Offer.change(session, event)


@task
def withdraw_offer(session: Session, *, event: CourseArchived) -> None:
    """Take a course off sale."""
    Offer.withdraw(session, event.course_id)


projection("payments.offers", forget=Offer.forget, folds=[keep_offer, change_offer, withdraw_offer])
