from collections.abc import Iterator
from uuid import uuid4

import pytest
import requests

import settings
from core.db import session_factory
from tests.integration.courses.factories import fields, make_catalogue, make_course
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[None]:
    with running_worker("users", "courses"):
        yield


@pytest.fixture
def client(monkeypatch):
    trust_test_tokens(monkeypatch)
    return gateway().test_client()


@pytest.fixture
def author(client) -> Person:
    return Person(client, permissions=("courses:write",))


@pytest.fixture
def learner(client) -> Person:
    return Person(client)


def create_committed(make, *args, **overrides):
    with session_factory("courses").begin() as session:
        return make(session, *args, **overrides)


def status_and_code(response):
    return response.status_code, response.json["code"]


def publish_by_http(author: Person, **overrides) -> dict:
    course = author.send("POST", "/v1/courses", fields(**overrides)).json
    path = f"/v1/courses/{course['id']}"
    section = author.send("POST", f"{path}/sections", {"title": "All of it"}).json
    lesson = {"title": "One", "section_id": section["id"], "kind": "text", "content": {"body": "Words."}}
    assert author.send("POST", f"{path}/lessons", lesson).status_code == 201
    return author.send("POST", f"{path}/publish").json


def test_catalogue_is_paged_without_authentication(client):
    category = create_committed(make_catalogue, *({"title": f"Course {n}"} for n in range(5)))
    path, titles = f"/v1/courses?category={category}&limit=2&total=true", []
    while path:
        response = client.get(path)
        assert response.json["total"] == 5
        titles += [item["title"] for item in response.json["items"]]
        link = response.headers.get("Link")
        assert (link is None) == (response.json["next_cursor"] is None)
        path = link and link.split("/v1")[1].split(">")[0].join(("/v1", ""))

    assert titles == [f"Course {n}" for n in (4, 3, 2, 1, 0)]


def test_cursor_is_valid_for_its_query_only(client):
    category = create_committed(make_catalogue, {}, {})
    cursor = client.get(f"/v1/courses?category={category}&limit=1").json["next_cursor"]

    assert client.get(f"/v1/courses?category={category}&limit=1&cursor={cursor}").status_code == 200
    for wrong in (
        f"category={category}&cursor={cursor[:-3]}AAA",
        f"category={category}&cursor=nonsense",
        f"category={category}&sort=price&cursor={cursor}",
        f"cursor={cursor}",
    ):
        assert status_and_code(client.get(f"/v1/courses?{wrong}")) == (400, "cursor_invalid")


@pytest.mark.parametrize(
    "query",
    [
        "colour=red",
        "level=expert",
        "limit=0",
        "limit=101",
        "sort=title",
        "sort=relevance",
        "price_min=-1",
        "price_max=100",
        "q=%00",
        "q=+",
        "instructor_id=me",
        "free=perhaps",
    ],
)
def test_invalid_query_returns_422(client, query):
    response = client.get(f"/v1/courses?{query}")

    assert status_and_code(response) == (422, "validation_failed")
    assert response.json["errors"][0]["parameter"] == query.split("=")[0]


def test_facets_are_returned_on_request(client):
    category = create_committed(make_catalogue, {})
    plain = client.get(f"/v1/courses?category={category}").json
    counted = client.get(f"/v1/courses?category={category}&facets=true").json

    assert plain.keys() == {"items", "next_cursor"}
    assert counted["facets"]["price"] == [{"value": "paid", "count": 1}]


def test_course_is_found_by_id_and_slug(client):
    course = create_committed(make_course)
    by_slug = client.get(f"/v1/courses/{course.slug}")

    assert by_slug.status_code == 200
    assert by_slug.headers["ETag"] == f'"{course.version}"'
    assert client.get(f"/v1/courses/{str(course.id).upper()}").data == by_slug.data
    assert client.get(f"/v1/courses/{course.id}", headers={"If-None-Match": by_slug.headers["ETag"]}).status_code == 304


