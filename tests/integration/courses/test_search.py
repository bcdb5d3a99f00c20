import pytest

from models.courses import catalogue
from models.courses.transliteration import slug_of, transliterate
from tests.integration.courses.factories import (
    author_of,
    make_catalogue,
    make_course,
    make_draft,
    make_lesson,
    noop_cache,
    purchase_of,
)
from tests.integration.courses.test_catalogue import query_catalogue, titles
from workers.courses.access import grant_access
from workers.courses.authoring import change_course, publish_course
from workers.courses.outline import add_section

COURSES = (
    {"title": "Machine Learning Basics", "summary": "Train your first models."},
    {"title": "Основы программирования на Python", "language": "ru", "tags": ["python"]},
    {"title": "Cooking with Gas", "summary": "A little machine helps."},
    {"title": "Kubernetes in Production", "tags": ["devops"]},
)


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("learning machines", ["Machine Learning Basics"]),  # other word forms
        ("machine", ["Machine Learning Basics", "Cooking with Gas"]),  # a title outranks a summary
        ("программирование", ["Основы программирования на Python"]),
        ("programmirovaniya", ["Основы программирования на Python"]),  # typed in Latin letters
        ("devops", ["Kubernetes in Production"]),  # a tag
        ("machine -cooking", ["Machine Learning Basics"]),
        ('"with gas"', ["Cooking with Gas"]),
    ],
)
def test_search_ranks_best_match_first(session, q, found):
    category = make_catalogue(session, *COURSES)

    assert titles(session, category=category, q=q) == found


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("machne lerning", "Machine Learning Basics"),
        ("kubernets", "Kubernetes in Production"),
        ("кубернетес", "Kubernetes in Production"),
        ("прогамирование", "Основы программирования на Python"),
    ],
)
def test_misspelled_words_are_found(session, q, found):
    category = make_catalogue(session, *COURSES)

    assert titles(session, category=category, q=q)[:1] == [found]


def test_texts_are_searched_with_less_weight_than_titles_and_summaries(session):
    category = make_catalogue(session, {"title": "Zebras"}, {"title": "Other", "summary": "Of zebras."})
    described = make_draft(session, category=category, title="Described", description="Stripes of the *zebra*.")
    listed = make_draft(session, category=category, title="Listed", lessons=0)
    section = add_section(session, course_id=listed.id, caller=author_of(listed), title="On antelopes")["view"]
    make_lesson(session, listed.id, section["id"], author_of(listed), title="Beside a zebra")
    for draft in (described, listed):
        publish_course(session, noop_cache, ref=draft.slug, caller=author_of(draft))
    grant_access(session, event=purchase_of(listed))

    assert titles(session, category=category, q="zebra") == ["Zebras", "Other", "Listed", "Described"]
    assert titles(session, category=category, q="antelope") == ["Listed"]
    assert titles(session, category=category, q="described zebra") == ["Described"]  # one word in each
    assert query_catalogue(session, category=category, q="zebra", total=True)["total"] == 4


def test_published_texts_replace_earlier_ones_in_the_index(session):
    course = make_course(session, description="About owls.")
    change_course(
        session, noop_cache, ref=course.slug, caller=author_of(course), expected_version=course.version,
        fields={"description": "About ravens."},
    )  # fmt: skip
    found = {"instructor_id": course.instructor_id}
    assert (titles(session, q="owl", **found), titles(session, q="raven", **found)) == ([course.title], [])

    publish_course(session, noop_cache, ref=course.slug, caller=author_of(course))

    assert (titles(session, q="owl", **found), titles(session, q="raven", **found)) == ([], [course.title])


def test_search_without_match_returns_nothing(session):
    category = make_catalogue(session, *COURSES)

    for q in ("zebra crossing", "%", "'; DROP TABLE", "the", "☃", "\\"):
        assert titles(session, category=category, q=q) == []


@pytest.mark.parametrize("q", ["machine", "machne"])
@pytest.mark.parametrize("sort", [None, "newest", "price"])
def test_search_pages_list_every_course_once(session, q, sort):
    category = make_catalogue(session, *({"title": f"Machine number {n}"} for n in range(7)))
    titles, after = [], None
    while after or not titles:
        found = query_catalogue(session, category=category, q=q, sort=sort, limit=2, after=after, total=True)
        assert found["total"] == 7
        titles += [item["title"] for item in found["items"]]
        after = found["next"]

    assert sorted(titles) == sorted(f"Machine number {n}" for n in range(7))


def test_frequent_term_ranks_titles_and_popular_courses(session, monkeypatch):
    monkeypatch.setattr(catalogue, "MAX_RANKED", 2)
    texts = ({"title": f"Course {n}", "summary": "All about Machines."} for n in range(3))
    category = make_catalogue(session, *texts, {"title": "Machines"})
    assert titles(session, category=category, q="machine")[0] == "Machines"
    assert len(titles(session, category=category, q="machine")) == 3  # the title and two of the texts
    assert len(titles(session, category=category, q="machine", sort="newest")) == 4

    for title in ("Machines again", "Machines for ever"):
        make_course(session, category=category, title=title, lessons=1)
    found = titles(session, category=category, q="machine")
    assert (len(found), all("Machines" in title for title in found)) == (2, True)


def test_search_total_is_capped(session, monkeypatch):
    category = make_catalogue(session, *({"title": f"Machine number {n}"} for n in range(3)))
    monkeypatch.setattr(catalogue, "MAX_COUNTED", 2)
    for question, count in (({"q": "machine"}, 2), ({}, 3)):
        found = query_catalogue(session, category=category, facets=True, total=True, **question)
        assert found["total"] == count
        assert {"value": category, "count": count} in found["facets"]["category"]
        assert query_catalogue(session, category=category, total=True, **question)["total"] == count


def test_slugs_are_transliterated():
    assert slug_of("Объём, щука & Ёж: издание 2") == "obem-shchuka-ezh-izdanie-2"
    assert slug_of("  Crème brûlée!  ") == "creme-brulee"
    assert slug_of("日本") == "course"


@pytest.mark.parametrize("title", ["0190A9E6-0000-7000-8000-000000000001", "0190a9e60000700080000000000000f1"])
def test_slug_of_uuid_title_is_not_a_uuid(title: str):
    assert slug_of(title).startswith("course-0190a9e6")
    assert transliterate("C++ / C#") == "c c"
