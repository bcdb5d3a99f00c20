"""Learners move to a newer version: all of a course after a publication, or one on their own request."""

import time
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.cache import invalidation_marker, progress_version_key
from core.db import utc_now
from models.errors import ProjectionNotReady
from models.progress import CourseProgress, Outline
from models.progress.version_moves import VersionMove
from models.progress.version_moves import move_learners as move_locked_learners
from workers import job, task
from workers.runtime.dependencies import CacheAfterCommit
from workers.runtime.execution import Transactions

from .learner_pages import invalidate_pages

PAGE_SIZE = 100  # the rows of a page are locked until its commit, for about 50 ms: completions wait for it
_RUN_SECONDS = 20.0  # then the next run of the job continues


@job
def move_learners(transactions: Transactions) -> None:
    """Move the learners of courses that were published for all learners, one page in each transaction."""
    until = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < until:
        with transactions.begin() as session:
            move = VersionMove.find_oldest_for_update(session)
            if move is None:
                return
            moved = move.move_page(session, limit=PAGE_SIZE, at=utc_now())
        invalidate_pages(moved)


@task
def upgrade_course(
    session: Session, cache_after_commit: CacheAfterCommit, *, user_id: UUID, course_id: UUID, course_version: int
) -> dict[str, Any]:
    """Move a learner to a newer version of the course; return their progress.

    Raises NotEnrolled, ProjectionNotReady if the version has not arrived.
    """
    progress = CourseProgress.get_for_update(session, user_id, course_id)
    if progress.course_version < course_version:
        outline = Outline.find(session, course_id, course_version)
        if outline is None:
            raise ProjectionNotReady("outline of course", str(course_id))
        move_locked_learners(session, [progress], outline, at=utc_now())
        cache_after_commit(progress_version_key(user_id), invalidation_marker)
    return progress.to_response()