def test_unknown_course_returns_404(client, author):
    for ref in (uuid4(), "no-such-course", "No Such", "%00", "a" * 500):
        assert status_and_code(client.get(f"/v1/courses/{ref}")) == (404, "not_found")
        assert status_and_code(author.get(f"/v1/courses/{ref}")) == (404, "not_found")


def test_course_lifecycle_over_http(client, author):
    created = author.send("POST", "/v1/courses", fields())
    path = created.headers["Location"]
    assert (created.status_code, created.json["status"], created.headers["ETag"]) == (201, "draft", '"1"')
    assert client.get(path).status_code == 404
    assert author.get(path).json == created.json
    assert status_and_code(author.send("POST", f"{path}/publish")) == (409, "course_empty")

    section = author.send("POST", f"{path}/sections", {"title": "Only"})
    lesson = {"title": "One", "section_id": section.json["id"], "kind": "video", "content": {"url": "https://v.test/1"}}
    added = author.send("POST", f"{path}/lessons", lesson)
    assert (section.status_code, added.status_code, added.headers["ETag"]) == (201, 201, '"3"')
    assert author.get(added.headers["Location"]).json == added.json

    assert status_and_code(author.send("POST", f"{path}/publish", If_Match='"1"')) == (412, "precondition_failed")
    published = author.send("POST", f"{path}/publish", If_Match='"3"')
    assert client.get(path).json == published.json
    assert author.send("POST", f"{path}/versions").json == published.json  # nothing to publish

    cheaper = {"price": {"amount_minor": 100, "currency": "USD"}}
    patched = author.send("PATCH", path, cheaper, If_Match=published.headers["ETag"])
    assert patched.status_code == 200
    assert client.get(path).json["price"]["amount_minor"] == 100

    author.send("POST", f"{path}/unpublish")
    assert client.get(path).status_code == 404
    assert client.get(f"/v1/courses/{published.json['slug']}").status_code == 404
    tag = author.get(path).headers["ETag"]
    assert author.send("DELETE", path, If_Match=tag).status_code == 204
    assert author.get(path).status_code == 404


def test_outline_is_edited_over_http(author):
    course = publish_by_http(author)
    path = f"/v1/courses/{course['id']}"
    (section,) = course["sections"]
    (lesson,) = section["lessons"]

    def change(method, below, body=None):
        return author.send(method, path + below, body, If_Match=author.get(path).headers["ETag"])

    assert change("PATCH", f"/sections/{section['id']}", {"title": "Renamed"}).json["title"] == "Renamed"
    changes = {"free_preview": True, "completion": {"rule": "viewed"}, "unlock": {"at": "2030-01-01T00:00:00+02:00"}}
    changed = change("PATCH", f"/lessons/{lesson['id']}", changes).json
    assert (changed["completion"], changed["unlock"]) == ({"rule": "viewed"}, {"at": "2029-12-31T22:00:00Z"})
    outline = {"sections": [{"title": "New"}, {"id": section["id"], "lessons": [lesson["id"]]}]}
    assert status_and_code(change("PUT", "/outline", outline)) == (422, "validation_failed")
    outline["sections"][0]["lessons"] = []
    shown = change("PUT", "/outline", outline).json
    assert [each["title"] for each in shown["sections"]] == ["New", "Renamed"]
    assert change("DELETE", f"/lessons/{lesson['id']}").status_code == 204
    assert change("DELETE", f"/sections/{section['id']}").status_code == 204
    assert status_and_code(change("DELETE", f"/sections/{section['id']}")) == (404, "not_found")


