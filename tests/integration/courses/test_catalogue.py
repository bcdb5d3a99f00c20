from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import event, select

from core.cache import CATALOGUE_VERSION_KEY, POPULAR, POPULAR_PAGE, CachedView, course_key, get_page
from models.commands.courses import Caller, CatalogueFilters
from models.courses.catalogue import CatalogueEntry
from models.errors import NotFound
from models.events import UserDeleted
from tests.integration.courses.factories import (
    author_of,
    make_catalogue,
    make_course,
    make_draft,
    noop_cache,
    purchase_of,
    reprice,
)
from tests.support.events import build_event
from workers.courses.access import grant_access
from workers.courses.authoring import archive_course, invalidate_course_cache, unpublish_course
from workers.courses.catalogue import list_courses, show_course, warm_popular_courses
from workers.courses.personal_data import erase_data


def query_catalogue(session, *, sort=None, after=None, limit=20, facets=False, total=False, **filters):
    return list_courses(
        session, filters=CatalogueFilters(**filters), sort=sort, after=after, limit=limit, facets=facets, total=total
    )


def titles(session, **question):
    return [item["title"] for item in query_catalogue(session, **question)["items"]]


def price_fields(amount_minor, currency="USD"):
    return {"price": {"amount_minor": amount_minor, "currency": currency}}


@pytest.mark.parametrize("sort", ["newest", "popular", "price", "-price"])
def test_paging_is_stable_while_course_is_published(session, sort):
    # Prices and numbers of learners are equal: only the id decides the order.
    category = make_catalogue(session, *({"title": f"Course {n}", **price_fields(100 * (n % 3))} for n in range(13)))
    titles, after = [], None
    for page in range(5):
        found = query_catalogue(session, category=category, sort=sort, after=after, limit=3)
        titles += [item["title"] for item in found["items"]]
        after = found["next"]
        if page == 2:
            make_course(session, category=category, title="Another", lessons=1)

    assert after is None
    assert sorted(set(titles) - {"Another"}) == sorted(f"Course {n}" for n in range(13))
    assert len(titles) == len(set(titles))


def test_cursor_roundtrip(session):
    category = make_catalogue(session, {}, {}, {})
    for sort in ("newest", "price"):
        position = query_catalogue(session, category=category, sort=sort, limit=2)["next"]
        position = msgspec.json.decode(msgspec.json.encode(position), type=type(position))
        assert len(query_catalogue(session, category=category, sort=sort, after=position)["items"]) == 1


def test_courses_sort_by_price_in_both_directions(session):
    category = make_catalogue(session, *({"title": title, **price_fields(ord(title))} for title in "bca"))

    assert titles(session, category=category, sort="price") == ["a", "b", "c"]
    assert titles(session, category=category, sort="-price") == ["c", "b", "a"]


@pytest.mark.parametrize("sort", ["price", "-price"])
def test_prices_are_sorted_within_their_currency(session, sort):
    prices = ((300, "USD"), (9, "USD"), (70, "RUB"), (100_000, "RUB"))
    category = make_catalogue(session, *({"title": str(amount), **price_fields(amount, of)} for amount, of in prices))
    found, after = [], None
    while after or not found:
        page = query_catalogue(session, category=category, sort=sort, limit=1, after=after)
        found += [item["title"] for item in page["items"]]
        after = page["next"]

    in_order = ["70", "100000", "9", "300"]
    assert found == (in_order if sort == "price" else in_order[::-1])


def test_few_ratings_weigh_less_than_many(session):
    ratings = {"many": (1000, 490), "one": (1, 500), "bad": (50, 150), "none": (0, 0), "good": (20, 450)}
    category = make_catalogue(session, *({"title": title} for title in ratings))
    for title, (count, hundredths) in ratings.items():
        entry = session.scalars(select(CatalogueEntry).filter_by(title=title, category=category)).one()
        entry.ratings, entry.rating_hundredths = count, hundredths
    session.flush()

    found, after = [], None
    while after or not found:
        page = query_catalogue(session, category=category, sort="rating", limit=2, after=after)
        found += [item["title"] for item in page["items"]]
        after = page["next"]

    assert found == ["many", "good", "one", "bad", "none"]


