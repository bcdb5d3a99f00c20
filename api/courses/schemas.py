"""Request bodies, queries and responses of the courses routes."""

from typing import Any

import marshmallow as ma

import settings
from api.schemas import OPTIONAL, Flag, Line, Money, Prose, Schema, Timestamp, Url, UtcDateTime, unique_items
from core.localization import is_language

from .quiz_schemas import (
    QuestionSchema,
    QuizQuestionSchema,
    QuizSettingsSchema,
    ShownQuizSettingsSchema,
    Slug,
    require_pools_fit,
)

LEVELS = ("beginner", "intermediate", "advanced")


class Language(ma.fields.Str):
    """The ISO 639 code of a language that has a name."""

    def __init__(self, **kwargs: Any) -> None:
        fits = ma.validate.Regexp(r"[a-z]{2,3}\Z", error=_NO_LANGUAGE)
        super().__init__(validate=[fits, _is_language], **kwargs)


_NO_LANGUAGE = "An ISO 639 code, such as en."


def _is_language(code: str) -> None:
    if not is_language(code):
        raise ma.ValidationError(_NO_LANGUAGE)


def level_field(**kwargs: Any) -> ma.fields.Str:
    return ma.fields.Str(validate=ma.validate.OneOf(LEVELS), **kwargs)


# A course and its outline.


class CourseSlug(ma.fields.Str):
    """The slug of a course: lower-case letters, digits and single hyphens; never like a UUID, which paths take too."""

    def __init__(self, **kwargs: Any) -> None:
        pattern = r"(?![0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\Z)[a-z0-9]+(?:-[a-z0-9]+)*\Z"
        fits = ma.validate.Regexp(pattern, error="Lower-case letters, digits and single hyphens; no UUID.")
        super().__init__(validate=[ma.validate.Length(max=100), fits], **kwargs)


class CourseFieldsSchema(Schema):
    """The fields of a new course. Without ``slug`` it is made of the title."""

    slug = CourseSlug()
    title = Line(required=True)
    summary = Line(max_length=500, load_default="")
    description = Prose(max_length=20_000)
    category = Slug(required=True)
    level = level_field(required=True)
    language = Language(required=True)
    tags = ma.fields.List(Slug(), validate=[ma.validate.Length(max=20), unique_items])
    cover_url = Url(schemes={"https"}, max_length=2048, allow_none=True)
    price = ma.fields.Nested(Money, required=True)
    sequential = Flag()


class CourseChangesSchema(Schema):
    slug = CourseSlug()
    title = Line()
    summary = Line(max_length=500)
    description = Prose(max_length=20_000)
    category = Slug()
    level = level_field()
    language = Language()
    tags = ma.fields.List(Slug(), validate=[ma.validate.Length(max=20), unique_items])
    cover_url = Url(schemes={"https"}, max_length=2048, allow_none=True)
    cover_file_id = ma.fields.UUID(
        allow_none=True, metadata={"description": "An uploaded file, whose address becomes `cover_url`."}
    )
    price = ma.fields.Nested(Money)
    sequential = Flag()

    @ma.validates_schema
    def _validate_one_cover(self, fields: dict[str, Any], **_: Any) -> None:
        if {"cover_url", "cover_file_id"} <= fields.keys():
            raise ma.ValidationError("Set cover_url or cover_file_id.", "cover_file_id")


class CompletionSchema(Schema):
    """When a lesson counts as complete."""

    rule = ma.fields.Str(required=True, validate=ma.validate.OneOf(["manual", "viewed", "min_score"]))
    min_score_percent = ma.fields.Int(strict=True, validate=ma.validate.Range(min=1, max=100))

    @ma.validates_schema
    def _validate_min_score(self, completion: dict[str, Any], **_: Any) -> None:
        if (completion["rule"] == "min_score") != ("min_score_percent" in completion):
            raise ma.ValidationError("Required if rule is min_score, not allowed otherwise.", "min_score_percent")


class UnlockSchema(Schema):
    """When a lesson unlocks: a number of days after enrollment, or at a fixed time."""

    after_days = ma.fields.Int(strict=True, validate=ma.validate.Range(min=0, max=3650))
    at = UtcDateTime()

    @ma.validates_schema
    def _validate_exactly_one(self, unlock: dict[str, Any], **_: Any) -> None:
        if len(unlock) != 1:
            raise ma.ValidationError("Set either after_days or at.")


class OutlineLessonSchema(Schema):
    id = ma.fields.UUID()
    title = ma.fields.Str()
    kind = ma.fields.Str()
    position = ma.fields.Int()
    duration_seconds = ma.fields.Int(allow_none=True)
    free_preview = ma.fields.Bool()
    completion = ma.fields.Nested(CompletionSchema)
    unlock = ma.fields.Nested(UnlockSchema, allow_none=True)


