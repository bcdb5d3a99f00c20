"""Progress: the outlines that learners follow (outline), how far they are in them (course_progress, positions), and the
days on which they learned (streaks).
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
