"""Progress: the outlines that learners follow (outline), how far they are in them (course_progress, positions), and the
days on which they learned (streaks).
"""

from .course_progress import CompletedLesson, CourseProgress, ProgressPosition
from .outline import Outline
from .positions import LessonPosition

__all__ = ["CompletedLesson", "CourseProgress", "LessonPosition", "Outline", "ProgressPosition"]