class SectionSchema(Schema):
    id = ma.fields.UUID()
    title = ma.fields.Str()
    position = ma.fields.Int()
    lessons = ma.fields.List(ma.fields.Nested(OutlineLessonSchema))


class CourseSchema(Schema):
    """A course with its outline."""

    id = ma.fields.UUID()
    slug = ma.fields.Str()
    status = ma.fields.Str(validate=ma.validate.OneOf(["draft", "published"]))
    title = ma.fields.Str()
    summary = ma.fields.Str()
    category = ma.fields.Str()
    level = level_field()
    language = ma.fields.Str()
    tags = ma.fields.List(ma.fields.Str())
    cover_url = ma.fields.Str(allow_none=True, metadata={"format": "uri"})
    description = ma.fields.Str()
    price = ma.fields.Nested(Money)
    instructor_id = ma.fields.UUID()
    editor_ids = ma.fields.List(
        ma.fields.UUID(), metadata={"description": "Ids of the other users who teach the course.", **OPTIONAL}
    )
    sequential = ma.fields.Bool()
    prerequisites = ma.fields.List(
        ma.fields.UUID(), metadata={"description": "Ids of courses that must be completed first."}
    )
    lessons_total = ma.fields.Int()
    duration_seconds = ma.fields.Int()
    sections = ma.fields.List(ma.fields.Nested(SectionSchema))
    published_at = Timestamp(allow_none=True)
    version = ma.fields.Int()


class OwnCourseItemSchema(Schema):
    """A course in its author's list."""

    id = ma.fields.UUID()
    slug = ma.fields.Str()
    status = ma.fields.Str()
    title = ma.fields.Str()
    summary = ma.fields.Str()
    category = ma.fields.Str()
    level = ma.fields.Str()
    language = ma.fields.Str()
    tags = ma.fields.List(ma.fields.Str())
    cover_url = ma.fields.Str(allow_none=True, metadata={"format": "uri"})
    price = ma.fields.Nested(Money)
    instructor_id = ma.fields.UUID()
    created_at = Timestamp()
    published_at = Timestamp(allow_none=True)
    version = ma.fields.Int()


class PlannedSectionSchema(Schema):
    """A section of the new outline: ``id`` of an existing one, ``title`` for a new one, both to rename one."""

    id = ma.fields.UUID()
    title = Line()
    lessons = ma.fields.List(ma.fields.UUID(), required=True, validate=unique_items)

    @ma.validates_schema
    def _has_id_or_title(self, section: dict[str, Any], **_: Any) -> None:
        if not {"id", "title"} & section.keys():
            raise ma.ValidationError("Set id, title or both.")


class OutlineSchema(Schema):
    sections = ma.fields.List(
        ma.fields.Nested(PlannedSectionSchema),
        required=True,
        validate=ma.validate.Length(max=settings.COURSE_SECTIONS_MAX),
    )

    @ma.validates_schema
    def _not_too_many_lessons(self, outline: dict[str, Any], **_: Any) -> None:
        if sum(len(section["lessons"]) for section in outline["sections"]) > settings.COURSE_LESSONS_MAX:
            raise ma.ValidationError(f"Up to {settings.COURSE_LESSONS_MAX} lessons.", "sections")


class SectionFieldsSchema(Schema):
    title = Line(required=True)


# A lesson and its content.


class ContentSchema(Schema):
    """Content: ``url`` or ``file_id`` for a video, ``body`` (Markdown) for text, ``questions`` for a quiz.

    A quiz may have ``settings``.
    """

    url = Url(schemes={"https"}, max_length=2048)
    file_id = ma.fields.UUID(metadata={"description": "An uploaded video."})
    body = Prose(max_length=200_000)
    questions = ma.fields.List(ma.fields.Nested(QuestionSchema), validate=ma.validate.Length(min=1, max=200))
    settings = ma.fields.Nested(QuizSettingsSchema)

    @ma.validates_schema
    def _validate_pools(self, content: dict[str, Any], **_: Any) -> None:
        require_pools_fit(content)

    @ma.validates("questions")
    def _validate_unique_ids(self, questions: list[dict[str, Any]], **_: Any) -> None:
        ids = [question["id"] for question in questions]
        repeated = [place for place, id_ in enumerate(ids) if id_ in ids[:place]]
        if repeated:
            raise ma.ValidationError({place: {"id": ["Another question has the same id."]} for place in repeated})


class LessonFileSchema(Schema):
    """A file of a lesson: an attachment, or captions in a language."""

    file_id = ma.fields.UUID(required=True)
    role = ma.fields.Str(required=True, validate=ma.validate.OneOf(["attachment", "captions"]))
    language = Language()
    label = Line(max_length=100, metadata={"description": "Text of the link, or name of the captions."})

    @ma.validates_schema
    def _validate_language(self, file: dict[str, Any], **_: Any) -> None:
        if (file["role"] == "captions") != ("language" in file):
            raise ma.ValidationError("Required for captions, not allowed otherwise.", "language")


