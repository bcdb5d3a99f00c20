"""Progress: course outlines (outline), completed lessons and certificates (course_progress), playback positions and
streaks.
"""

from .course_progress import CompletedLesson, CourseProgress
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
