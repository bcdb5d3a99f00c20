"""Queries and responses of the catalogue."""

from typing import Any

import marshmallow as ma

from api.pagination import PageQuery, page_schema
from api.schemas import OPTIONAL, Currency, Line, Money, Schema, Timestamp

from .quiz_schemas import Slug
from .schemas import Language, level_field

SORTS = ("relevance", "popular", "newest", "rating", "price", "-price")


def _amount_minor() -> ma.fields.Int:
    return ma.fields.Int(validate=ma.validate.Range(min=0, max=10**12))


class CoursesQuery(PageQuery):
    """``price_min`` and ``price_max`` are in minor units of ``currency``, which they need."""

    q = Line()
    category = Slug()
    level = level_field()
    language = Language()
    tag = Slug()
    instructor_id = ma.fields.UUID()
    free = ma.fields.Bool()
    currency = Currency()
    price_min = _amount_minor()
    price_max = _amount_minor()
    sort = ma.fields.Str(validate=ma.validate.OneOf(SORTS), load_default=None)
    facets = ma.fields.Bool(load_default=False)
    total = ma.fields.Bool(load_default=False)

    @ma.validates_schema
    def _validate_needed_parameters(self, query: dict[str, Any], **_: Any) -> None:
        if query.get("sort") == "relevance" and "q" not in query:
            raise ma.ValidationError("Sorting by relevance requires q.", "sort")
        for name in ("price_min", "price_max"):
            if name in query and "currency" not in query:
                raise ma.ValidationError("Prices are compared within one currency: add currency.", name)


class RatingSchema(Schema):
    average = ma.fields.Float(allow_none=True, metadata={"description": "1 to 5; null if there are no reviews."})
    count = ma.fields.Int()


class CourseItemSchema(Schema):
    """A course in a list."""

    id = ma.fields.UUID()
    slug = ma.fields.Str()
    title = ma.fields.Str()
    summary = ma.fields.Str()
    category = ma.fields.Str()
    level = ma.fields.Str()
    language = ma.fields.Str()
    tags = ma.fields.List(ma.fields.Str())
    cover_url = ma.fields.Str(allow_none=True, metadata={"format": "uri"})
    price = ma.fields.Nested(Money)
    instructor_id = ma.fields.UUID()
    lessons_total = ma.fields.Int()
    duration_seconds = ma.fields.Int()
    learners = ma.fields.Int()
    rating = ma.fields.Nested(RatingSchema)
    published_at = Timestamp()


class FacetSchema(Schema):
    value = ma.fields.Str()
    count = ma.fields.Int()


class FacetsSchema(Schema):
    category = ma.fields.List(ma.fields.Nested(FacetSchema))
    level = ma.fields.List(ma.fields.Nested(FacetSchema))
    language = ma.fields.List(ma.fields.Nested(FacetSchema))
    price = ma.fields.List(ma.fields.Nested(FacetSchema))


class CoursesPage(page_schema(CourseItemSchema)):  # type: ignore[misc]  # made at run time
    facets = ma.fields.Nested(
        FacetsSchema,
        metadata={
            "description": "Counts by value, each facet without its own filter. With `q`, only the 5000 most popular "
            "matches are counted.",
            **OPTIONAL,
        },
    )
    total = ma.fields.Int(metadata={"description": "Number of matching courses. With `q`, capped at 5000.", **OPTIONAL})
