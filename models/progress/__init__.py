"""Progress: course outlines (outline), completed lessons and certificates (course_progress), playback positions and
streaks.
"""

from .course_progress import CertificateCursor, CompletedLesson, CourseProgress, ProgressCursor
from .course_sales import CourseSale
from .outline import Outline
from .playback_positions import PlaybackPosition

__all__ = [
    "CertificateCursor",
    "CompletedLesson",
    "CourseProgress",
    "CourseSale",
    "Outline",
    "PlaybackPosition",
    "ProgressCursor",
]
