"""Quizzes: their rules, attempts, and extra attempts for a learner."""

from datetime import datetime
from typing import Any
from uuid import UUID

from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.learner_access import call_as_learner, call_with_access
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import invalidate_pages
from api.rpc import call, call_without_idempotency_key
from core.cache import progress_version_key
from core.commands import Command
from core.log import get_logger
from models.commands import (
    AddExtraAttempts,
    AttemptQuiz,
    CompletePassedQuiz,
    ExpireQuizAttempt,
    ListQuizAttempts,
    SaveQuizAnswers,
    ShowQuiz,
    ShowQuizAttempt,
    StartQuizAttempt,
    SubmitQuizAnswers,
)
from models.errors import AttemptExpired, AttemptsExhausted, NotEnrolled, OutcomeUnknown, Unavailable

from .blueprint import blp, course_caller, require_course_access, require_lesson_access, require_own_course, show_lesson
from .quiz_schemas import (
    AnswersSchema,
    ExtraAttemptsFieldsSchema,
    ExtraAttemptsSchema,
    OwnQuizAttemptSchema,
    QuizAttemptDetailsSchema,
    QuizAttemptSchema,
    QuizStateSchema,
)

OwnQuizAttemptPage = page_schema(OwnQuizAttemptSchema)
log = get_logger(__name__)


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/quiz")
class QuizState(MethodView):
    @require_auth()
    @blp.doc(operationId="getOwnQuiz")
    @blp.alt_response(409, "Problem409")
    @blp.response(200, QuizStateSchema)
    def get(self, course_id: UUID, lesson_id: UUID) -> Any:
        """Retrieve the caller's state in a quiz

        Its rules, the attempts that are left, the open attempt and the best score.
        """
        show_lesson(course_id, lesson_id, current_caller())
        return _call_with_access(ShowQuiz(**_place(course_id, lesson_id)))


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts")
class QuizAttempts(MethodView):
    @require_auth()
    @require_lesson_access
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnQuizAttempts")
    @blp.alt_response(409, "Problem409")
    @blp.response(200, OwnQuizAttemptPage)
    def get(self, query: dict[str, Any], course_id: UUID, lesson_id: UUID) -> Page:
        """List the caller's attempts at a quiz

        Newest first, with the given answers but not the correct ones.
        """
        show_lesson(course_id, lesson_id, current_caller())
        return page_response(call(ListQuizAttempts(user_id=current_caller().id, lesson_id=lesson_id, **query)))

    @require_auth()
    @require_lesson_access
    @blp.arguments(AnswersSchema)
    @blp.doc(operationId="submitQuizAttempt")
    @blp.response(201, QuizAttemptSchema)
    def post(self, attempt: dict[str, Any], course_id: UUID, lesson_id: UUID) -> Any:
        """Submit a quiz attempt

        Starts and grades an attempt in one step; an open attempt is graded instead. A quiz with a limit, a pool or
        shuffling must be started first. A passing score completes a lesson whose completion rule is `min_score`.
        """
        show_lesson(course_id, lesson_id, current_caller())
        command = AttemptQuiz(**_place(course_id, lesson_id), answers=attempt["answers"], locks_checked=True)
        return _after_grading(_call_before_expiry(command, course_id, lesson_id), course_id, lesson_id)


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts/start")
class QuizAttemptStart(MethodView):
    @require_auth()
    @blp.doc(operationId="startQuizAttempt")
    @blp.response(201, QuizAttemptDetailsSchema)
    def post(self, course_id: UUID, lesson_id: UUID) -> Any:
        """Start a quiz attempt

        Draws and shuffles the questions and starts the time. Idempotent: an open attempt is returned again.
        """
        show_lesson(course_id, lesson_id, current_caller())
        return _call_before_expiry(StartQuizAttempt(**_place(course_id, lesson_id)), course_id, lesson_id)


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts/<int:attempt>")
class QuizAttempt(MethodView):
    @require_auth()
    @blp.doc(operationId="getOwnQuizAttempt")
    @blp.response(200, QuizAttemptDetailsSchema)
    def get(self, course_id: UUID, lesson_id: UUID, attempt: int) -> Any:
        """Retrieve one of the caller's quiz attempts

        With the questions as the learner saw them; with points, correct answers and explanations of each question
        once the settings of the quiz allow it.
        """
        return _call_with_access(ShowQuizAttempt(**_place(course_id, lesson_id), attempt=attempt))


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts/<int:attempt>/answers")
class QuizAttemptAnswers(MethodView):
    @require_auth()
    @require_course_access
    @blp.arguments(AnswersSchema)
    @blp.doc(operationId="saveQuizAnswers")
    @blp.response(200, QuizAttemptDetailsSchema)
    def put(self, body: dict[str, Any], course_id: UUID, lesson_id: UUID, attempt: int) -> Any:
        """Save the answers of an open quiz attempt

        They replace what was saved before, and are graded if the time ends before a submission.
        """
        command = SaveQuizAnswers(**_place(course_id, lesson_id), attempt=attempt, answers=body["answers"])
        return _call_before_expiry(command, course_id, lesson_id, attempt)


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts/<int:attempt>/submission")
class QuizAttemptSubmission(MethodView):
    @require_auth()
    @require_course_access
    @blp.arguments(AnswersSchema)
    @blp.doc(operationId="submitQuizAnswers")
    @blp.response(201, QuizAttemptDetailsSchema)
    def post(self, body: dict[str, Any], course_id: UUID, lesson_id: UUID, attempt: int) -> Any:
        """Submit the answers of an open quiz attempt

        Graded by the version in which the attempt was started. After the time limit it is refused with 409
        `attempt_expired`, and the saved answers are graded. A passing score completes a lesson whose completion rule
        is `min_score`.
        """
        command = SubmitQuizAnswers(**_place(course_id, lesson_id), attempt=attempt, answers=body["answers"])
        return _after_grading(_call_before_expiry(command, course_id, lesson_id, attempt), course_id, lesson_id)


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/extra-attempts")
class ExtraAttempts(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(ExtraAttemptsFieldsSchema)
    @blp.doc(operationId="addExtraQuizAttempts")
    @blp.response(201, ExtraAttemptsSchema)
    def post(self, body: dict[str, Any], course_id: UUID, lesson_id: UUID) -> Any:
        """Give a learner extra attempts at a quiz

        Beyond its limit; each request adds to the earlier ones.
        """
        caller = course_caller(current_caller())
        return call(AddExtraAttempts(caller=caller, course_id=course_id, lesson_id=lesson_id, **body))


def _place(course_id: UUID, lesson_id: UUID) -> dict[str, UUID]:
    return {"user_id": current_caller().id, "course_id": course_id, "lesson_id": lesson_id}


def _call_with_access(command: Command) -> Any:
    return call_with_access(command, user_id=current_caller().id, course_id=command.course_id)  # type: ignore[attr-defined]


def _call_before_expiry(command: Command, course_id: UUID, lesson_id: UUID, attempt: int | None = None) -> Any:
    """Send a command for ``attempt``, or for the open one. If its time is over, grade the saved answers.

    Raises AttemptExpired, AttemptsExhausted. An error has rolled back what the command itself has graded.
    """
    try:
        return _call_with_access(command)
    except (AttemptExpired, AttemptsExhausted):
        if attempt := attempt or _newest_open_attempt(lesson_id):
            _expire_attempt(course_id, lesson_id, attempt)
        raise


def _newest_open_attempt(lesson_id: UUID) -> int | None:
    query = ListQuizAttempts(user_id=current_caller().id, lesson_id=lesson_id, after=None, limit=1)
    newest = call_without_idempotency_key(query)["items"]
    return next((each["attempt"] for each in newest if each["status"] == "open"), None)


def _expire_attempt(course_id: UUID, lesson_id: UUID, attempt: int) -> None:
    """Grade the saved answers of an attempt if its time is over."""
    graded = call_without_idempotency_key(ExpireQuizAttempt(**_place(course_id, lesson_id), attempt=attempt))
    _after_grading(graded, course_id, lesson_id)


def _after_grading(graded: dict[str, Any], course_id: UUID, lesson_id: UUID) -> dict[str, Any]:
    """Complete the lesson of a passed quiz and invalidate the learner's pages; return the graded attempt."""
    if graded["passed"]:
        _complete_lesson(graded, course_id, lesson_id)
    invalidate_pages(progress_version_key(current_caller().id))
    return graded


def _complete_lesson(graded: dict[str, Any], course_id: UUID, lesson_id: UUID) -> None:
    """Complete the lesson of a passed quiz before the response, so that the next lesson is open at once.

    If the progress service does not respond, QUIZ_ATTEMPTED completes the lesson later.
    """
    user_id = current_caller().id
    command = CompletePassedQuiz(
        user_id=user_id,
        course_id=course_id,
        lesson_id=lesson_id,
        attempt=graded["attempt"],
        attempted_at=datetime.fromisoformat(graded["attempted_at"]),
    )
    try:
        call_as_learner(command, user_id=user_id, course_id=course_id, send=call_without_idempotency_key)
    except (NotEnrolled, Unavailable, OutcomeUnknown) as error:
        log.info("quiz is completed by its event", reason=str(error))
