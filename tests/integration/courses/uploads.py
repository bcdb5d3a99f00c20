"""Uploads of files, as an author makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import requests
from sqlalchemy.orm import Session

from models.courses.course import Course
from tests.integration.courses.factories import author_of
from workers.courses.files import (
    complete_upload,
    start_upload,
)
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


def start(session: Session, course: Course, kind: str, content_type: str, size_bytes: int, **caller: Any) -> dict:
    by = caller.get("caller", author_of(course))
    return start_upload(
        session, course_id=course.id, caller=by, kind=kind, name="A file.bin", content_type=content_type,
        size_bytes=size_bytes,
    )  # fmt: skip


def put(started: dict, contents: bytes, **headers: str) -> requests.Response:
    named = {**started["upload"]["headers"], **{k.replace("_", "-"): v for k, v in headers.items()}}
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
