"""Course lists: the public catalogue and an author's own courses."""

from typing import Any

from flask import Response
from flask.views import MethodView

from api.auth import me, public, requires
from api.etags import respond
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.reads import cached_page, warmed
from models.cache import CATALOGUE, POPULAR, POPULAR_PAGE, Stored

from .blueprint import blp, created
from .schemas import CourseFieldsSchema, CourseSchema, CoursesPage, CoursesQuery, OwnCourseItemSchema

# A stale catalogue page is served for up to this long while it is refreshed; its counts may lag.
_STALE_SECONDS = 600


@blp.route("/courses")
class Courses(MethodView):
    @public
    @cached_page(lambda: CATALOGUE, stale_seconds=_STALE_SECONDS)
    @blp.arguments(CoursesQuery, location="query")
    @blp.response(200, CoursesPage)
    def get(self, query: dict[str, Any]) -> Page:
        """List or search courses on sale

        With `q`, searches titles, tags and summaries, but not descriptions; if nothing matches, similar spellings are
        tried.
        """
        asked = {name: query.pop(name) for name in ("sort", "after", "limit", "facets", "total")}
        is_popular = not query and asked == POPULAR_PAGE
        found = (is_popular and warmed(CATALOGUE, POPULAR)) or ask("courses.list_courses", filters=query, **asked)
        body, status, headers = page(found)
        return {**body, **{name: found[name] for name in ("facets", "total") if name in found}}, status, headers

    @requires("courses:write")
    @blp.arguments(CourseFieldsSchema)
    @blp.response(201, CourseSchema)
    def post(self, fields: dict[str, Any]) -> Response:
        """Create a course

        The course is a draft that only its author sees until it is published.
        """
        course = ask("courses.create_course", instructor_id=me().id, fields=fields)
        return created(respond(Stored.of(course)), f"/v1/courses/{course['id']}")


@blp.route("/me/courses/teaching")
class OwnCourses(MethodView):
    @requires("courses:write")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(OwnCourseItemSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's own courses

        Includes drafts, newest first.
        """
        return page(ask("courses.list_own_courses", instructor_id=me().id, **query))
