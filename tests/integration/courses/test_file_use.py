"""Files that covers and lessons use: who may use them, and the deletion of unused ones."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from sqlalchemy import select, text
from sqlalchemy.orm import Session

import settings
from core.bus.export_parts import ExportPart
from core.bus.outbox import OutboxEvent
from core.db import utc_now
from models.commands.courses import Caller
from models.courses.course import Course
from models.courses.files import File
from models.courses.reviews import Review
from models.errors import (
    FileNotUsable,
    NotFound,
)
from models.events import UserDeleted, UserExportRequested
from tests.integration.courses.factories import author_of, make_course, make_draft, make_lesson
from tests.integration.courses.uploads import (
    MP4,
    PDF,
    PNG,
    InOneSession,
    attachment,
    change,
    complete,
    put,
    start,
    upload,
)
from tests.support.events import build_event
from tests.support.tasks import noop_cache
from workers.courses import object_storage
from workers.courses.authoring import change_course, publish_course
from workers.courses.copies import duplicate_course, export_course, import_course
from workers.courses.files import (
    delete_unused_files,
    list_files,
    remove_file,
    show_cover,
)
from workers.courses.learning import show_lesson
from workers.courses.personal_data import erase_data, export_data


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


def age(session: Session, *files: dict, days: int = 2) -> None:
    for file in files:
        session.get_one(File, file["id"]).created_at = utc_now() - timedelta(days=days)
    session.flush()


def find_unused(session: Session, *, limit: int = 100) -> list[UUID]:
    return File.mark_unused(session, before=utc_now() - timedelta(days=1), limit=limit)


def attach_by_change(session: Session, course: Course, file: dict) -> UUID:
    other = make_draft(session, lessons=1, author=author_of(course))
    change(session, other, files=[attachment(file)])
    return other.id


def attach_to_new_lesson(session: Session, course: Course, file: dict) -> UUID:
    other = make_draft(session, lessons=1, author=author_of(course))
    make_lesson(session, other.id, str(other.sections[0].id), author_of(course), files=[attachment(file)])
    return other.id


def attach_by_import(session: Session, course: Course, file: dict) -> UUID:
    change(session, course, files=[attachment(file)])
    document = export_course(session, ref=course.slug, caller=author_of(course))
    return UUID(str(import_course(session, instructor_id=course.instructor_id, document=document)["id"]))


@pytest.mark.parametrize("attach", [attach_by_change, attach_to_new_lesson, attach_by_import])
def test_files_of_another_course_are_kept_while_a_draft_uses_them(session: Session, embedded_store: str, attach):
    course = make_draft(session, lessons=1)
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    other_id = attach(session, course, pdf)
    change(session, course, files=[])
    age(session, pdf)

    assert find_unused(session) == []

    other = Course.get_for_update(session, str(other_id), author_of(course))
    lesson_id = list(other.lessons())[-1].id
    lesson = show_lesson(session, course_id=other_id, lesson_id=lesson_id, caller=author_of(course))["view"]
    assert requests.get(lesson["files"][0]["url"], timeout=10).content == PDF


def test_lesson_is_readable_without_its_lost_files(session: Session, embedded_store: str):
    course = make_draft(session, lessons=1)
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    video = upload(session, course, "video", "video/mp4", MP4)
    change(session, course, kind="video", content={"file_id": str(video["id"])}, files=[attachment(pdf)])
    for file in (pdf, video):
        session.delete(session.get_one(File, file["id"]))
    session.flush()

    lesson_id = next(course.lessons()).id
    lesson = show_lesson(session, course_id=course.id, lesson_id=lesson_id, caller=author_of(course))["view"]

    assert (lesson["files"], lesson["content"]) == ([], {"file_id": str(video["id"])})


def test_used_files_do_not_delay_the_deletion_of_unused_ones(session: Session, embedded_store: str):
    course = make_draft(session, lessons=1)
    used = [upload(session, course, "attachment", "application/pdf", PDF) for _ in range(2)]
    video = upload(session, course, "video", "video/mp4", MP4)
    change(session, course, kind="video", content={"file_id": str(video["id"])}, files=[attachment(u) for u in used])
    unused = upload(session, course, "attachment", "application/pdf", PDF)
    age(session, *used, video, days=3)
    age(session, unused, days=2)

    assert find_unused(session, limit=1) == [unused["id"]]


def test_editor_changes_a_copied_lesson_with_its_files(session: Session, embedded_store: str):
    course, editor = make_draft(session, lessons=1), Caller(uuid4())
    pdf, unrelated = (upload(session, course, "attachment", "application/pdf", PDF) for _ in range(2))
    change(session, course, files=[attachment(pdf)])
    course.set_instructors(course.instructor_id, [editor.user_id])
    session.flush()
    copy = duplicate_course(session, ref=course.slug, caller=editor)
    own = Course.get_for_update(session, str(copy["id"]), editor)

    changed = change(session, own, content={"body": "New."}, files=[attachment(pdf) | {"label": "All of it"}])

    assert changed["files"] == [attachment(pdf) | {"label": "All of it"}]
    with pytest.raises(FileNotUsable):
        change(session, own, files=[attachment(pdf), attachment(unrelated)])


def mark_as_deleting(session: Session, file_id: UUID) -> None:
    """Do what the job does in another session: the objects of this one do not change."""
    session.execute(text("UPDATE courses.files SET status = 'deleting' WHERE id = :id"), {"id": file_id})


def test_file_that_is_being_deleted_becomes_no_cover(session: Session, embedded_store: str):
    course = make_draft(session, lessons=0)
    cover = upload(session, course, "cover", "image/png", PNG)
    loaded = session.get_one(File, cover["id"])
    mark_as_deleting(session, cover["id"])

    with pytest.raises(NotFound):
        change_course(
            session, noop_cache, ref=course.slug, caller=author_of(course), expected_version=course.version,
            fields={"cover_file_id": loaded.id},
        )  # fmt: skip


def test_file_that_is_deleted_during_the_check_does_not_become_ready(
    session: Session, embedded_store: str, monkeypatch: pytest.MonkeyPatch
):
    course = make_draft(session, lessons=0)
    started = start(session, course, "cover", "image/png", len(PNG))
    assert put(started, PNG).ok
    loaded, read_start = session.get_one(File, started["id"]), object_storage.read_start

    def delete_and_read(key: str) -> object_storage.Contents | None:
        mark_as_deleting(session, started["id"])
        return read_start(key)

    monkeypatch.setattr(object_storage, "read_start", delete_and_read)
    with pytest.raises(NotFound):
        complete(session, course, started["id"])
    assert loaded.status == "deleting"


def test_removal_deletes_only_files_that_are_to_be_deleted(
    session: Session, embedded_store: str, monkeypatch: pytest.MonkeyPatch
):
    course = make_draft(session, lessons=0)
    cover = upload(session, course, "cover", "image/png", PNG)
    loaded = session.get_one(File, cover["id"])
    loaded.status = "deleting"
    session.flush()
    ready = text("UPDATE courses.files SET status = 'ready' WHERE id = :id")
    monkeypatch.setattr(object_storage, "delete", lambda _key: session.execute(ready, {"id": loaded.id}))

    remove_file(InOneSession(session), file_id=loaded.id)

    assert session.scalar(text("SELECT status FROM courses.files WHERE id = :id"), {"id": loaded.id}) == "ready"


def test_export_and_receipt_name_uploaded_files_and_replies(session: Session):
    owner = Caller(uuid4())
    course = make_course(session, author=owner)
    review = Review.upsert(session, course_id=course.id, user_id=uuid4(), rating=4, text="Good.", at=utc_now())
    review.reply, review.replied_at = "Thank you.", utc_now()
    file = File.create(
        course, owner, kind="attachment", name="Ann's knots.pdf", content_type="application/pdf", size_bytes=9,
        at=utc_now(),
    )  # fmt: skip
    session.add(file)
    session.flush()

    export_data(session, event=build_event(UserExportRequested, user_id=owner.user_id))
    data = session.get_one(ExportPart, ("courses", owner.user_id)).data
    assert [each["name"] for each in data["files"]] == ["Ann's knots.pdf"]
    assert [(each["course_id"], each["text"]) for each in data["review_replies"]] == [(str(course.id), "Thank you.")]

    erase_data(session, event=build_event(UserDeleted, user_id=owner.user_id))
    erased = select(OutboxEvent).where(
        OutboxEvent.type == "USER_DATA_ERASED", OutboxEvent.aggregateid == str(owner.user_id)
    )
    [event] = session.scalars(erased)
    kept = [each["description"] for each in event.payload["retained"]]
    assert [text.partition(",")[0] for text in kept] == [
        "1 authored courses with replies to reviews",
        "1 uploaded files of courses with their names",
    ]


def test_duplicates_and_documents_keep_files(session: Session, embedded_store: str):
    course = make_draft(session, lessons=1)
    pdf = upload(session, course, "attachment", "application/pdf", PDF)
    change(session, course, files=[attachment(pdf)])
    document = export_course(session, ref=course.slug, caller=author_of(course))

    imported = import_course(session, instructor_id=course.instructor_id, document=document)

    assert export_course(session, ref=str(imported["id"]), caller=author_of(course)) == document
    with pytest.raises(FileNotUsable):
        import_course(session, instructor_id=uuid4(), document=document)