def test_popular_sort_ranks_by_learner_count(session):
    category = make_catalogue(session, {"title": "Lonely"})
    course = make_course(session, category=category, title="Loved")
    make_course(session, category=category, title="New")
    grant_access(session, event=purchase_of(course))

    found = query_catalogue(session, category=category, sort="popular")["items"]
    assert (found[0]["title"], found[0]["learners"]) == ("Loved", 1)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"level": "advanced"}, {"deep"}),
        ({"language": "ru"}, {"русский"}),
        ({"tag": "sql"}, {"deep", "русский"}),
        ({"free": True}, {"gift"}),
        ({"free": False}, {"deep", "русский"}),
        ({"currency": "RUB"}, {"русский"}),
        ({"price_min": 1, "price_max": 5000}, {"deep"}),
        ({"tag": "sql", "language": "en"}, {"deep"}),
        ({"instructor_id": uuid4()}, set()),
    ],
)
def test_filters_restrict_results(session, filters, found):
    category = make_catalogue(
        session,
        {"title": "deep", "level": "advanced", "tags": ["sql", "locks"], **price_fields(5000)},
        {"title": "русский", "language": "ru", "tags": ["sql"], **price_fields(490000, "RUB")},
        {"title": "gift", **price_fields(0)},
    )

    assert set(titles(session, category=category, **filters)) == found


def test_facets_count_filtered_courses(session):
    category = make_catalogue(session, {"level": "advanced"}, {**price_fields(0)}, {"language": "ru"})
    found = query_catalogue(session, category=category, facets=True, total=True, limit=1)

    assert found["total"] == 3
    of_all = found["facets"].pop("category")  # counted without the filter, so courses of other tests are there too
    assert {"value": category, "count": 3} in of_all
    assert found["facets"] == {
        "level": [{"value": "beginner", "count": 2}, {"value": "advanced", "count": 1}],
        "language": [{"value": "en", "count": 2}, {"value": "ru", "count": 1}],
        "price": [{"value": "paid", "count": 2}, {"value": "free", "count": 1}],
    }


@pytest.mark.parametrize("q", [None, "course", "coursse"])
def test_facets_are_counted_without_their_own_filter(session, q):
    word = f"w{uuid4().hex}"
    category = make_catalogue(
        session,
        {"title": "Course A", "tags": [word], "language": "ru"},
        {"title": "Course B", "tags": [word], **price_fields(0)},
        {"title": "Course C", "tags": [word], **price_fields(0), "level": "advanced"},
    )
    filters = {"category": category, "language": "en", "free": True, "tag": word}

    found = query_catalogue(session, q=q, facets=True, total=True, **filters)

    assert (found["total"], {item["title"] for item in found["items"]}) == (2, {"Course B", "Course C"})
    counts = {name: {each["value"]: each["count"] for each in values} for name, values in found["facets"].items()}
    assert counts == {
        "category": {category: 2},
        "level": {"beginner": 1, "advanced": 1},
        "language": {"en": 2},  # the Russian course is not free
        "price": {"free": 2},
    }
    without = query_catalogue(session, q=q, facets=True, category=category, language="ru", tag=word)["facets"]
    assert {each["value"]: each["count"] for each in without["language"]} == {"ru": 1, "en": 2}
    assert without["price"] == [{"value": "paid", "count": 1}]


def test_empty_result_has_empty_facets(session):
    found = query_catalogue(session, category="nothing-here", facets=True, total=True)

    del found["facets"]["category"]  # counted without the filter
    assert found == {"items": [], "next": None, "total": 0, "facets": {"level": [], "language": [], "price": []}}


