"""Progress: course outlines (outline), completed lessons (course_progress), certificates, playback positions and
streaks.
"""

from .certificates import Certificate, CertificateRevocation, CertificateTemplate
from .completed_lessons import CompletedLesson
from .course_progress import CourseProgress
from .course_sales import CourseSale
from .outline import Outline
from .playback_positions import PlaybackPosition

__all__ = [
    "Certificate",
    "CertificateRevocation",
    "CertificateTemplate",
    "CompletedLesson",
    "CourseProgress",
    "CourseSale",
    "Outline",
    "PlaybackPosition",
]
