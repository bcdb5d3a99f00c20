"""Export and erasure of personal data in the courses service."""

from sqlalchemy.orm import Session

from core.db import utc_now
from models.courses.catalogue import CatalogueEntry
from models.courses.course import Course
from models.courses.enrollment_batches import EnrollmentBatchRow
from models.courses.enrollments import Enrollment
from models.courses.extra_attempts import ExtraAttempts
from models.courses.files import File
from models.courses.invitations import Address, Invitation
from models.courses.quizzes import QuizAttempt
from models.courses.reviews import Review
from models.events import RetainedData, UserDeleted, UserExportRequested
from models.personal_data import erase_personal_data, store_export_part
from workers import task


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Store the user's enrollments, quiz attempts, reviews, authored courses, replies and files for the export."""
    enrollments = [
        {**enrollment.to_response(at=utc_now()), "grants": [grant.to_response() for grant in enrollment.grants]}
        for enrollment in Enrollment.list_for_user(session, event.user_id)
    ]
    written = Course.list_by_author(session, event.user_id)
    courses = [
        {"id": course.id, "slug": course.slug, "status": course.status, **course.description_fields()}
        for course in written
    ]
    files = [{"course_id": file.course_id, **file.to_response()} for file in File.list_by_owner(session, event.user_id)]
    email = Address.find_email(session, event.user_id)
    data = {
        "invitations": Invitation.list_for_email(session, email) if email else [],
        "enrollments": enrollments,
        "courses": courses,
        "files": files,
        "review_replies": Review.list_replies(session, [course.id for course in written]),
        "reviews": Review.list_for_user(session, event.user_id),
        "attempts": QuizAttempt.list_for_user(session, event.user_id),
        "extra_attempts": ExtraAttempts.list_for_user(session, event.user_id),
    }
    store_export_part(session, "courses", event, data)


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase the user's enrollments, reviews and quiz attempts. Courses and files that the user wrote are kept."""
    kept = []
    if written := Course.list_by_author(session, event.user_id):
        kept.append(
            RetainedData(
                description=f"{len(written)} authored courses with replies to reviews, under an id that identifies no"
                " person",
                reason="other learners use them, by contract",
            )
        )
    if files := File.list_by_owner(session, event.user_id):
        kept.append(
            RetainedData(
                description=f"{len(files)} uploaded files of courses with their names, under an id that identifies no"
                " person",
                reason="learners of the courses use them, by contract; unused files are deleted after a day",
            )
        )
    invited = 0
    if email := Address.find_email(session, event.user_id):
        invited = Invitation.erase(session, email) + EnrollmentBatchRow.erase(session, email)
    Course.remove_editor(session, event.user_id)
    reviewed = Review.erase(session, event.user_id)
    for course_id in sorted(reviewed):  # sorted, so that concurrent erasures cannot deadlock
        CatalogueEntry.recalculate_rating(session, course_id)
    CatalogueEntry.decrement_learners(session, Enrollment.list_course_ids(session, event.user_id))
    rows = len(reviewed) + QuizAttempt.erase(session, event.user_id) + ExtraAttempts.erase(session, event.user_id)
    rows += Enrollment.erase(session, event.user_id) + Address.erase(session, event.user_id) + invited
    erase_personal_data(session, "courses", event, rows=rows, retained=kept)
