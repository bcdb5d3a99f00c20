"""Export and erasure of personal data in the progress service."""

from sqlalchemy.orm import Session

from core.bus.applied_versions import AppliedVersion
from core.cache import invalidation_marker, progress_version_key
from core.db import utc_now
from models.events import UserDeleted, UserExportRequested
from models.personal_data import erase_personal_data, store_export_part
from models.progress import Certificate, CertificateRevocation, CourseProgress, PlaybackPosition
from models.progress.exports import export_courses
from workers import task
from workers.runtime.dependencies import CacheAfterCommit

from .learning import ENDED_ENROLLMENTS, PASSED_QUIZZES


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Store a learner's progress and playback positions for the export."""
    data = {
        "courses": export_courses(session, event.user_id),
        "certificates": [
            certificate.to_response(at=utc_now())
            for certificate in Certificate.list_issued(session, CourseProgress.user_id == event.user_id, limit=None)
        ],
        "positions": PlaybackPosition.list_for_user(session, event.user_id),
    }
    store_export_part(session, "progress", event, data)


@task
def erase_data(session: Session, cache_after_commit: CacheAfterCommit, *, event: UserDeleted) -> None:
    """Erase a learner's progress, certificates included."""
    AppliedVersion.erase_user(session, (ENDED_ENROLLMENTS, PASSED_QUIZZES), event.user_id)
    rows = sum(each.erase(session, event.user_id) for each in (PlaybackPosition, CertificateRevocation, CourseProgress))
    erase_personal_data(session, "progress", event, rows=rows, retained=[])
    cache_after_commit(progress_version_key(event.user_id), invalidation_marker)
