"""Public queries: the catalogue and the courses on sale."""

from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from core.cache import CATALOGUE_VERSION_KEY, POPULAR, POPULAR_PAGE, get_page, put_page
from models.commands.courses import Caller, CatalogueCursor, CatalogueFilters
from models.courses.catalogue import Search
from models.courses.course import Course
from models.courses.versions import CourseVersion
from workers import job, task

_WARM_SECONDS = 600  # two periods of the job, so that the page outlives one late run


@task
def list_courses(
    session: Session,
    *,
    filters: CatalogueFilters,
    sort: str | None,
    after: CatalogueCursor | None,
    limit: int,
    facets: bool,
    total: bool,
) -> dict[str, Any]:
    """Return a page of the courses on sale, with facets and total if requested.

    Sorts by relevance if there is a ``q``, else the newest first. If no course matches ``q``, each of its words is
    replaced by the most similar known word.
    """
    search = Search(
        filters,
        sort or ("relevance" if filters.q else "newest"),
        respelled=after.respelled if after else False,
    )
    entries, following = search.list_page(session, after, limit)
    if filters.q and not entries and not after:
        search = replace(search, respelled=True)
        entries, following = search.list_page(session, after, limit)
    found: dict[str, Any] = {"items": [entry.to_response() for entry in entries], "next": following}
    if facets:
        counts, all_of_them = search.facets(session)
        found |= {"facets": counts, **({"total": all_of_them} if total else {})}
    elif total:
        found["total"] = search.count(session)
    return found


@job
def warm_popular_courses(session: Session) -> None:
    """Cache the first catalogue page that most visitors request.

    The page gets the cache version read before the query, so a change of the catalogue during the query invalidates it.
    """
    version, _ = get_page(CATALOGUE_VERSION_KEY, POPULAR)
    found = list_courses(session, filters=CatalogueFilters(), **POPULAR_PAGE)
    put_page(POPULAR, version, msgspec.json.encode(found), stale_seconds=_WARM_SECONDS)


@task
def show_course(session: Session, *, ref: str, caller: Caller | None) -> dict[str, Any]:
    """Return a course with its outline, by id or slug: the working copy to its author, else the version on sale.

    Raises NotFound.
    """
    if caller and (draft := Course.get(session, ref, outline=True)).may_be_changed_by(caller):
        return draft.to_response()
    course, version = CourseVersion.get_on_sale(session, ref)
    return version.to_response(course)
