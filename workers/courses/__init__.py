"""Courses: writing and publishing them, showing what is on sale, and letting learners in."""

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
