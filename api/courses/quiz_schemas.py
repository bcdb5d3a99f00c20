"""Questions, rules and attempts of quizzes in requests and responses."""

import re
from collections.abc import Mapping
from typing import Any

import marshmallow as ma

from api.schemas import OPTIONAL, Flag, Line, Prose, Schema, Timestamp, unique_items

KINDS = ("choice", "true_false", "short_text", "numeric")
SHOW_ANSWERS = ("never", "after_attempt", "after_passing", "after_last_attempt")
_STATUSES = ("open", "submitted", "expired")
_ANSWER_MAX_LENGTH = 500
_QUESTIONS_MAX = 200
_NUMBER = r"[0-9]{1,20}(\.[0-9]{1,15})?\Z"


class Slug(ma.fields.Str):
    """A machine-readable name: lower-case letters, digits and hyphens."""

    def __init__(self, **kwargs: Any) -> None:
        fits = ma.validate.Regexp(r"[a-z0-9][a-z0-9-]{0,39}\Z", error="Lower-case letters, digits and hyphens.")
        super().__init__(validate=fits, **kwargs)


# What authors write.


class OptionSchema(Schema):
    id = Slug(required=True)
    text = Line(max_length=1000, required=True)


class QuestionSchema(Schema):
    """A question of a quiz. Learners never get ``correct``, ``tolerance`` and ``explanation`` before their time."""

    id = Slug(required=True)
    kind = ma.fields.Str(validate=ma.validate.OneOf(KINDS), load_default="choice")
    text = Prose(max_length=5000, required=True, not_blank=True)
    options = ma.fields.List(
        ma.fields.Nested(OptionSchema),
        validate=ma.validate.Length(min=2, max=20),
        metadata={"description": "Of a choice only."},
    )
    multiple = Flag(load_default=False)
    partial_credit = Flag(
        metadata={
            "description": "Whether a choice of several options earns a part of the points: each correct option adds "
            "a share, each wrong one takes it back. Otherwise exactly the correct options must be chosen."
        }
    )
    correct = ma.fields.List(
        Line(max_length=_ANSWER_MAX_LENGTH),
        required=True,
        validate=[ma.validate.Length(min=1, max=50), unique_items],
        metadata={
            "description": "Ids of the correct options of a choice; `true` or `false`; the accepted texts, compared "
            "without case and repeated spaces; or one number."
        },
    )
    tolerance = ma.fields.Str(
        validate=ma.validate.Regexp(_NUMBER, error="Must be a positive number, such as 0.01."),
        metadata={"description": "How far a number may be from the correct one, such as 0.01; 0 if absent."},
    )
    points = ma.fields.Int(strict=True, validate=ma.validate.Range(min=1, max=1000), load_default=1)
    explanation = Prose(
        max_length=5000, metadata={"description": "Shown with the correct answer, when the settings allow it."}
    )
    pool = Slug(metadata={"description": "The pool of the settings from which the question is drawn."})

    @ma.validates_schema
    def _validate_kind(self, question: dict[str, Any], **_: Any) -> None:
        is_choice = question["kind"] == "choice"
        if is_choice != ("options" in question):
            raise ma.ValidationError("Required for a choice, not allowed otherwise.", "options")
        if question["multiple"] and not is_choice:
            raise ma.ValidationError("Only a choice may have several answers.", "multiple")
        if question.get("partial_credit") and not question["multiple"]:
            raise ma.ValidationError("Only for a choice with multiple: true.", "partial_credit")
        if "tolerance" in question and question["kind"] != "numeric":
            raise ma.ValidationError("Only a number has a tolerance.", "tolerance")

    @ma.validates_schema(skip_on_field_errors=True)
    def _validate_correct(self, question: dict[str, Any], **_: Any) -> None:
        correct = question["correct"]
        match question["kind"]:
            case "choice":
                self._validate_options(question)
            case "true_false" if correct not in (["true"], ["false"]):
                raise ma.ValidationError('Must be ["true"] or ["false"].', "correct")
            case "numeric":
                if len(correct) > 1:
                    raise ma.ValidationError("Must be one number.", "correct")
                if not re.match(f"-?{_NUMBER}", correct[0]):
                    raise ma.ValidationError("Must be a number, such as 3.14.", "correct")
            case _:
                return

    @staticmethod
    def _validate_options(question: dict[str, Any]) -> None:
        if "options" not in question:
            return  # refused already
        options = [option["id"] for option in question["options"]]
        if len(set(options)) < len(options):
            raise ma.ValidationError("Two options have the same id.", "options")
        if not set(question["correct"]) <= set(options):
            raise ma.ValidationError("Must be among the options.", "correct")
        if not question["multiple"] and len(question["correct"]) > 1:
            raise ma.ValidationError("Only a question with multiple: true may have several.", "correct")


