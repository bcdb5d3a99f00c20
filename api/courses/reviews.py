"""Course reviews by learners."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, public, require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Prose, Schema, Timestamp
from models.commands import ListReviews, ReviewCourse

from .blueprint import blp, require_course_access


class ReviewFieldsSchema(Schema):
    rating = ma.fields.Int(
        strict=True, required=True, validate=ma.validate.Range(min=1, max=5), metadata={"example": 5}
    )
    text = Prose(max_length=5000, load_default="")


class ReviewSchema(Schema):
    """A review. Reviews are anonymous: the author is not returned."""

    id = ma.fields.UUID()
    rating = ma.fields.Int()
    text = ma.fields.Str()
    created_at = Timestamp()
    updated_at = Timestamp()


@blp.route("/courses/<uuid:course_id>/reviews")
class Reviews(MethodView):
    @public
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listReviews")
    @blp.response(200, page_schema(ReviewSchema))
    def get(self, query: dict[str, Any], course_id: UUID) -> Page:
        """List reviews of a course

        Newest first.
        """
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
