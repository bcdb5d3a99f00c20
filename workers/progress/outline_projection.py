"""Projections of the courses service: published outlines, and which courses are on sale."""

from sqlalchemy.orm import Session

from models.events import CourseArchived, CoursePublished, CourseUpdated
from models.progress import CourseSale, Outline
from models.progress.version_moves import VersionMove
from workers import projection, task


@task
def upsert_outline(session: Session, *, event: CoursePublished, event_version: int | None = None) -> None:
    """Store the outline of a published version, and that its course is on sale; request the move of its learners."""
    store_outline(session, event=event)
    if event.learners == "move":
        VersionMove.request(session, event.course_id, event.course_version, at=event.published_at)
    start_sale(session, event=event, event_version=event_version)


@task
def change_sale(session: Session, *, event: CourseUpdated, event_version: int | None = None) -> None:
    """Store whether a course is on sale."""
    CourseSale.apply(session, event.course_id, on_sale=event.on_sale, version=event_version)


@task
def end_sale(session: Session, *, event: CourseArchived, event_version: int | None = None) -> None:
    """Store that an archived course is not on sale."""
    CourseSale.apply(session, event.course_id, on_sale=False, version=event_version)


def store_outline(session: Session, *, event: CoursePublished) -> None:
    """Store a published outline; a part of ``upsert_outline``."""
    Outline.insert_once(session, event)


def start_sale(session: Session, *, event: CoursePublished, event_version: int | None = None) -> None:
    """Store that a published course is on sale; a part of ``upsert_outline``."""
    CourseSale.apply(session, event.course_id, on_sale=True, version=event_version)


projection("progress.outlines", clear_rows=Outline.clear, handlers=[store_outline])
projection("progress.course_sales", clear_rows=CourseSale.clear, handlers=[start_sale, change_sale, end_sale])
