"""Progress service: lesson and course completion, playback positions, streaks and certificates."""

from . import database_metrics, learning, outline_projection, personal_data, queries

__all__ = [
    "database_metrics",
    "learning",
    "outline_projection",
    "personal_data",
    "queries",
]  # importing them registers their tasks
