"""Progress of learners whose access has ended: what still counts, and the certificate."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

import settings
from models.events import CoursePublished, EnrollmentEnded, PublishedLesson, PublishedSection, QuizAttempted
from models.progress import CourseProgress
from models.progress.certificates import Certificate
from models.progress.version_moves import VersionMove
from tests.integration.progress.builders import NOON, Learner
from tests.support.events import build_event
from tests.support.tasks import noop_cache
from workers.progress.learning import close_course_progress, complete_quiz_lesson, start_course
from workers.progress.outline_projection import upsert_outline

ENDED = NOON + timedelta(minutes=10)


@pytest.fixture
def learner(session: Session) -> Learner:
    """A learner in a course whose only lesson is completed by its quiz."""
    return Learner(session, lessons=1, completion_rule="min_score")


def end_access(learner: Learner, reason: str) -> None:
    event = build_event(EnrollmentEnded, **learner.in_course, reason=reason, ended_at=ENDED)
    close_course_progress(learner.session, noop_cache, event=event)


def pass_quiz(learner: Learner, *, minute: int) -> None:
    at = NOON + timedelta(minutes=minute)
    event = build_event(
        QuizAttempted, **learner.in_course, lesson_id=learner.lessons[0], passed=True, attempt=1, attempted_at=at
    )
    complete_quiz_lesson(learner.session, noop_cache, event=event)


def statuses(learner: Learner) -> list[str]:
    """Return the status of the learner's certificate; an empty list if none was issued."""
    issued = Certificate.list_issued(learner.session, CourseProgress.user_id == learner.user_id)
    return [each.status(NOON) for each in issued]


@pytest.mark.parametrize("revokes", [False, True])
@pytest.mark.parametrize("reason", ["refunded", "left", "disputed"])
def test_quiz_whose_time_ends_without_access_issues_no_certificate_before_access_is_back(
    learner: Learner, monkeypatch, *, reason, revokes
):
    monkeypatch.setattr(settings, "CERTIFICATE_REVOKE_ON_REFUND", revokes)
    end_access(learner, reason)

    pass_quiz(learner, minute=11)
    without_access = statuses(learner)
    start_course(learner.session, noop_cache, event=learner.enrolled())

    assert (without_access, statuses(learner)) == ([], ["valid"])
    assert learner.progress()["status"] == "completed"
    assert [name for name, _version in learner.published_events()] == [
        "COURSE_STARTED",
        "LESSON_COMPLETED",
        "COURSE_COMPLETED",
        "CERTIFICATE_ISSUED",
    ]


@pytest.mark.parametrize(
    ("reason", "revokes", "status"),
    [
        ("refunded", True, "revoked"),
        ("charged_back", True, "revoked"),
        ("refunded", False, "valid"),
        ("subscription_ended", True, "valid"),
    ],
)
def test_late_event_issues_a_certificate_by_the_policy_for_refunds(
    learner: Learner, monkeypatch, *, reason, revokes, status
):
    monkeypatch.setattr(settings, "CERTIFICATE_REVOKE_ON_REFUND", revokes)
    end_access(learner, reason)

    pass_quiz(learner, minute=9)
    without_access = statuses(learner)
    start_course(learner.session, noop_cache, event=learner.enrolled())

    assert (without_access, statuses(learner)) == ([status], ["valid"])


def test_move_to_a_shorter_version_finishes_no_course_without_access(session: Session):
    learner = Learner(session, lessons=2)
    learner.complete(learner.lessons[0])
    end_access(learner, "refunded")
    kept = PublishedLesson(lesson_id=learner.lessons[0], title="Kept")
    shorter = build_event(
        CoursePublished,
        course_id=learner.course_id,
        course_version=2,
        sections=[PublishedSection(section_id=uuid4(), lessons=[kept])],
        learners="move",
    )
    upsert_outline(session, event=shorter)
    session.get_one(VersionMove, learner.course_id).move_page(session, limit=5, at=ENDED + timedelta(minutes=1))

    without_access = statuses(learner)
    start_course(session, noop_cache, event=learner.enrolled())

    assert (without_access, statuses(learner)) == ([], ["valid"])
