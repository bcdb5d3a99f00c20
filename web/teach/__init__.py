"""Pages for authors: their courses, from the first draft to learners, reviews and statistics.

The API decides who may change a course: the pages of a course of other authors answer 404.
"""

from . import (  # noqa: F401 they add their pages to the blueprint
    courses,
    details,
    instructors,
    learners,
    lessons,
    outline,
    publishing,
    questions,
    statistics,
    trying,
    uploads,
)
from .blueprint import blueprint

__all__ = ["blueprint"]
