"""Progress service: lesson and course completion, playback positions, streaks and certificates."""

from . import (
    certificates,
    database_metrics,
    learning,
    offline,
    outline_projection,
    personal_data,
    queries,
    schedules,
    version_moves,
)

__all__ = [
    "certificates",
    "database_metrics",
    "learning",
    "offline",
    "outline_projection",
    "personal_data",
    "queries",
    "schedules",
    "version_moves",
]  # importing them registers their tasks
