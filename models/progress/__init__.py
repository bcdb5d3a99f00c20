"""Progress: course outlines (outline), completed lessons and certificates (course_progress), playback positions and
streaks.
"""

from .completed_lessons import CompletedLesson
from .course_progress import CourseProgress
from .course_sales import CourseSale
from .outline import Outline
from .playback_positions import PlaybackPosition

__all__ = [
    "CompletedLesson",
    "CourseProgress",
    "CourseSale",
    "Outline",
    "PlaybackPosition",
]