def test_error_precedence_follows_contract(client, author, learner):
    course = publish_by_http(author)
    path, unknown = f"/v1/courses/{course['id']}", f"/v1/courses/{uuid4()}"
    stranger = Person(client, permissions=("courses:write",))
    bad = {"colour": "red"}

    assert status_and_code(client.patch(path, json=bad)) == (401, "token_missing")
    assert status_and_code(learner.send("PATCH", path, bad)) == (403, "insufficient_permission")
    assert status_and_code(author.send("PATCH", unknown, bad)) == (404, "not_found")
    assert status_and_code(stranger.send("PATCH", path, bad, If_Match='"1"')) == (404, "not_found")
    assert status_and_code(author.send("PATCH", path, bad)) == (428, "precondition_required")
    assert status_and_code(author.send("PATCH", path, bad, If_Match='"1"')) == (422, "validation_failed")
    assert status_and_code(author.send("PATCH", path, {"title": "Late"}, If_Match='"1"')) == (
        412,
        "precondition_failed",
    )
    assert status_and_code(author.send("POST", f"{unknown}/lessons", bad)) == (404, "not_found")


@pytest.mark.parametrize(
    ("overrides", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": "\x00"}, "/title"),
        ({"price": {"amount_minor": "4900", "currency": "USD"}}, "/price/amount_minor"),
        ({"price": {"amount_minor": 4900}}, "/price/currency"),
        ({"price": {"amount_minor": 4900, "currency": "usd"}}, "/price/currency"),
        ({"price": {"amount_minor": 4900, "currency": "ZZZ"}}, "/price/currency"),
        ({"price": {"amount_minor": 4900, "currency": "XXX"}}, "/price/currency"),
        ({"price": {"amount_minor": 4900, "currency": "XAU"}}, "/price/currency"),
        ({"tags": ["Not a word"]}, "/tags/0"),
        ({"level": "guru"}, "/level"),
        ({"sequential": "yes"}, "/sequential"),
        ({"status": "published"}, "/status"),
    ],
)
def test_invalid_body_returns_422_with_pointer(author, overrides, pointer):
    response = author.send("POST", "/v1/courses", fields(**overrides))

    assert status_and_code(response) == (422, "validation_failed")
    assert [error["pointer"] for error in response.json["errors"]] == [pointer]


def test_quiz_answers_must_be_among_options(author):
    course = author.send("POST", "/v1/courses", fields()).json
    path = f"/v1/courses/{course['id']}"
    section = author.send("POST", f"{path}/sections", {"title": "Quiz"}).json
    question = {"id": "q", "text": "?", "options": [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}]}
    lesson = {"title": "Quiz", "section_id": section["id"], "kind": "quiz"}

    for correct, status in ((["a"], 201), (["c"], 422), (["a", "b"], 422), ([], 422)):
        content = {"questions": [{**question, "correct": correct}]}
        assert author.send("POST", f"{path}/lessons", {**lesson, "content": content}).status_code == status
    assert status_and_code(author.send("POST", f"{path}/lessons", {**lesson, "content": {"body": "No quiz."}})) == (
        422,
        "invalid_content",
    )


def test_only_free_course_allows_direct_enrollment(author, learner):
    free = publish_by_http(author, price={"amount_minor": 0, "currency": "USD"})
    paid = publish_by_http(author)

    first = learner.send("POST", f"/v1/courses/{free['id']}/enrollments")
    again = learner.send("POST", f"/v1/courses/{free['id']}/enrollments", {})
    assert (first.status_code, again.status_code, first.json) == (201, 201, again.json)
    assert status_and_code(learner.send("POST", f"/v1/courses/{paid['id']}/enrollments")) == (409, "payment_required")
    assert learner.get("/v1/me/enrollments").json == {"items": [first.json], "next_cursor": None}
    assert learner.get(f"/v1/me/courses/{free['id']}/access").json["reason"] == "free"
    assert learner.get(f"/v1/me/courses/{paid['id']}/access").json["access"] is False


