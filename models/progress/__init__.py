"""Progress: course outlines (outline), completed lessons and certificates (course_progress), playback positions and
streaks.
"""

from .course_progress import CertificatePosition, CompletedLesson, CourseProgress, ProgressPosition
from .course_sales import CourseSale
from .outline import Outline
from .positions import LessonPosition

__all__ = [
    "CertificatePosition",
    "CompletedLesson",
    "CourseProgress",
    "CourseSale",
    "LessonPosition",
    "Outline",
    "ProgressPosition",
]