class QuizPoolSchema(Schema):
    """Questions of which each attempt gets some, drawn at random."""

    id = Slug(required=True)
    draw = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=1, max=_QUESTIONS_MAX))


class QuizSettingsSchema(Schema):
    """Rules of a quiz. With a limit, a pool or shuffling, learners see the questions only in a started attempt."""

    attempts_max = ma.fields.Int(
        strict=True,
        allow_none=True,
        validate=ma.validate.Range(min=1, max=1000),
        metadata={"description": "How many attempts a learner may start; null means without limit."},
    )
    time_limit_seconds = ma.fields.Int(
        strict=True,
        allow_none=True,
        validate=ma.validate.Range(min=10, max=604_800),
        metadata={"description": "Time for an attempt; null means without limit."},
    )
    shuffle_questions = Flag(metadata={"description": "Whether each attempt has an order of questions of its own."})
    shuffle_options = Flag(metadata={"description": "Whether each attempt has an order of options of its own."})
    show_answers = ma.fields.Str(
        validate=ma.validate.OneOf(SHOW_ANSWERS),
        metadata={
            "description": "When the learner sees points by question, correct answers and explanations: never (the "
            "default), after each attempt, after they have passed, or after the last attempt."
        },
    )
    pools = ma.fields.List(ma.fields.Nested(QuizPoolSchema), validate=ma.validate.Length(max=50))

    @ma.validates("pools")
    def _validate_unique_ids(self, pools: list[dict[str, Any]], **_: Any) -> None:
        ids = [pool["id"] for pool in pools]
        if repeated := [place for place, id_ in enumerate(ids) if id_ in ids[:place]]:
            raise ma.ValidationError({place: {"id": ["Another pool has the same id."]} for place in repeated})


def require_pools_fit(content: Mapping[str, Any]) -> None:
    """Raise ValidationError unless each question names an existing pool and each pool has enough questions."""
    draws = {pool["id"]: pool["draw"] for pool in content.get("settings", {}).get("pools", [])}
    used = [question.get("pool") for question in content.get("questions", [])]
    unknown = {
        place: {"pool": ["The settings have no pool of this id."]}
        for place, pool in enumerate(used)
        if pool is not None and pool not in draws
    }
    if unknown:
        raise ma.ValidationError(unknown, "questions")
    few = {
        place: {"draw": ["The pool has fewer questions."]}
        for place, (pool, draw) in enumerate(draws.items())
        if used.count(pool) < draw
    }
    if few:
        raise ma.ValidationError({"pools": few}, "settings")


# What is shown of a lesson.


class QuizQuestionSchema(Schema):
    """A question as it is shown. The fields that reveal the answer are for the course's authors only."""

    id = Slug()
    kind = ma.fields.Str(validate=ma.validate.OneOf(KINDS), metadata={"description": "`choice` if absent.", **OPTIONAL})
    text = ma.fields.Str()
    options = ma.fields.List(ma.fields.Nested(OptionSchema), metadata=OPTIONAL)
    multiple = ma.fields.Bool()
    partial_credit = ma.fields.Bool(metadata=OPTIONAL)
    points = ma.fields.Int(metadata={"description": "1 if absent.", **OPTIONAL})
    correct = ma.fields.List(ma.fields.Str(), metadata=OPTIONAL)
    tolerance = ma.fields.Str(metadata=OPTIONAL)
    explanation = ma.fields.Str(metadata=OPTIONAL)
    pool = Slug(metadata=OPTIONAL)


class ShownQuizSettingsSchema(Schema):
    """Rules of a quiz as they were set. Only the course's authors get ``pools``."""

    attempts_max = ma.fields.Int(allow_none=True, metadata=OPTIONAL)
    time_limit_seconds = ma.fields.Int(allow_none=True, metadata=OPTIONAL)
    shuffle_questions = ma.fields.Bool(metadata=OPTIONAL)
    shuffle_options = ma.fields.Bool(metadata=OPTIONAL)
    show_answers = ma.fields.Str(validate=ma.validate.OneOf(SHOW_ANSWERS), metadata=OPTIONAL)
    pools = ma.fields.List(ma.fields.Nested(QuizPoolSchema), metadata=OPTIONAL)


# Attempts.


def answers_field(**kwargs: Any) -> ma.fields.Dict:
    return ma.fields.Dict(
        keys=Slug(),
        values=ma.fields.List(Prose(max_length=_ANSWER_MAX_LENGTH), validate=ma.validate.Length(max=20)),
        validate=ma.validate.Length(max=_QUESTIONS_MAX),
        metadata={
            "description": "By question id: ids of the selected options, `true` or `false`, or one text or number.",
            "example": {"capital": ["paris"]},
        },
        **kwargs,
    )


class AnswersSchema(Schema):
    answers = answers_field(required=True)