class LessonChangesSchema(Schema):
    title = Line()
    section_id = ma.fields.UUID()
    kind = ma.fields.Str(validate=ma.validate.OneOf(["video", "text", "quiz"]))
    content = ma.fields.Nested(ContentSchema)
    duration_seconds = ma.fields.Int(strict=True, allow_none=True, validate=ma.validate.Range(min=1, max=10**6))
    free_preview = Flag()
    completion = ma.fields.Nested(CompletionSchema)
    unlock = ma.fields.Nested(UnlockSchema, allow_none=True)
    files = ma.fields.List(ma.fields.Nested(LessonFileSchema), validate=ma.validate.Length(max=50))

    @ma.validates("files")
    def _validate_unique_files(self, files: list[dict[str, Any]], **_: Any) -> None:
        unique_items([file["file_id"] for file in files])


class LessonFieldsSchema(LessonChangesSchema):
    title = Line(required=True)
    section_id = ma.fields.UUID(required=True)
    kind = ma.fields.Str(required=True, validate=ma.validate.OneOf(["video", "text", "quiz"]))
    content = ma.fields.Nested(ContentSchema, required=True)


class LessonContentSchema(Schema):
    """``url`` of a video, ``body`` (Markdown) of a text, ``questions`` of a quiz."""

    url = ma.fields.Str(metadata={"format": "uri", **OPTIONAL})
    file_id = ma.fields.UUID(metadata={"description": "The uploaded video to which `url` leads.", **OPTIONAL})
    body = ma.fields.Str(metadata=OPTIONAL)
    questions = ma.fields.List(
        ma.fields.Nested(QuizQuestionSchema),
        metadata={"description": "Empty for learners if the questions belong to a started attempt.", **OPTIONAL},
    )
    settings = ma.fields.Nested(ShownQuizSettingsSchema, metadata=OPTIONAL)


class LessonFileLinkSchema(Schema):
    """A file of a lesson with a signed link, which ends. Load the lesson again for a new link."""

    file_id = ma.fields.UUID()
    role = ma.fields.Str(validate=ma.validate.OneOf(["attachment", "captions"]))
    language = ma.fields.Str(metadata=OPTIONAL)
    label = ma.fields.Str(metadata=OPTIONAL)
    name = ma.fields.Str(metadata=OPTIONAL)
    content_type = ma.fields.Str(metadata=OPTIONAL)
    size_bytes = ma.fields.Int(metadata=OPTIONAL)
    url = ma.fields.Str(metadata={"format": "uri", **OPTIONAL})
    url_expires_at = Timestamp(metadata={"format": "date-time", **OPTIONAL})


class LessonSchema(OutlineLessonSchema):
    """A lesson with its content."""

    section_id = ma.fields.UUID()
    content = ma.fields.Nested(LessonContentSchema)
    files = ma.fields.List(ma.fields.Nested(LessonFileLinkSchema), metadata=OPTIONAL)


class PublicationSchema(Schema):
    learners = ma.fields.Str(
        validate=ma.validate.OneOf(["keep", "move"]),
        load_default="keep",
        metadata={"description": "Whether learners of older versions keep theirs or move to this one."},
    )


class LearnersByProgressSchema(Schema):
    not_started = ma.fields.Int()
    in_progress = ma.fields.Int()
    completed = ma.fields.Int()


class PublicationErrorSchema(Schema):
    pointer = ma.fields.Str(metadata={"description": "JSON pointer to a place in the course."})
    detail = ma.fields.Str()


class PublicationPreviewSchema(Schema):
    course_version = ma.fields.Int(metadata={"description": "The version that would be on sale."})
    lessons_added = ma.fields.Int()
    lessons_removed = ma.fields.Int()
    learners = ma.fields.Nested(LearnersByProgressSchema, metadata={"description": "All learners of the course."})
    errors = ma.fields.List(ma.fields.Nested(PublicationErrorSchema))


# Enrollment and access.


class EnrollSchema(Schema):
    user_id = ma.fields.UUID(
        metadata={"description": "The user to enroll; requires `courses:admin`. Defaults to the caller."}
    )


class EnrollmentSchema(Schema):
    course_id = ma.fields.UUID()
    status = ma.fields.Str(validate=ma.validate.OneOf(["active", "ended"]))
    enrolled_at = Timestamp()
    expires_at = Timestamp(allow_none=True)
    progress_percent = ma.fields.Int()


class GrantSchema(Schema):
    source = ma.fields.Str()
    source_id = ma.fields.Str()
    status = ma.fields.Str()
    starts_at = Timestamp()
    ends_at = Timestamp(allow_none=True)
    reason = ma.fields.Str(allow_none=True)


class AccessSchema(Schema):
    access = ma.fields.Bool()
    grants = ma.fields.List(ma.fields.Nested(GrantSchema))
    reason = ma.fields.Str(metadata={"description": "Source of the access; `not_enrolled` or `ended` without access."})
