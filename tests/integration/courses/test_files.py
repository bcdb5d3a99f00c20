"""Files of courses: uploads by signed links, checks of the contents, private delivery, deletion of unused ones."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from sqlalchemy.orm import Session

import settings
from core.db import utc_now
from models.commands.courses import Caller
from models.courses.course import Course
from models.courses.files import File, fits_content_type
from models.errors import (
    FileNotUploaded,
    FileNotUsable,
    FileRejected,
    FileTooLarge,
    FileTypeNotAllowed,
    NotFound,
    StorageUnavailable,
    TokenMissing,
)
from ops.dev import storage
from ops.dev.ports import free_base, is_open
from tests.integration.courses.factories import author_of, make_course, make_draft, purchase_of
from tests.support.polling import eventually
from tests.support.tasks import noop_cache
from workers.courses import object_storage
from workers.courses.access import grant_access
from workers.courses.authoring import change_course, publish_course
from workers.courses.copies import duplicate_course, export_course, import_course
from workers.courses.files import (
    complete_upload,
    delete_unused_files,
    list_files,
    remove_file,
    show_cover,
    start_upload,
)
from workers.courses.learning import show_lesson
from workers.courses.outline import change_lesson

PNG = b"\x89PNG\r\n\x1a\n" + bytes(3000)
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 40
VTT = b"WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n"
MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(9000)


class InOneSession:
    """Transactions of a task, in the transaction of the test."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextmanager
    def begin(self) -> Iterator[Session]:
        yield self._session
        self._session.flush()

    def complete(self, _session: Session, result: Any) -> Any:
        return result