def test_only_admins_enroll_other_users(client, author, learner):
    course = publish_by_http(author)
    admin = Person(client, permissions=("courses:admin",))
    body = {"user_id": learner.get("/v1/me").json["id"]}
    lesson_id = course["sections"][0]["lessons"][0]["id"]
    path = f"/v1/courses/{course['id']}"

    assert status_and_code(learner.send("POST", f"{path}/enrollments", body)) == (403, "insufficient_permission")
    assert status_and_code(learner.get(f"{path}/lessons/{lesson_id}")) == (403, "not_enrolled")
    assert status_and_code(client.get(f"{path}/lessons/{lesson_id}")) == (401, "token_missing")
    unknown = {"user_id": str(uuid4())}
    assert status_and_code(admin.send("POST", f"{path}/enrollments", unknown)) == (404, "not_found")
    assert admin.send("POST", f"{path}/enrollments", body).status_code == 201
    assert learner.get(f"{path}/lessons/{lesson_id}").json["content"] == {"body": "Words."}


def test_reviews_are_replied_to_moderated_and_deleted_over_http(client, author, learner):
    course = publish_by_http(author, price={"amount_minor": 0, "currency": "USD"})
    path, own = f"/v1/courses/{course['id']}/reviews", f"/v1/me/courses/{course['id']}/review"
    staff = Person(client, permissions=("courses:admin",))
    learner.send("POST", f"/v1/courses/{course['id']}/enrollments")
    written = learner.send("POST", path, {"rating": 2, "text": "Too fast."}).json
    review = f"{path}/{written['id']}"

    assert author.send("PUT", f"{review}/reply", {"text": "Thank you."}).json["reply"]["text"] == "Thank you."
    assert status_and_code(author.send("PUT", f"{review}/reply", {"text": " "})) == (422, "validation_failed")
    assert status_and_code(learner.send("PUT", f"{review}/reply", {"text": "x"})) == (403, "insufficient_permission")
    assert client.get(path).json["items"][0]["reply"]["text"] == "Thank you."
    assert author.send("DELETE", f"{review}/reply").status_code == 204
    assert status_and_code(author.send("POST", f"{review}/hide", {"reason": "x"})) == (403, "insufficient_permission")
    assert staff.send("POST", f"{review}/hide", {"reason": "Insults."}).json["hidden"]["reason"] == "Insults."
    assert client.get(path).json["items"] == []
    assert status_and_code(client.get(f"{path}?hidden=true")) == (403, "insufficient_permission")
    assert [each["id"] for each in staff.get(f"{path}?hidden=true").json["items"]] == [written["id"]]
    assert learner.get(own).json["hidden"]["reason"] == "Insults."
    assert staff.send("POST", f"{review}/show").json["hidden"] is None
    assert learner.send("DELETE", own).status_code == 204
    assert status_and_code(learner.get(own)) == (404, "not_found")


def test_free_course_is_left_and_joined_again_over_http(author, learner):
    course = publish_by_http(author, price={"amount_minor": 0, "currency": "USD"})
    enrollments, leave = f"/v1/courses/{course['id']}/enrollments", f"/v1/me/courses/{course['id']}/leave"
    assert status_and_code(learner.send("POST", leave)) == (404, "not_found")
    learner.send("POST", enrollments)

    assert [learner.send("POST", leave).status_code for _ in range(2)] == [204, 204]
    assert learner.get(f"/v1/me/courses/{course['id']}/access").json["access"] is False
    assert learner.send("POST", enrollments).json["status"] == "active"
    assert learner.get(f"/v1/me/courses/{course['id']}/access").json["access"] is True


