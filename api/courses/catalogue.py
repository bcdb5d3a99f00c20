"""Course lists: the public catalogue and an author's own courses."""

from typing import Any

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, public, require_auth
from api.conditional_requests import CREATED_HEADERS, created
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import cached_page_view, get_prewarmed
from api.rpc import call
from core.cache import CATALOGUE_VERSION_KEY, POPULAR, POPULAR_PAGE
from models.commands import CreateCourse, ListCourses, ListOwnCourses
from models.commands.courses import CatalogueFilters, CourseFields

from .blueprint import blp
from .catalogue_schemas import CoursesPage, CoursesQuery
from .schemas import CourseFieldsSchema, CourseSchema, OwnCourseItemSchema

# A stale catalogue page is served for up to this long while it is refreshed; its counts may lag.
_STALE_SECONDS = 600


@blp.route("/courses")
class Courses(MethodView):
    @public
    @cached_page_view(lambda: CATALOGUE_VERSION_KEY, stale_seconds=_STALE_SECONDS)
    @blp.arguments(CoursesQuery, location="query")
    @blp.doc(operationId="listCourses")
    @blp.response(200, CoursesPage)
    def get(self, query: dict[str, Any]) -> Page:
        """List or search courses on sale

        With `q`, searches titles, tags and summaries, and with less weight descriptions and the titles of sections and
        lessons; if nothing matches, similar spellings are tried. Prices are sorted within each currency.
        `sort=rating` weighs the average by the number of ratings, as if each rated course had ten more of 3.5.
        """
        paging = {name: query.pop(name) for name in ("sort", "after", "limit", "facets", "total")}
        is_popular = not query and paging == POPULAR_PAGE
        found = (is_popular and get_prewarmed(CATALOGUE_VERSION_KEY, POPULAR)) or call(
            ListCourses(filters=msgspec.convert(query, CatalogueFilters), **paging)
        )
        body, status, headers = page_response(found)
        return {**body, **{name: found[name] for name in ("facets", "total") if name in found}}, status, headers

    @require_auth("courses:write")
    @blp.arguments(CourseFieldsSchema)
    @blp.doc(operationId="createCourse")
    @blp.response(201, CourseSchema, headers=CREATED_HEADERS)
    def post(self, fields: CourseFields) -> Response:
        """Create a course

        The course is a draft that only its author sees until it is published. Without `slug` a free one is made of the
        title; a given one that another course has, or had, is refused with `slug_taken`.
        """
        course = call(CreateCourse(instructor_id=current_caller().id, fields=fields))
        return created(course, f"/v1/courses/{course['id']}")


class OwnCoursesQuery(PageQuery):
    status = ma.fields.Str(validate=ma.validate.OneOf(["draft", "published", "archived"]), load_default=None)


@blp.route("/me/courses/teaching")
class OwnCourses(MethodView):
    @require_auth("courses:write")
    @blp.arguments(OwnCoursesQuery, location="query")
    @blp.doc(operationId="listTaughtCourses")
    @blp.response(200, page_schema(OwnCourseItemSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's own courses

        Includes drafts, newest first. Archived courses are listed with `status=archived` only.
        """
        return page_response(call(ListOwnCourses(instructor_id=current_caller().id, **query)))
