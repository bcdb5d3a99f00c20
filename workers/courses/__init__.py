"""Courses: writing and publishing them, showing what is on sale, and letting learners in."""

from . import authoring, catalogue, facts, learning, outline, personal

__all__ = ["authoring", "catalogue", "facts", "learning", "outline", "personal"]  # importing them registers their tasks
