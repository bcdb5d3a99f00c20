"""Courses: catalogue, authoring, enrollment and reviews."""

from . import (
    announcements,
    catalogue,
    copies,
    course,
    enrollments,
    files,
    instructors,
    learner_courses,
    outline,
    previews,
    quizzes,
    reviews,
    schedules,
    versions,
)
from .blueprint import blp

__all__ = [
    "announcements",
    "blp",
    "catalogue",
    "copies",
    "course",
    "enrollments",
    "files",
    "instructors",
    "learner_courses",
    "outline",
    "previews",
    "quizzes",
    "reviews",
    "schedules",
    "versions",
]  # importing them registers their routes on blp