def test_instructors_are_chosen_and_shown_over_http(client, author):
    course = publish_by_http(author)
    path = f"/v1/courses/{course['id']}/instructors"
    editor = Person(client, name="Eve Editor", permissions=("courses:write",))
    of_token = {f"{settings.CLAIMS_NAMESPACE}roles": ["instructor"]}
    editor_id = editor.send("GET", "/v1/me", claims=of_token).json["id"]
    shown = author.get(path)
    assert shown.json == {"owner_id": course["instructor_id"], "editor_ids": []}

    tag = shown.headers["ETag"]
    assert status_and_code(author.send("PUT", path, {"editor_ids": [editor_id]})) == (428, "precondition_required")
    unknown = author.send("PUT", path, {"editor_ids": [str(uuid4())]}, If_Match=tag)
    assert status_and_code(unknown) == (404, "not_found")
    assert author.send("PUT", path, {"editor_ids": [editor_id]}, If_Match=tag).json["editor_ids"] == [editor_id]
    tag = editor.get(path).headers["ETag"]
    another = {"editor_ids": [editor_id, Person(client).get("/v1/me").json["id"]]}
    assert status_and_code(editor.send("PUT", path, another, If_Match=tag)) == (403, "not_course_owner")
    assert client.get(f"/v1/courses/{course['slug']}").json["editor_ids"] == [editor_id]
    assert [each["id"] for each in client.get(f"/v1/courses?instructor_id={editor_id}").json["items"]] == [course["id"]]

    assert client.get(f"/v1/instructors/{editor_id}").json.keys() == {"id", "name", "avatar_url", "bio"}
    assert status_and_code(client.get(f"/v1/instructors/{uuid4()}")) == (404, "not_found")
    learner_id = Person(client).get("/v1/me").json["id"]
    assert status_and_code(client.get(f"/v1/instructors/{learner_id}")) == (404, "not_found")


def test_slug_archive_and_copies_over_http(client, author):
    course = publish_by_http(author)
    path, new = f"/v1/courses/{course['id']}", f"renamed-{uuid4().hex[:8]}"
    for bad in ("Upper", "two--hyphens", "-x", "a" * 101, str(uuid4()), uuid4().hex):
        refused = author.send("PATCH", path, {"slug": bad}, If_Match='"1"')
        assert (status_and_code(refused), refused.json["errors"][0]["pointer"]) == ((422, "validation_failed"), "/slug")
    assert author.send("PATCH", path, {"slug": new}, If_Match=f'"{course["version"]}"').status_code == 200
    for ref in (course["slug"], new):
        assert client.get(f"/v1/courses/{ref}").json["slug"] == new
    assert status_and_code(author.send("POST", "/v1/courses", fields(slug=course["slug"]))) == (409, "slug_taken")

    copy = author.send("POST", f"{path}/copies")
    assert (copy.status_code, copy.json["title"], copy.json["status"]) == (201, course["title"], "draft")
    assert author.get(copy.headers["Location"]).json == copy.json
    assert author.send("DELETE", path, If_Match=author.get(path).headers["ETag"]).status_code == 204
    archived = author.get("/v1/me/courses/teaching?status=archived").json["items"]
    assert [each["id"] for each in archived] == [course["id"]]
    assert author.send("POST", f"{path}/unarchive").json["status"] == "draft"
    assert author.get(path).status_code == 200


def test_course_is_exported_and_imported_over_http(client, author):
    course = publish_by_http(author)
    path, lesson = f"/v1/courses/{course['id']}", course["sections"][0]["lessons"][0]["id"]
    opens = {"unlock": {"at": "2030-01-01T00:00:00+02:00"}}
    author.send("PATCH", f"{path}/lessons/{lesson}", opens, If_Match=author.get(path).headers["ETag"])
    document = author.get(f"/v1/courses/{course['slug']}/export").json

    imported = author.send("POST", "/v1/course-imports", document, Idempotency_Key=uuid4().hex)

    assert (imported.status_code, imported.json["lessons_total"]) == (201, 1)
    assert document["sections"][0]["lessons"][0]["unlock"] == {"at": "2029-12-31T22:00:00Z"}
    assert author.get(f"/v1/courses/{imported.json['id']}/export").json == document
    stranger = Person(client, permissions=("courses:write",))
    assert status_and_code(stranger.get(f"/v1/courses/{course['slug']}/export")) == (404, "not_found")


