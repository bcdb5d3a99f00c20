"""Progress: learners' way through their courses, and what they have to show for it."""

from . import facts, learning, outlines, personal, showing

__all__ = ["facts", "learning", "outlines", "personal", "showing"]  # importing them registers their tasks
