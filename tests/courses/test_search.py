import pytest

from models.courses import catalogue
from models.courses.spelling import romanised, slug_of
from tests.courses.factories import make_catalogue, make_course
from tests.courses.test_catalogue import listed, titles

COURSES = (
    {"title": "Machine Learning Basics", "summary": "Train your first models."},
    {"title": "Основы программирования на Python", "language": "ru", "tags": ["python"]},
    {"title": "Cooking with Gas", "summary": "A little machine helps."},
    {"title": "Kubernetes in Production", "tags": ["devops"]},
)


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("learning machines", ["Machine Learning Basics"]),  # other forms of the words
        ("machine", ["Machine Learning Basics", "Cooking with Gas"]),  # a title counts for more than a summary
        ("программирование", ["Основы программирования на Python"]),
        ("programmirovaniya", ["Основы программирования на Python"]),  # typed in Latin letters
        ("devops", ["Kubernetes in Production"]),  # a tag
        ("machine -cooking", ["Machine Learning Basics"]),
        ('"with gas"', ["Cooking with Gas"]),
    ],
)
def test_words_are_found_the_best_first(session, q, found):
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
def test_misspelled_words_are_found_all_the_same(session, q, found):
    category = make_catalogue(session, *COURSES)

    assert titles(session, category=category, q=q)[:1] == [found]


def test_what_resembles_nothing_finds_nothing(session):
    category = make_catalogue(session, *COURSES)

    for q in ("zebra crossing", "%", "'; DROP TABLE", "the", "☃", "\\"):
        assert titles(session, category=category, q=q) == []


@pytest.mark.parametrize("q", ["machine", "machne"])
@pytest.mark.parametrize("sort", [None, "newest", "price"])
def test_pages_of_a_search_show_every_course_once(session, q, sort):
    category = make_catalogue(session, *({"title": f"Machine number {n}"} for n in range(7)))
    seen, after = [], None
    while after or not seen:
        found = listed(session, category=category, q=q, sort=sort, limit=2, after=after, total=True)
        assert found["total"] == 7
        seen += [item["title"] for item in found["items"]]
        after = found["next"]

    assert sorted(seen) == sorted(f"Machine number {n}" for n in range(7))


def test_of_what_a_frequent_word_finds_titles_and_the_popular_are_ranked(session, monkeypatch):
    monkeypatch.setattr(catalogue, "RANKED", 2)
    texts = ({"title": f"Course {n}", "summary": "All about Machines."} for n in range(3))
    category = make_catalogue(session, *texts, {"title": "Machines"})
    assert titles(session, category=category, q="machine")[0] == "Machines"
    assert len(titles(session, category=category, q="machine")) == 3  # the title, and two of the texts
    assert len(titles(session, category=category, q="machine", sort="newest")) == 4

    for title in ("Machines again", "Machines for ever"):
        make_course(session, category=category, title=title, lessons=1)
    found = titles(session, category=category, q="machine")
    assert (len(found), all("Machines" in title for title in found)) == (2, True)


def test_to_a_question_so_many_are_counted(session, monkeypatch):
    category = make_catalogue(session, *({"title": f"Machine number {n}"} for n in range(3)))
    monkeypatch.setattr(catalogue, "COUNTED", 2)
    for question, count in (({"q": "machine"}, 2), ({}, 3)):
        found = listed(session, category=category, facets=True, total=True, **question)
        assert (found["total"], found["facets"]["category"]) == (count, [{"value": category, "count": count}])
        assert listed(session, category=category, total=True, **question)["total"] == count


def test_slugs_are_readable_in_both_alphabets():
    assert slug_of("Объём, щука & Ёж: издание 2") == "obem-shchuka-ezh-izdanie-2"
    assert slug_of("  Crème brûlée!  ") == "creme-brulee"
    assert slug_of("日本") == "course"


@pytest.mark.parametrize("title", ["0190A9E6-0000-7000-8000-000000000001", "0190a9e60000700080000000000000f1"])
def test_slug_of_a_title_that_reads_as_an_id_is_no_id(title: str):
    assert slug_of(title).startswith("course-0190a9e6")
    assert romanised("C++ / C#") == "c c"
