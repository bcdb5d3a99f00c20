"""The pages for authors against a scripted API: forms, conflicts, order, quizzes, and problems of a publication."""

import json
import re
from typing import Any

import httpx
import pytest
from coursebus import Coursebus, Retries
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient

import web
from web.teach.forms import Form
from web.teach.lessons import parse_duration, show_duration
from web.teach.outline import Order, _move_lesson, _move_section
from web.teach.questions import _question
from web.teach.quiz_rules import fit_pools, quiz_content, quiz_values

LESSON = {
    "id": "l1",
    "title": "The bowline",
    "kind": "text",
    "position": 1,
    "duration_seconds": None,
    "free_preview": False,
    "completion": {"rule": "manual"},
    "unlock": None,
}
COURSE: dict[str, Any] = {
    "id": "c1",
    "slug": "knots",
    "status": "draft",
    "title": "Knots",
    "summary": "",
    "category": "science",
    "level": "beginner",
    "language": "en",
    "tags": ["rope"],
    "cover_url": None,
    "description": "Old text",
    "price": {"amount_minor": 1250, "currency": "EUR"},
    "instructor_id": "u1",
    "sequential": False,
    "prerequisites": [],
    "lessons_total": 1,
    "duration_seconds": 0,
    "sections": [{"id": "s1", "title": "All", "position": 1, "lessons": [LESSON]}],
    "published_at": None,
    "version": 4,
}