def test_list_takes_one_query_and_facets_one_more(session):
    category = make_catalogue(session, {}, {})
    session.flush()
    statements = []
    event.listen(session.connection(), "before_cursor_execute", lambda *args: statements.append(args[2]))

    query_catalogue(session, category=category)
    assert len(statements) == 1
    query_catalogue(session, category=category, facets=True, total=True)
    assert len(statements) == 3


def test_unpublished_courses_are_hidden(session):
    category = f"c{uuid4().hex}"
    make_draft(session, category=category)
    withdrawn = make_course(session, category=category)
    unpublish_course(session, noop_cache, ref=str(withdrawn.id), caller=author_of(withdrawn))
    archived = make_course(session, category=category)
    archive_course(
        session, noop_cache, ref=archived.slug, caller=author_of(archived), expected_version=archived.version
    )

    assert query_catalogue(session, category=category)["items"] == []
    for course in (withdrawn, archived):
        with pytest.raises(NotFound):
            show_course(session, ref=course.slug, caller=Caller(uuid4()))


def test_draft_is_visible_to_author_and_admins_only(session):
    draft = make_draft(session)

    assert show_course(session, ref=draft.slug, caller=author_of(draft))["status"] == "draft"
    assert show_course(session, ref=str(draft.id), caller=Caller(uuid4(), admin=True))["id"] == draft.id
    for stranger in (None, Caller(uuid4())):
        with pytest.raises(NotFound):
            show_course(session, ref=draft.slug, caller=stranger)


def test_catalogue_item_matches_course_details(session):
    course = make_course(session, title="Both", tags=["one", "two"])
    (item,) = query_catalogue(session, instructor_id=course.instructor_id)["items"]
    shown = show_course(session, ref=course.slug, caller=None)

    assert (item.pop("learners"), item.pop("rating")) == (0, {"average": None, "count": 0})
    assert {name: shown[name] for name in item} == item


def test_course_shows_outline_without_lesson_content(session):
    course = make_course(session, lessons=2)
    shown = show_course(session, ref=str(course.id), caller=None)

    (section,) = shown["sections"]
    assert [lesson["position"] for lesson in section["lessons"]] == [1, 2]
    assert section["lessons"][0].keys() == {
        "id",
        "title",
        "kind",
        "position",
        "duration_seconds",
        "free_preview",
        "completion",
        "unlock",
    }
    assert (shown["lessons_total"], shown["duration_seconds"], shown["version"]) == (2, 120, course.version)


def test_erasure_counts_the_learner_out(session):
    course = make_course(session)
    purchases = [purchase_of(course) for _ in range(2)]
    for purchase in purchases:
        grant_access(session, event=purchase)

    erase_data(session, event=build_event(UserDeleted, user_id=purchases[0].user_id))

    (item,) = query_catalogue(session, instructor_id=course.instructor_id)["items"]
    assert item["learners"] == 1


def test_price_change_is_visible_immediately(session):
    course = make_course(session)
    reprice(session, course, 100)

    assert show_course(session, ref=course.slug, caller=None)["price"]["amount_minor"] == 100
    (item,) = query_catalogue(session, instructor_id=course.instructor_id)["items"]
    assert item["price"] == {"amount_minor": 100, "currency": "USD"}


def test_job_caches_first_page_of_popular_courses(session):
    make_course(session)
    warm_popular_courses(session)
    _, page = get_page(CATALOGUE_VERSION_KEY, POPULAR)

    response = list_courses(session, filters=CatalogueFilters(), **POPULAR_PAGE)
    assert page.body == msgspec.json.encode(response)


def test_course_event_invalidates_cached_course_and_catalogue(session):
    course = make_course(session)
    reprice(session, course, 100)
    cached = {}
    invalidate_course_cache(session, cached.__setitem__, event={"course_id": str(course.id)})

    assert cached[course_key(course.slug)] == cached[course_key(course.id)] == CachedView(course.version, b"")
    assert CATALOGUE_VERSION_KEY in cached
