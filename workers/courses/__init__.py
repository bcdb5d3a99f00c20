"""Courses: writing and publishing them, showing what is on sale, and letting learners in."""

from . import authoring, catalogue, learning, outline

__all__ = ["authoring", "catalogue", "learning", "outline"]  # importing them registers their tasks
