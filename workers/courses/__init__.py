"""Courses service: authoring, publishing, the catalogue, enrollments and access, quizzes and reviews."""

from . import (
    access,
    access_ends,
    announcements,
    authoring,
    catalogue,
    copies,
    database_metrics,
    files,
    learners,
    learning,
    outline,
    personal_data,
    previews,
    quizzes,
    reviews,
    versions,
)

__all__ = [  # importing them registers their tasks
    "access",
    "access_ends",
    "announcements",
    "authoring",
    "catalogue",
    "copies",
    "database_metrics",
    "files",
    "learners",
    "learning",
    "outline",
    "personal_data",
    "previews",
    "quizzes",
    "reviews",
    "versions",
]
