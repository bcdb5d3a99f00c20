"""Progress service: lesson and course completion, playback positions, streaks and certificates."""

from . import facts, learning, outlines, personal, showing

__all__ = ["facts", "learning", "outlines", "personal", "showing"]  # importing them registers their tasks
