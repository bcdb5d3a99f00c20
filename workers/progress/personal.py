"""Export and erasure of personal data in the progress service."""

from sqlalchemy.orm import Session

from models.applied_versions import AppliedVersion
from models.cache import changed, progress_of
from models.events import UserDeleted, UserExportRequested
from models.personal import forget, lay_out
from models.progress import CourseProgress, LessonPosition
from workers import task
from workers.resources import Remember

from .learning import ENDED_ENROLLMENTS, PASSED_QUIZZES


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Store a learner's progress and playback positions for the export."""
    data = {
        "courses": CourseProgress.all_of(session, event.user_id),
        "positions": LessonPosition.all_of(session, event.user_id),
    }
    lay_out(session, "progress", event, data)


@task
def erase_data(session: Session, remember: Remember, *, event: UserDeleted) -> None:
    """Erase a learner's progress, certificates included."""
    AppliedVersion.erase_user(session, (ENDED_ENROLLMENTS, PASSED_QUIZZES), event.user_id)
    rows = LessonPosition.erase(session, event.user_id) + CourseProgress.erase(session, event.user_id)
    forget(session, "progress", event, rows=rows, kept=[])
    remember(progress_of(event.user_id), changed)