class QuizAttemptSchema(Schema):
    """The result of an attempt."""

    attempt = ma.fields.Int(metadata={"description": "Number of this attempt: 1, 2, 3 …"})
    score_percent = ma.fields.Int()
    passed = ma.fields.Bool()
    attempted_at = Timestamp()


class OwnQuizAttemptSchema(Schema):
    """An attempt in the list of a learner's attempts."""

    attempt = ma.fields.Int(metadata={"description": "Number of this attempt: 1, 2, 3 …"})
    status = ma.fields.Str(
        validate=ma.validate.OneOf(_STATUSES),
        metadata={"description": "`expired`: the time was over, and the saved answers were graded."},
    )
    started_at = Timestamp()
    expires_at = Timestamp(allow_none=True, metadata={"description": "When the time is over; null without a limit."})
    attempted_at = Timestamp(allow_none=True, metadata={"description": "When it was graded; null while it is open."})
    score_percent = ma.fields.Int(allow_none=True)
    passed = ma.fields.Bool(allow_none=True)
    answers = ma.fields.Dict(
        keys=ma.fields.Str(),
        values=ma.fields.List(ma.fields.Str()),
        metadata={"description": "The saved or submitted answers, by question id."},
    )


class QuestionResultSchema(Schema):
    """What a graded question earned and what would have been correct."""

    points = ma.fields.Float()
    correct = ma.fields.List(ma.fields.Str())
    tolerance = ma.fields.Str(allow_none=True)
    explanation = ma.fields.Str(allow_none=True)


class AttemptQuestionSchema(Schema):
    """A question of an attempt, with its options in the order of this attempt."""

    id = Slug()
    kind = ma.fields.Str(validate=ma.validate.OneOf(KINDS))
    text = ma.fields.Str()
    options = ma.fields.List(ma.fields.Nested(OptionSchema), metadata=OPTIONAL)
    multiple = ma.fields.Bool()
    partial_credit = ma.fields.Bool(metadata=OPTIONAL)
    points = ma.fields.Int()
    result = ma.fields.Nested(
        QuestionResultSchema, metadata={"description": "There if `answers_shown` is true.", **OPTIONAL}
    )


class QuizAttemptDetailsSchema(OwnQuizAttemptSchema):
    """An attempt with its questions, as the learner saw them."""

    course_version = ma.fields.Int(
        allow_none=True,
        metadata={"description": "The version by which it is graded; null for attempts before version 0.3."},
    )
    seconds_left = ma.fields.Int(
        allow_none=True, metadata={"description": "By the server's clock; null without a limit and after grading."}
    )
    points = ma.fields.Float(allow_none=True, metadata={"description": "Earned points; null while it is open."})
    points_total = ma.fields.Int(allow_none=True)
    attempts_left = ma.fields.Int(allow_none=True, metadata={"description": "Null without a limit."})
    answers_shown = ma.fields.Bool(metadata={"description": "Whether the questions have results."})
    questions = ma.fields.List(ma.fields.Nested(AttemptQuestionSchema))


class QuizStateSchema(Schema):
    """The rules of a quiz, and what the learner has used of them."""

    course_version = ma.fields.Int()
    start_required = ma.fields.Bool(
        metadata={"description": "Whether an attempt must be started to see the questions."}
    )
    questions_total = ma.fields.Int(metadata={"description": "Questions of an attempt."})
    pass_percent = ma.fields.Int(metadata={"description": "The score that passes the quiz."})
    time_limit_seconds = ma.fields.Int(allow_none=True, metadata={"description": "Null without a limit."})
    show_answers = ma.fields.Str(validate=ma.validate.OneOf(SHOW_ANSWERS))
    attempts_max = ma.fields.Int(allow_none=True, metadata={"description": "Null without a limit."})
    attempts_used = ma.fields.Int(metadata={"description": "Started attempts, open ones included."})
    attempts_left = ma.fields.Int(allow_none=True, metadata={"description": "Null without a limit."})
    open_attempt = ma.fields.Int(allow_none=True, metadata={"description": "Number of the attempt to resume."})
    best_score_percent = ma.fields.Int(allow_none=True)
    passed = ma.fields.Bool(metadata={"description": "Whether one of the attempts has passed."})


class ExtraAttemptsFieldsSchema(Schema):
    user_id = ma.fields.UUID(required=True, metadata={"description": "A learner of the course."})
    attempts = ma.fields.Int(strict=True, load_default=1, validate=ma.validate.Range(min=1, max=100))


class ExtraAttemptsSchema(Schema):
    user_id = ma.fields.UUID()
    lesson_id = ma.fields.UUID()
    extra_attempts = ma.fields.Int(metadata={"description": "Attempts that the learner was given beyond the limit."})
    attempts_max = ma.fields.Int(allow_none=True, metadata={"description": "The limit of the quiz; null without one."})
    attempts_used = ma.fields.Int()
    attempts_left = ma.fields.Int(allow_none=True)
