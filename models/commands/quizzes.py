"""Commands of the courses service about quizzes, and previews of a course."""

from uuid import UUID

from core.commands import Command

from .courses import Caller


class AttemptQuiz(Command, service="courses"):
    """Grade a learner's answers to a quiz.

    ``locks_checked`` says that the sender has asked the progress service whether the lesson is open.
    """

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    answers: dict[str, list[str]]
    locks_checked: bool = False


class ListQuizAttempts(Command, service="courses"):
    """Return a page of a learner's attempts at a quiz, the newest first."""

    user_id: UUID
    lesson_id: UUID
    after: int | None
    limit: int


class StartQuizAttempt(Command, service="courses"):
    """Start an attempt at a quiz, or return the open one."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID


class SaveQuizAnswers(Command, service="courses"):
    """Save the answers of an open attempt."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    attempt: int
    answers: dict[str, list[str]]


class SubmitQuizAnswers(Command, service="courses"):
    """Grade the answers of an open attempt."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    attempt: int
    answers: dict[str, list[str]]


class ExpireQuizAttempt(Command, service="courses"):
    """Grade the saved answers of an attempt whose time is over."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    attempt: int


class ShowQuizAttempt(Command, service="courses"):
    """Return an attempt as its learner saw it."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID
    attempt: int


class ShowQuiz(Command, service="courses"):
    """Return the rules of a quiz and what a learner has used of them."""

    user_id: UUID
    course_id: UUID
    lesson_id: UUID


class AddExtraAttempts(Command, service="courses"):
    """Give a learner more attempts at a quiz than its limit."""

    caller: Caller
    course_id: UUID
    lesson_id: UUID
    user_id: UUID
    attempts: int


class PreviewCourse(Command, service="courses"):
    """Return the working copy of a course like the page of a learner who begins now."""

    course_id: UUID
    caller: Caller


class PreviewLesson(Command, service="courses"):
    """Return the working copy of a lesson as learners see it."""

    course_id: UUID
    lesson_id: UUID
    caller: Caller


class PreviewQuiz(Command, service="courses"):
    """Return the questions of an attempt that is not kept; with answers, graded."""

    course_id: UUID
    lesson_id: UUID
    caller: Caller
    seed: int
    answers: dict[str, list[str]] | None
