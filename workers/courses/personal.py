"""Export and erasure of personal data in the courses service."""

from sqlalchemy.orm import Session

from models.base import now
from models.courses.catalogue import CatalogueEntry
from models.courses.course import Course
from models.courses.enrollments import Enrollment
from models.courses.quizzes import Attempt
from models.courses.reviews import Review
from models.events import KeptData, UserDeleted, UserExportRequested
from models.personal import forget, lay_out
from workers import task


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Store the user's enrollments, quiz attempts, reviews and authored courses for the export."""
    enrollments = [
        {**enrollment.view(at=now()), "grants": [grant.view() for grant in enrollment.grants]}
        for enrollment in Enrollment.all_of(session, event.user_id)
    ]
    courses = [
        {"id": course.id, "slug": course.slug, "status": course.status, **course.description_of()}
        for course in Course.written_by(session, event.user_id)
    ]
    said = {
        "enrollments": enrollments,
        "courses": courses,
        "reviews": Review.all_of(session, event.user_id),
        "attempts": Attempt.all_of(session, event.user_id),
    }
    lay_out(session, "courses", event, said)


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase the user's enrollments, reviews and quiz attempts. Courses that the user wrote are kept."""
    kept = []
    if written := Course.written_by(session, event.user_id):
        kept.append(
            KeptData(
                what=f"{len(written)} courses that they wrote, under a number that leads to nobody",
                why="others learn from them, by contract",
            )
        )
    reviewed = Review.erase(session, event.user_id)
    for course_id in sorted(reviewed):  # sorted, so that concurrent erasures cannot deadlock
        CatalogueEntry.rate(session, course_id)
    rows = len(reviewed) + Attempt.erase(session, event.user_id) + Enrollment.erase(session, event.user_id)
    forget(session, "courses", event, rows=rows, kept=kept)