@pytest.fixture(scope="module")
def embedded(tmp_path_factory) -> Iterator[str]:
    server = storage.serve(tmp_path_factory.mktemp("storage"), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory) -> Iterator[str]:
    program = shutil.which("versitygw")
    if program is None:
        pytest.skip("versitygw is not installed: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
    folder, port = tmp_path_factory.mktemp("versitygw"), free_base()
    (folder / settings.STORAGE_BUCKET).mkdir()
    login = {"ROOT_ACCESS_KEY_ID": settings.STORAGE_ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": settings.STORAGE_SECRET_KEY}
    command = [program, "--port", f"127.0.0.1:{port}", "--region", settings.STORAGE_REGION, "posix", str(folder)]
    with subprocess.Popen(command, env={**os.environ, **login}, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: is_open(port), "versitygw")
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.fixture(params=["embedded", "versitygw"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use the store of the local stack, and a server that others have written."""
    url: str = request.getfixturevalue(request.param)
    monkeypatch.setattr(settings, "STORAGE_URL", url)
    monkeypatch.setattr(settings, "STORAGE_PUBLIC_URL", url)
    return url


@pytest.fixture
def embedded_store(embedded: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(settings, "STORAGE_URL", embedded)
    monkeypatch.setattr(settings, "STORAGE_PUBLIC_URL", embedded)
    return embedded


def start(session: Session, course: Course, kind: str, content_type: str, size_bytes: int, **caller: Any) -> dict:
    by = caller.get("caller", author_of(course))
    return start_upload(
        session, course_id=course.id, caller=by, kind=kind, name="A file.bin", content_type=content_type,
        size_bytes=size_bytes,
    )  # fmt: skip


def put(started: dict, contents: bytes, **headers: str) -> requests.Response:
    named = {"Content-Type": started["upload"]["content_type"], **{k.replace("_", "-"): v for k, v in headers.items()}}
    return requests.put(started["upload"]["url"], data=contents, headers=named, timeout=10)


def complete(session: Session, course: Course, file_id: UUID) -> dict:
    caller = author_of(course)
    return complete_upload(InOneSession(session), course_id=course.id, file_id=file_id, caller=caller)


def upload(session: Session, course: Course, kind: str, content_type: str, contents: bytes) -> dict:
    started = start(session, course, kind, content_type, len(contents))
    assert put(started, contents).ok
    return complete(session, course, started["id"])


def change(session: Session, course: Course, **fields: Any) -> dict:
    lesson_id = next(course.lessons()).id
    return change_lesson(
        session, course_id=course.id, lesson_id=lesson_id, caller=author_of(course), expected_version=course.version,
        section_id=None, fields=fields,
    )["view"]  # fmt: skip


def attachment(file: dict) -> dict[str, str]:
    return {"file_id": str(file["id"]), "role": "attachment"}


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


def test_contents_of_another_type_are_refused_and_deleted(session: Session, store: str):
    course = make_draft(session, lessons=0)
    page = b"<html><script>alert(1)</script>".ljust(len(PNG))
    started = start(session, course, "cover", "image/png", len(page))
    assert put(started, page).ok

    with pytest.raises(FileRejected):
        complete(session, course, started["id"])

    assert object_storage.read_start(session.get_one(File, started["id"]).key) is None
    assert put(started, PNG).ok
    assert complete(session, course, started["id"])["status"] == "ready"


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


def test_cover_is_public_and_named_by_the_course(session: Session, embedded_store: str):
    course = make_course(session)
    cover = upload(session, course, "cover", "image/png", PNG)
    fields = {"cover_file_id": cover["id"]}
    versioned = {"caller": author_of(course), "expected_version": course.version}

    shown = change_course(session, noop_cache, ref=course.slug, fields=fields, **versioned)

    assert shown["cover_url"] == f"{settings.PUBLIC_URL}/v1/covers/{cover['id']}"
    assert requests.get(show_cover(session, file_id=cover["id"])["url"], timeout=10).content == PNG
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    with pytest.raises(NotFound):
        show_cover(session, file_id=pdf["id"])
    versioned["expected_version"] = course.version
    with pytest.raises(NotFound):
        change_course(session, noop_cache, ref=course.slug, fields={"cover_file_id": pdf["id"]}, **versioned)


def test_lesson_uses_only_checked_files_of_its_authors(session: Session, embedded_store: str):
    course, other = make_draft(session, lessons=1), make_draft(session, lessons=1)
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    foreign = upload(session, other, "attachment", "application/pdf", PDF)
    pending = start(session, course, "attachment", "application/pdf", 10)

    for file_id in (foreign["id"], pending["id"], uuid4()):
        with pytest.raises(FileNotUsable):
            change(session, course, files=[{"file_id": str(file_id), "role": "attachment"}])
    with pytest.raises(FileNotUsable):  # another kind
        change(session, course, kind="video", content={"file_id": str(pdf["id"])})
    with pytest.raises(NotFound):
        start(session, course, "cover", "image/png", 10, caller=Caller(uuid4()))
    with pytest.raises(NotFound):
        list_files(session, course_id=course.id, caller=Caller(uuid4()), after=None, limit=5)


def test_change_of_files_makes_an_event_and_a_version(session: Session, embedded_store: str):
    course = make_course(session, lessons=1)
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    version = course.version

    change(session, course, files=[attachment(pdf)])
    assert course.version == version + 1
    change(session, course, files=[attachment(pdf)])
    assert course.version == version + 1  # no effect
    publish_course(session, noop_cache, ref=course.slug, caller=author_of(course))
    assert course.published_version == 2
    publish_course(session, noop_cache, ref=course.slug, caller=author_of(course))
    assert course.published_version == 2


def test_unused_files_are_deleted(session: Session, embedded_store: str):
    course = make_draft(session, lessons=1)
    names = ("unused", "published", "draft", "copied", "cover", "pending", "new")
    attached = set(names) - {"cover", "pending"}
    files = {name: upload(session, course, "attachment", "application/pdf", PDF) for name in attached}
    files["cover"] = upload(session, course, "cover", "image/png", PNG)
    files["pending"] = start(session, course, "cover", "image/png", 5)
    change(session, course, files=[attachment(files["published"])])
    versioned = {"caller": author_of(course), "expected_version": course.version}
    change_course(session, noop_cache, ref=course.slug, fields={"cover_file_id": files["cover"]["id"]}, **versioned)
    publish_course(session, noop_cache, ref=course.slug, caller=author_of(course))
    change(session, course, files=[attachment(files["copied"])])
    duplicate_course(session, ref=course.slug, caller=author_of(course))
    change(session, course, files=[attachment(files["draft"])])
    for name in names[:-1]:
        session.get_one(File, files[name]["id"]).created_at = utc_now() - timedelta(days=2)
    session.flush()

    hints: list[Any] = []
    delete_unused_files(session, hints.append)
    for hint in hints:
        remove_file(InOneSession(session), file_id=hint.file_id)

    assert {hint.file_id for hint in hints} == {files["unused"]["id"], files["pending"]["id"]}
    listed = list_files(session, course_id=course.id, caller=author_of(course), after=None, limit=20)["items"]
    assert {each["id"] for each in listed} == {files[name]["id"] for name in names} - {hint.file_id for hint in hints}


def test_duplicates_and_documents_keep_files(session: Session, embedded_store: str):
    course = make_draft(session, lessons=1)
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    change(session, course, files=[attachment(pdf)])
    document = export_course(session, ref=course.slug, caller=author_of(course))

    imported = import_course(session, instructor_id=course.instructor_id, document=document)

    assert export_course(session, ref=str(imported["id"]), caller=author_of(course)) == document
    with pytest.raises(FileNotUsable):
        import_course(session, instructor_id=uuid4(), document=document)


def test_nothing_is_stored_without_a_store(session: Session, monkeypatch: pytest.MonkeyPatch):
    course = make_draft(session, lessons=0)
    monkeypatch.setattr(settings, "STORAGE_PUBLIC_URL", "")
    with pytest.raises(StorageUnavailable):
        start(session, course, "cover", "image/png", 10)
    monkeypatch.setattr(settings, "STORAGE_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageUnavailable):
        object_storage.read_start("x")
