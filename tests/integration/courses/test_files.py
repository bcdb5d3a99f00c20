"""Files of courses: uploads by signed links, checks of the contents, private delivery."""

import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import UUID, uuid4

import pytest
import requests
from sqlalchemy.orm import Session

import settings
from core.db import utc_now
from models.commands.courses import Caller
from models.courses.files import File, fits_content_type
from models.errors import (
    FileNotUploaded,
    FileRejected,
    FileTooLarge,
    FileTypeNotAllowed,
    NotFound,
    StorageUnavailable,
    TokenMissing,
    TooManyUploads,
)
from tests.integration.courses.factories import author_of, make_draft, purchase_of
from tests.integration.courses.uploads import (
    MP4,
    PDF,
    PNG,
    VTT,
    attachment,
    change,
    complete,
    put,
    start,
    upload,
)
from tests.support.polling import eventually
from tests.support.tasks import noop_cache
from workers.courses import object_storage
from workers.courses.access import grant_access
from workers.courses.authoring import publish_course
from workers.courses.files import (
    show_cover,
)
from workers.courses.learning import show_lesson


def test_uploaded_files_are_delivered_to_learners_only(session: Session, store: str):
    course = make_draft(session, lessons=1)
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    captions = upload(session, course, "captions", "text/vtt", VTT)
    video = upload(session, course, "video", "video/mp4", MP4)
    files = [attachment(pdf), {"file_id": str(captions["id"]), "role": "captions", "language": "en"}]
    change(session, course, kind="video", content={"file_id": str(video["id"])}, files=files)
    publish_course(session, noop_cache, ref=course.slug, caller=author_of(course))
    learner, lesson_id = Caller(uuid4()), next(course.lessons()).id
    grant_access(session, event=purchase_of(course, user_id=learner.user_id))

    shown = show_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=learner)["view"]

    got = [requests.get(each["url"], timeout=10) for each in shown["files"]]
    assert [each.content for each in got] == [PDF, VTT]
    assert got[0].headers["Content-Disposition"] == "attachment; filename*=UTF-8''A%20file.bin"
    assert got[1].headers["Content-Type"] == "text/vtt"
    part = requests.get(shown["content"]["url"], headers={"Range": "bytes=4-11"}, timeout=10)
    assert (part.status_code, part.content) == (206, MP4[4:12])
    for caller, refusal in ((None, TokenMissing), (Caller(uuid4()), Exception)):
        with pytest.raises(refusal):
            show_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=caller)
    assert requests.get(shown["files"][0]["url"].partition("?")[0], timeout=10).status_code in {400, 401, 403}


@pytest.mark.parametrize(
    "forge", [lambda url: url.replace("Signature=", "Signature=0"), lambda url: url.replace("/attachment/", "/video/")]
)
def test_link_is_valid_for_its_file_only(session: Session, store: str, forge):
    course = make_draft(session, lessons=1)
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    shown = change(session, course, files=[attachment(pdf)])
    lesson = show_lesson(session, course_id=course.id, lesson_id=UUID(shown["id"]), caller=author_of(course))["view"]
    url = lesson["files"][0]["url"]

    assert requests.get(url, timeout=10).status_code == 200
    assert requests.get(forge(url), timeout=10).status_code == 403
    assert requests.put(url, data=b"x", timeout=10).status_code == 403
    assert requests.delete(url, timeout=10).status_code == 403


def test_link_ends(session: Session, store: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "FILE_LINK_SECONDS", 1)
    course = make_draft(session, lessons=1)
    cover = upload(session, course, "cover", "image/png", PNG)
    url = show_cover(session, file_id=cover["id"])["url"]

    eventually(lambda: requests.get(url, timeout=10).status_code == 403, "the end of the link")


def test_upload_takes_the_declared_type_and_size_only(session: Session, store: str):
    course = make_draft(session, lessons=0)
    started = start(session, course, "cover", "image/png", len(PNG))

    assert put(started, PNG + b"x").status_code == 403
    assert put(started, PNG, Content_Type="text/html").status_code == 403
    with pytest.raises(FileNotUploaded):
        complete(session, course, started["id"])
    assert put(started, PNG).ok
    assert complete(session, course, started["id"])["status"] == "ready"
    assert complete(session, course, started["id"])["status"] == "ready"


