"""The outlines that learners follow, taken over from the courses service."""

from sqlalchemy.orm import Session

from models.events import CoursePublished
from models.progress import Outline
from workers import projection, task


@task
def keep_outline(session: Session, *, event: CoursePublished) -> None:
    """Keep the outline of a published version, for those who start on it."""
    Outline.keep(session, event)


projection("progress.outlines", forget=Outline.forget, folds=[keep_outline])
