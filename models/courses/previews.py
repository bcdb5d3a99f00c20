"""The working copy of a course as a learner would see it. Nothing of it is stored."""

import random
from datetime import datetime
from typing import Any

from .course import Course
from .outline import counts
from .quiz_content import Answers, Quiz, round_points

_NOT_STARTED = {
    "completed_at": None,
    "position_seconds": 0,
    "furthest_seconds": 0,
    "score_percent": None,
    "locked": False,
    "locked_reason": None,
    "locked_by": None,
    "opens_at": None,
}


def preview_course(course: Course, *, at: datetime) -> dict[str, Any]:
    """Return a course with its outline like ``GET /v1/me/courses/{id}`` for a learner who begins at ``at``.

    No lesson is locked, so that authors can open each one.
    """
    sections = course.outline()
    lessons = [lesson for section in sections for lesson in section["lessons"]]
    version = (course.published_version or 0) + 1  # the number that the working copy would be published with
    return {
        "course_id": course.id,
        "slug": course.slug,
        **course.description_fields(),
        "description": course.description,
        "instructor_id": course.instructor_id,
        "on_sale": course.on_sale,
        "course_version": version,
        "latest_version": version,
        "sequential": course.sequential,
        "prerequisites": course.prerequisites,
        **counts(sections),
        "access": {"enrolled_at": at, "ends_at": None},
        "progress": {
            "course_id": course.id,
            "status": "in_progress",
            "percent": 0,
            "lessons_completed": 0,
            "lessons_total": len(lessons),
            "next_lesson_id": lessons[0]["id"] if lessons else None,
            "last_lesson_id": None,
            "started_at": at,
            "completed_at": None,
            "version": 0,
        },
        "certificate": None,
        "schedule": None,
        "sections": [
            {**section, "lessons": [{**lesson, **_NOT_STARTED} for lesson in section["lessons"]]}
            for section in sections
        ],
    }


def preview_attempt(quiz: Quiz, *, seed: int, answers: Answers | None) -> dict[str, Any]:
    """Return the questions that are drawn by ``seed``; with ``answers``, also their results. Raises InvalidAnswers."""
    layout = quiz.draw(random.Random(seed))
    attempt = {
        "seed": seed,
        "time_limit_seconds": quiz.time_limit_seconds,
        "pass_percent": quiz.pass_percent,
        "points_total": quiz.points_total(layout),
    }
    if answers is None:
        ungraded = {"points": None, "score_percent": None, "passed": None}
        return {**attempt, **ungraded, "questions": quiz.show(layout)}
    result = quiz.grade(layout, answers)
    return {
        **attempt,
        "points": round_points(result.points_earned),
        "score_percent": result.score_percent,
        "passed": result.score_percent >= quiz.pass_percent,
        "questions": quiz.review(layout, result.rounded()),
    }
