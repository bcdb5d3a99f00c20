"""Course reviews by learners, replies of instructors, and moderation by staff."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, optional_caller, public, require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Line, Prose, Schema, Timestamp
from models.commands import ListReviews, ModerateReview, RemoveReview, ReplyToReview, ReviewCourse, ShowOwnReview
from models.errors import InsufficientPermission

from .blueprint import blp, course_caller, require_course_access, require_own_course


class ReviewFieldsSchema(Schema):
    rating = ma.fields.Int(
        strict=True, required=True, validate=ma.validate.Range(min=1, max=5), metadata={"example": 5}
    )
    text = Prose(max_length=5000, load_default="")


class ReviewsQuery(PageQuery):
    hidden = ma.fields.Bool(
        load_default=False,
        metadata={"description": "The reviews that staff have hidden, in place of the others. Needs `courses:admin`."},
    )


class ReplyFieldsSchema(Schema):
    text = Prose(max_length=5000, not_blank=True, required=True)


class ModerationSchema(Schema):
    reason = Line(max_length=500, required=True, metadata={"description": "Why; shown to staff and to the learner."})


class ReplySchema(Schema):
    text = ma.fields.Str()
    replied_at = Timestamp()


class HiddenSchema(Schema):
    reason = ma.fields.Str()
    hidden_at = Timestamp()


class ReviewSchema(Schema):
    """A review. Reviews are anonymous: the author is not returned."""

    id = ma.fields.UUID()
    rating = ma.fields.Int()
    text = ma.fields.Str()
    created_at = Timestamp()
    updated_at = Timestamp()
    reply = ma.fields.Nested(ReplySchema, allow_none=True, metadata={"description": "Of an instructor of the course."})
    hidden = ma.fields.Nested(
        HiddenSchema, allow_none=True, metadata={"description": "Since when and why staff hide the review."}
    )


@blp.route("/courses/<uuid:course_id>/reviews")
class Reviews(MethodView):
    @public
    @blp.arguments(ReviewsQuery, location="query")
    @blp.doc(operationId="listReviews")
    @blp.response(200, page_schema(ReviewSchema))
    def get(self, query: dict[str, Any], course_id: UUID) -> Page:
        """List reviews of a course

        Newest first.
        """
        caller = optional_caller()
        if query["hidden"] and not (caller and "courses:admin" in caller.permissions):
            raise InsufficientPermission("courses:admin")
        return page_response(call(ListReviews(course_id=course_id, **query)))

    @require_auth()
    @require_course_access
    @blp.arguments(ReviewFieldsSchema)
    @blp.doc(operationId="putReview")
    @blp.response(201, ReviewSchema)
    def post(self, review: dict[str, Any], course_id: UUID) -> Any:
        """Create or replace a review

        Requires access to the course. Each learner has one review per course; a new one replaces it.
        """
        return call(ReviewCourse(user_id=current_caller().id, course_id=course_id, **review))


@blp.route("/me/courses/<uuid:course_id>/review")
class OwnReview(MethodView):
    @require_auth()
    @blp.doc(operationId="getOwnReview")
    @blp.response(200, ReviewSchema)
    def get(self, course_id: UUID) -> Any:
        """Retrieve the caller's review of a course

        Also if staff have hidden it.
        """
        return call(ShowOwnReview(user_id=current_caller().id, course_id=course_id))

    @require_auth()
    @blp.doc(operationId="deleteOwnReview")
    @blp.response(204)
    def delete(self, course_id: UUID) -> None:
        """Delete the caller's review of a course

        With its reply. The rating of the course no longer counts it.
        """
        call(RemoveReview(user_id=current_caller().id, course_id=course_id))


@blp.route("/courses/<uuid:course_id>/reviews/<uuid:review_id>/reply")
class ReviewReply(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(ReplyFieldsSchema)
    @blp.doc(operationId="replyToReview")
    @blp.response(200, ReviewSchema)
    def put(self, reply: dict[str, Any], course_id: UUID, review_id: UUID) -> Any:
        """Reply to a review

        As an instructor of the course. A new reply replaces the earlier one.
        """
        return _reply(course_id, review_id, reply["text"])

    @require_auth("courses:write")
    @blp.doc(operationId="deleteReviewReply")
    @blp.response(204)
    def delete(self, course_id: UUID, review_id: UUID) -> None:
        """Delete the reply to a review

        No effect without a reply.
        """
        _reply(course_id, review_id, None)


@blp.route("/courses/<uuid:course_id>/reviews/<uuid:review_id>/hide")
class ReviewHide(MethodView):
    @require_auth("courses:admin")
    @blp.arguments(ModerationSchema)
    @blp.doc(operationId="hideReview")
    @blp.response(200, ReviewSchema)
    def post(self, moderation: dict[str, Any], course_id: UUID, review_id: UUID) -> Any:
        """Hide a review

        It is no longer listed, and the rating of the course no longer counts it. It stays hidden if the learner changes
        it. Idempotent.
        """
        return call(ModerateReview(course_id=course_id, review_id=review_id, reason=moderation["reason"]))


@blp.route("/courses/<uuid:course_id>/reviews/<uuid:review_id>/show")
class ReviewShow(MethodView):
    @require_auth("courses:admin")
    @blp.doc(operationId="showReview")
    @blp.response(200, ReviewSchema)
    def post(self, course_id: UUID, review_id: UUID) -> Any:
        """Show a hidden review again

        It is listed and counted again. Idempotent.
        """
        return call(ModerateReview(course_id=course_id, review_id=review_id, reason=None))


def _reply(course_id: UUID, review_id: UUID, text: str | None) -> Any:
    caller = course_caller(current_caller())
    return call(ReplyToReview(course_id=course_id, review_id=review_id, caller=caller, text=text))
