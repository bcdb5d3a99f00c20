"""What everybody sees: the catalogue, and each course on sale."""

from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from models.cache import CATALOGUE, POPULAR, POPULAR_PAGE, get_page, put_page
from models.courses.catalogue import Filters, Position, Search
from models.courses.course import Caller, Course
from models.courses.versions import CourseVersion
from workers import job, task

_WARM_SECONDS = 600  # two periods of the job: one may be late


@task
def list_courses(
    session: Session,
    *,
    filters: Filters,
    sort: str | None,
    after: Position | None,
    limit: int,
    facets: bool,
    total: bool,
) -> dict[str, Any]:
    """A page of the courses on sale, with facets and total where they are asked for.

    Where nothing has the words of ``q``, they are taken for the words that they resemble most. Sorted by relevance
    where there is a ``q``, else the newest first.
    """
    search = Search(
        filters,
        sort or ("relevance" if filters.q else "newest"),
        respelled=after.respelled if after else False,
    )
    entries, following = search.page(session, after, limit)
    if filters.q and not entries and not after:
        search = replace(search, respelled=True)
        entries, following = search.page(session, after, limit)
    found: dict[str, Any] = {"items": [entry.view() for entry in entries], "next": following}
    if facets:
        counts, all_of_them = search.facets(session)
        found |= {"facets": counts, **({"total": all_of_them} if total else {})}
    elif total:
        found["total"] = search.count(session)
    return found


@job(every_seconds=300)
def warm_popular_courses(session: Session) -> None:
    """Lay ready what most visitors ask for first. What changes the catalogue meanwhile outdates it."""
    version, _ = get_page(CATALOGUE, POPULAR)
    found = list_courses(session, filters=Filters(), **POPULAR_PAGE)
    put_page(POPULAR, version, msgspec.json.encode(found), stale_seconds=_WARM_SECONDS)


@task
def show_course(session: Session, *, ref: str, caller: Caller | None) -> dict[str, Any]:
    """A course with its outline, by id or slug: its author sees the working copy, all others what is on sale.

    Raises NotFound.
    """
    if caller and (draft := Course.find(session, ref, outline=True)).may_be_changed_by(caller):
        return draft.view()
    course, version = CourseVersion.on_sale(session, ref)
    return version.view(course)
