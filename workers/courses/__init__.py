"""Courses: writing and publishing them, showing what is on sale, and letting learners in."""

from . import authoring, catalogue, facts, learning, outline, personal, reviews, versions

__all__ = [  # importing them registers their tasks
    "authoring",
    "catalogue",
    "facts",
    "learning",
    "outline",
    "personal",
    "reviews",
    "versions",
]