@pytest.mark.parametrize(
    ("overrides", "pointers"),
    [
        ({"format": "coursebus-course/2"}, ["/format"]),
        ({"course": {}}, [f"/course/{name}" for name in ("category", "language", "level", "price", "title")]),
        (
            {"sections": [{"title": "", "lessons": [{"kind": "poem"}]}]},
            [f"/sections/0/{each}" for each in ("lessons/0/content", "lessons/0/kind", "lessons/0/title", "title")],
        ),
        ({"prerequisites": ["no-such-course"]}, ["/prerequisites/0"]),
        ({"colour": "red"}, ["/colour"]),
    ],
    ids=str,
)
def test_invalid_document_is_refused_with_pointers(author, overrides, pointers):
    document = {"format": "coursebus-course/1", "course": fields(), "sections": [], **overrides}

    refused = author.send("POST", "/v1/course-imports", document)

    assert refused.status_code == 422
    assert [each["pointer"] for each in refused.json["errors"]] == pointers


def test_files_are_uploaded_and_delivered_over_http(client, author, learner):
    course = publish_by_http(author, price={"amount_minor": 0, "currency": "USD"})
    path, lesson_id = f"/v1/courses/{course['id']}", course["sections"][0]["lessons"][0]["id"]

    def upload(kind, content_type, contents):
        fields = {"kind": kind, "name": "a", "content_type": content_type, "size_bytes": len(contents)}
        started = author.send("POST", f"{path}/files", fields)
        headers = started.json["upload"]["headers"]
        assert (started.status_code, started.json["status"]) == (201, "pending")
        assert requests.put(started.json["upload"]["url"], contents, headers=headers, timeout=10).ok
        completed = author.send("POST", f"{path}/files/{started.json['id']}/complete")
        assert completed.json["status"] == "ready"
        return completed.json["id"]

    cover, pdf = (
        upload("cover", "image/png", b"\x89PNG\r\n\x1a\n00"),
        upload("attachment", "application/pdf", b"%PDF-1"),
    )
    patched = author.send("PATCH", path, {"cover_file_id": cover}, If_Match=author.get(path).headers["ETag"]).json
    files = {"files": [{"file_id": pdf, "role": "attachment", "label": "Slides"}]}
    author.send("PATCH", f"{path}/lessons/{lesson_id}", files, If_Match=author.get(path).headers["ETag"])
    assert author.send("POST", f"{path}/publish").status_code == 200
    learner.send("POST", f"{path}/enrollments")

    redirect = client.get(patched["cover_url"].split("/v1")[1].join(("/v1", "")))
    assert (redirect.status_code, redirect.headers["Cache-Control"]) == (302, "public, max-age=600")
    shown = learner.get(f"{path}/lessons/{lesson_id}")
    again = learner.get(f"{path}/lessons/{lesson_id}", If_None_Match=shown.headers["ETag"])
    assert (again.status_code, again.headers["Cache-Control"]) == (200, "private, no-store")
    [file] = shown.json["files"]
    assert (file["label"], requests.get(file["url"], timeout=10).content) == ("Slides", b"%PDF-1")
    preview = author.get(f"{path}/preview/lessons/{lesson_id}")
    assert requests.get(preview.json["files"][0]["url"], timeout=10).content == b"%PDF-1"
    assert preview.headers["Cache-Control"] == "private, no-store"
    assert len(author.get(f"{path}/files").json["items"]) == 2
    refused = author.send(
        "POST", f"{path}/files", {"kind": "cover", "name": "a", "content_type": "no", "size_bytes": 0}
    )
    assert [each["pointer"] for each in refused.json["errors"]] == ["/content_type", "/size_bytes"]
    assert status_and_code(learner.get(f"{path}/files")) == (403, "insufficient_permission")


def test_author_lists_own_courses(author, learner):
    course = publish_by_http(author)
    listed = author.get("/v1/me/courses/teaching").json

    assert [(item["id"], item["status"]) for item in listed["items"]] == [(course["id"], "published")]
    assert status_and_code(learner.get("/v1/me/courses/teaching")) == (403, "insufficient_permission")
