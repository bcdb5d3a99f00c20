"""Course reviews by learners."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import me, public, requires
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Prose, Schema, Timestamp

from .blueprint import blp, learned_course


class ReviewFieldsSchema(Schema):
    rating = ma.fields.Int(
        strict=True, required=True, validate=ma.validate.Range(min=1, max=5), metadata={"example": 5}
    )
    text = Prose(longest=5000, load_default="")


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
    @blp.response(200, page_of(ReviewSchema))
    def get(self, query: dict[str, Any], course_id: UUID) -> Page:
        """List reviews of a course

        Newest first.
        """
        return page(ask("courses.list_reviews", course_id=course_id, **query))

    @requires()
    @learned_course
    @blp.arguments(ReviewFieldsSchema)
    @blp.response(201, ReviewSchema)
    def post(self, review: dict[str, Any], course_id: UUID) -> Any:
        """Create or replace a review

        Requires access to the course. Each learner has one review per course; a new one replaces it.
        """
        return ask("courses.review_course", user_id=me().id, course_id=course_id, **review)