def test_checked_contents_cannot_be_replaced(session: Session, store: str):
    course = make_draft(session, lessons=0)
    started = start(session, course, "cover", "image/png", len(PNG))
    assert put(started, PNG).ok
    complete(session, course, started["id"])
    other = b"<html><script>alert(1)</script>".ljust(len(PNG))

    without = {name: value for name, value in started["upload"]["headers"].items() if name != "If-None-Match"}
    refused = requests.put(started["upload"]["url"], data=other, headers=without, timeout=10)

    assert (put(started, other).status_code, refused.status_code) == (412, 403)
    assert requests.get(show_cover(session, file_id=started["id"])["url"], timeout=10).content == PNG


def test_contents_of_another_type_are_refused_and_deleted(session: Session, store: str):
    course = make_draft(session, lessons=0)
    page = b"<html><script>alert(1)</script>".ljust(len(PNG))
    started = start(session, course, "cover", "image/png", len(page))
    assert put(started, page).ok

    with pytest.raises(FileRejected):
        complete(session, course, started["id"])

    assert object_storage.read_start(session.get_one(File, started["id"]).key) is None
    assert put(started, PNG).ok  # the link has not ended
    with pytest.raises(NotFound):
        complete(session, course, started["id"])
    assert File.mark_unused(session, before=utc_now() + timedelta(days=1), limit=5) == [started["id"]]


@pytest.mark.parametrize(
    ("kind", "content_type", "size_bytes", "refusal"),
    [
        ("cover", "image/svg+xml", 100, FileTypeNotAllowed),
        ("cover", "image/png", 5 * 1024 * 1024 + 1, FileTooLarge),
        ("attachment", "text/html", 100, FileTypeNotAllowed),
        ("captions", "text/vtt", 2 * 1024 * 1024 + 1, FileTooLarge),
        ("video", "video/quicktime", 100, FileTypeNotAllowed),
    ],
)
def test_types_and_sizes_are_limited(session: Session, kind, content_type, size_bytes, refusal):
    course = make_draft(session, lessons=0)
    with pytest.raises(refusal):
        start(session, course, kind, content_type, size_bytes)


@pytest.mark.parametrize(
    ("content_type", "contents", "fits"),
    [
        ("image/jpeg", b"\xff\xd8\xff\xe0", True),
        ("image/webp", b"RIFF\x00\x00\x00\x00WEBPVP8 ", True),
        ("image/webp", b"RIFF\x00\x00\x00\x00WAVE", False),
        ("video/webm", b"\x1a\x45\xdf\xa3", True),
        ("video/mp4", b"<html>ftyp", False),
        ("application/zip", b"PK\x03\x04", True),
        ("text/plain", "Ёлка".encode(), True),
        ("text/plain", b"\xff\xfe\x00", False),
        ("text/csv", b"a,b\n1,2", True),
        ("text/plain", b" <!doctype html>", False),
        ("text/plain", ("я" * 5000).encode()[:4096], True),
        ("text/vtt", b"hello", False),
        ("audio/mpeg", b"ID3\x04", True),
    ],
)
def test_type_is_recognised_by_contents(content_type: str, contents: bytes, fits):
    assert fits_content_type(content_type, contents) is fits


def test_uploads_in_progress_are_limited(session: Session, embedded_store: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("models.courses.files.PENDING_MAX", 2)
    course, other = make_draft(session, lessons=0), make_draft(session, lessons=0)
    started = [start(session, course, "cover", "image/png", len(PNG)) for _ in range(2)]

    with pytest.raises(TooManyUploads):
        start(session, course, "cover", "image/png", len(PNG))

    start(session, other, "cover", "image/png", len(PNG))
    assert put(started[0], PNG).ok
    complete(session, course, started[0]["id"])
    start(session, course, "cover", "image/png", len(PNG))


def test_nothing_is_stored_without_a_store(session: Session, monkeypatch: pytest.MonkeyPatch):
    course = make_draft(session, lessons=0)
    monkeypatch.setattr(settings, "STORAGE_PUBLIC_URL", "")
    with pytest.raises(StorageUnavailable):
        start(session, course, "cover", "image/png", 10)
    monkeypatch.setattr(settings, "STORAGE_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageUnavailable):
        object_storage.read_start("x")


def test_store_that_breaks_off_is_unavailable(monkeypatch: pytest.MonkeyPatch):
    class BreaksOff(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setattr(settings, "STORAGE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(StorageUnavailable):
            object_storage.read_start("x")
