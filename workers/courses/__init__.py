"""Courses service: authoring, publishing, the catalogue, enrollments and access, quizzes and reviews."""

from . import access, authoring, catalogue, facts, learning, outline, personal, reviews, versions

__all__ = [  # importing them registers their tasks
    "access",
    "authoring",
    "catalogue",
    "facts",
    "learning",
    "outline",
    "personal",
    "reviews",
    "versions",
]