class ScriptedApi:
    """Answers each method and path with a document, or with one document after another, and keeps what was sent."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"GET /v1/courses/c1/outline": (200, COURSE)}
        self.sent: list[tuple[str, str | None, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name = f"{request.method} {request.url.path}"
        if request.method != "GET":
            self.sent.append((name, request.headers.get("If-Match"), json.loads(request.content or "null")))
        answer = self.answers.get(name, (404, {"code": "not_found", "detail": "There is none."}))
        status, body = answer.pop(0) if isinstance(answer, list) else answer
        return httpx.Response(status, json=body)


@pytest.fixture
def api() -> ScriptedApi:
    return ScriptedApi()


@pytest.fixture
def author(api: ScriptedApi) -> FlaskClient:
    app = web.create_app()
    app.secret_key, app.session_interface = "k", SecureCookieSessionInterface()
    app.extensions["coursebus_signed_in"] = Coursebus(
        "http://api.example", token="t", retries=Retries(count=0), transport=httpx.MockTransport(api)
    )
    browser = app.test_client()
    sign_in(browser, "courses:write")
    return browser


def sign_in(browser: FlaskClient, *permissions: str) -> None:
    with browser.session_transaction() as session:
        session.update({"token": "secret-token", "form_token": "f", "permissions": permissions, "name": "Ada"})


def filled(page: str, **changes: str) -> dict[str, str]:
    """Return the fields of the first form of a page that a browser would send, with changes."""
    form = re.split(r"</form>", page[page.index('<form class="card"') :])[0]
    fields = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', form))
    fields |= dict(re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>\n([^<]*)</textarea>', form))
    for name, options in re.findall(r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        fields[name] = next(iter(re.findall(r'value="([^"]*)" selected', options)), "")
    boxes = re.findall(r'<input type="checkbox"[^>]* name="([^"]+)"', form)
    return {name: value for name, value in fields.items() if name not in boxes} | changes


def test_pages_are_for_people_who_may_write_courses(author):
    sign_in(author, "users:admin")
    assert author.get("/teach/c1").status_code == 403

    sign_in(author, "courses:write")
    page = author.get("/teach/c1/outline")
    assert (page.status_code, "secret-token" in page.text) == (200, False)
    assert author.get("/teach/other/outline").status_code == 404  # the API knows whose course it is
    assert author.post("/teach/c1", data={"title": "Mine"}).status_code == 400  # without the form token

    author.delete_cookie("session")
    assert "/sign-in" in author.get("/teach/c1").headers["Location"]


def test_changed_fields_alone_are_sent(author, api):
    api.answers["PATCH /v1/courses/c1"] = (200, COURSE)
    fields = filled(author.get("/teach/c1").text, title="Better knots", price="13", tags="rope, Sea")

    assert author.post("/teach/c1", data=fields).status_code == 303
    assert api.sent == [
        (
            "PATCH /v1/courses/c1",
            '"4"',
            {"title": "Better knots", "tags": ["rope", "sea"], "price": {"amount_minor": 1300, "currency": "EUR"}},
        )
    ]


@pytest.mark.parametrize("price", ["ten", "1.234", "-1", "1e999", "NaN"])
def test_price_that_is_none_is_refused_at_its_field(author, api, price):
    page = author.post("/teach/c1", data=filled(author.get("/teach/c1").text, price=price))

    assert (page.status_code, api.sent) == (422, [])
    assert 'aria-describedby="price-problem"' in page.text
    assert f'value="{price}"' in page.text


def test_error_of_the_api_is_shown_at_its_field(author, api):
    problem = {"code": "validation_failed", "errors": [{"pointer": "/tags/1", "detail": "Lower-case letters."}]}
    api.answers["PATCH /v1/courses/c1"] = (422, problem)
    page = author.post("/teach/c1", data=filled(author.get("/teach/c1").text, tags="a, b c"))

    assert (page.status_code, 'id="tags-problem">Lower-case letters.' in page.text) == (422, True)

    api.answers["PATCH /v1/courses/c1"] = (409, {"code": "slug_taken", "detail": "The slug is taken."})
    page = author.post("/teach/c1", data=filled(author.get("/teach/c1").text, slug="ropes"))
    assert 'id="slug-problem">The slug is taken.' in page.text


def test_both_values_are_shown_if_two_people_changed_one_field(author, api):
    fields = filled(author.get("/teach/c1").text, description="My text", title="My title")
    theirs = {**COURSE, "description": "Their text", "summary": "Their summary", "version": 5}
    api.answers["GET /v1/courses/c1/outline"] = (200, theirs)
    api.answers["PATCH /v1/courses/c1"] = (200, COURSE)

    page = author.post("/teach/c1", data=fields)
    assert (page.status_code, api.sent) == (422, [])
    assert re.search(r'name="description"[^>]*>\nMy text', page.text)
    assert re.search(r'name="theirs-description"[^>]*>Their text', page.text)
    assert "theirs-title" not in page.text  # only this person changed it
    assert re.search(r'name="summary"[^>]*>\nTheir summary', page.text)  # only the other person changed it

    again = filled(page.text)
    assert author.post("/teach/c1", data=again).status_code == 303
    assert api.sent.pop()[1:] == ('"5"', {"description": "My text", "title": "My title"})
    taken = {**again, "take-description": "on", "theirs-description": "Their text"}
    assert author.post("/teach/c1", data=taken).status_code == 303
    assert api.sent.pop()[1:] == ('"5"', {"title": "My title"})


def test_change_elsewhere_in_the_course_is_no_conflict(author, api):
    fields = filled(author.get("/teach/c1").text, title="My title")
    api.answers["GET /v1/courses/c1/outline"] = [(200, {**COURSE, "version": 5}), (200, {**COURSE, "version": 6})]
    refusal = (412, {"code": "precondition_failed", "detail": "Changed."})
    api.answers["PATCH /v1/courses/c1"] = [refusal, (200, COURSE)]

    assert author.post("/teach/c1", data=fields).status_code == 303
    assert [version for _name, version, _body in api.sent] == ['"5"', '"6"']


@pytest.mark.parametrize(
    ("moved", "step", "expected"),
    [
        ("a", 1, [("1", ["b", "a"]), ("2", ["c"])]),
        ("b", 1, [("1", ["a"]), ("2", ["b", "c"])]),
        ("c", -1, [("1", ["a", "b", "c"]), ("2", [])]),
        ("a", -1, [("1", ["a", "b"]), ("2", ["c"])]),
        ("c", 1, [("1", ["a", "b"]), ("2", ["c"])]),
        ("gone", 1, [("1", ["a", "b"]), ("2", ["c"])]),
    ],
)
def test_lesson_moves_by_one_place_and_into_the_next_section(moved, step, expected):
    order: Order = [("1", ["a", "b"]), ("2", ["c"])]
    _move_lesson(order, moved, step)
    assert order == expected


def test_section_moves_by_one_place():
    order: Order = [("1", []), ("2", [])]
    _move_section(order, "2", -1)
    _move_section(order, "2", -1)
    assert order == [("2", []), ("1", [])]


def test_duration_is_typed_as_minutes_and_seconds():
    assert [parse_duration(text) for text in ("", "12", "12:30", "0:05")] == [None, 720, 750, 5]
    assert [show_duration(seconds) for seconds in (None, 750, 5)] == ["", "12:30", "0:05"]


def test_rules_of_a_quiz_survive_their_form():
    content = {
        "questions": [{"id": "q1", "text": "?", "correct": ["true"], "pool": "easy"}, {"id": "q2", "text": "!"}],
        "settings": {
            "attempts_max": 3,
            "time_limit_seconds": 90,
            "show_answers": "after_passing",
            "shuffle_questions": True,
            "shuffle_options": False,
            "pools": [{"id": "easy", "draw": 1}],
        },
    }
    assert quiz_content(Form.of(quiz_values(content)), content) == content

    fewer = fit_pools({**content, "questions": content["questions"][1:]})
    assert fewer["settings"]["pools"] == []


def test_problems_of_a_publication_lead_to_their_fields(author, api):
    problems = [
        {"pointer": "/sections/0/lessons/0/duration_seconds", "detail": "It must have a duration."},
        {"pointer": "/prerequisites/0", "detail": "The course is not on sale."},
    ]
    learners = {"not_started": 1, "in_progress": 2, "completed": 0}
    preview = {"course_version": 1, "lessons_added": 1, "lessons_removed": 0, "learners": learners, "errors": problems}
    api.answers["GET /v1/courses/c1/publication-preview"] = (200, preview)
    api.answers["GET /v1/courses/c1/versions"] = (200, {"items": [], "next_cursor": None})
    page = author.get("/teach/c1/publish").text

    assert '<a href="/teach/c1/lessons/l1#duration">The bowline</a><span>It must have a duration.' in page
    assert '<a href="/teach/c1#prerequisites">' in page
    assert re.search(r'<button class="button" disabled>\s*Publish', page)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (
            "choice",
            {"option-a": "One", "correct-a": "on", "option-b": "Two", "correct-b": "on", "option-c": "", "points": "2"},
            {
                "options": [{"id": "a", "text": "One"}, {"id": "b", "text": "Two"}],
                "correct": ["a", "b"],
                "multiple": True,
                "points": 2,
            },
        ),
        ("true_false", {"truth": "false"}, {"correct": ["false"]}),
        ("short_text", {"accepted": "median\n\n the median "}, {"correct": ["median", "the median"]}),
        ("numeric", {"number": "3,14", "tolerance": "0,01"}, {"correct": ["3.14"], "tolerance": "0.01"}),
    ],
)
def test_question_of_each_kind_is_written_as_the_api_takes_it(kind, values, expected):
    question = _question(Form({"text": "Why?", **values}), kind, "q1")

    assert question == {"id": "q1", "kind": kind, "text": "Why?", "points": 1} | expected


def test_owner_adds_an_editor_by_the_address_of_their_page(author, api):
    editor = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    api.answers["PUT /v1/courses/c1/instructors"] = (200, COURSE)
    fields = {"form_token": "f", "version": "4", "person": f"https://shop.example/instructors/{editor}/"}

    assert author.post("/teach/c1/instructors", data=fields).status_code == 303
    assert author.post("/teach/c1/instructors", data=fields | {"person": "Grace"}).status_code == 303
    assert api.sent == [("PUT /v1/courses/c1/instructors", '"4"', {"editor_ids": [editor], "owner_id": "u1"})]


def test_hidden_reviews_are_for_staff(author, api):
    api.answers["GET /v1/courses/c1/reviews"] = (200, {"items": [], "next_cursor": None})
    assert "hidden=1" not in author.get("/teach/c1/reviews").text

    sign_in(author, "courses:write", "courses:admin")
    assert "hidden=1" in author.get("/teach/c1/reviews").text


def test_refused_announcement_keeps_its_text(author, api):
    api.answers["GET /v1/courses/c1/announcements"] = (200, {"items": [], "next_cursor": None})
    api.answers["POST /v1/courses/c1/announcements"] = (
        409,
        {"code": "announcement_limit_reached", "detail": "Enough."},
    )
    fields = {"form_token": "f", "subject": "News", "body": "A new knot"}
    page = author.post("/teach/c1/announcements", data=fields)

    assert (page.status_code, "Enough." in page.text, "A new knot</textarea>" in page.text) == (409, True, True)
