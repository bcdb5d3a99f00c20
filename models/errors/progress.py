"""Errors of learning."""

from core.errors import Conflict, Invalid, NotFound


class ProgressNotFound(NotFound):
    # The same code as for NotEnrolled: for a client the reason is the same.
    code = "not_enrolled"
    message = "You are not enrolled in course {0}."


class LessonLocked(Conflict):
    message = "Complete lesson {0} first."


class LessonNotOpen(Conflict):
    code = "lesson_locked"
    message = "The lesson unlocks at {0}."


class BadgesNotConfigured(Conflict):
    message = "This server has no key that signs badges."


class CertificateIsRevoked(Conflict):
    code = "certificate_revoked"
    message = "Certificate {0} was revoked."


class QuizNotPassed(Conflict):
    message = "Lesson {0} is completed by passing its quiz."


class LessonIsNotAQuiz(Conflict):
    message = "Lesson {0} has no questions."


class InvalidAnswers(Invalid):
    message = "The quiz has no question or option {0}."


class AttemptNotStarted(Conflict):
    message = "Start an attempt first: the questions of lesson {0} belong to an attempt."


class AttemptsExhausted(Conflict):
    message = "All {0} attempts are used."


class AttemptClosed(Conflict):
    message = "Attempt {0} has been graded and takes no more answers."


class AttemptExpired(Conflict):
    message = "The time of attempt {0} is over. The answers that were saved in time are graded."
