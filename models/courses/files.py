"""Files of courses: what may be uploaded, and which lessons use it. The contents are in an S3-compatible store."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import and_, exists, func, literal, or_, select, tuple_, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText, new_id
from models.commands.courses import Caller
from models.commands.files import FileCursor
from models.errors import FileNotUsable, FileTooLarge, FileTypeNotAllowed, NotFound, TooManyUploads

from .course import Course
from .outline import Lesson, Section

_MB = 1024 * 1024
_ZIP_TYPES = (
    "application/zip",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
)
_PICTURES = ("image/jpeg", "image/png", "image/webp")


@dataclass(frozen=True)
class Kind:
    """What files of a kind may be."""

    size_bytes_max: int
    content_types: tuple[str, ...]


KINDS = {
    "cover": Kind(5 * _MB, _PICTURES),
    "attachment": Kind(
        200 * _MB, (*_PICTURES, *_ZIP_TYPES, "application/pdf", "audio/mpeg", "text/plain", "text/csv", "text/markdown")
    ),
    "captions": Kind(2 * _MB, ("text/vtt",)),
    "video": Kind(4096 * _MB, ("video/mp4", "video/webm")),
}
PENDING_MAX = 100  # files of a course whose upload is not complete
ROLES = {"attachment": "attachment", "captions": "captions"}  # of a file in a lesson, with the kind that it must have


class File(Base):
    """A file of a course. It is used by the cover of the course or by lessons, after its upload was checked."""

    __tablename__ = "files"
    __table_args__ = ({"schema": "courses"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    course_id: Mapped[UUID]
    owner_id: Mapped[UUID]  # who uploads it
    kind: Mapped[str]  # cover, attachment, captions, video
    name: Mapped[PrivateText]
    content_type: Mapped[str]
    size_bytes: Mapped[int]
    status: Mapped[str]  # pending, ready, deleting
    created_at: Mapped[datetime]
    kept_at: Mapped[datetime | None]  # since a version, a copy or another course uses it: then it is never deleted

    @classmethod
    def create(
        cls, course: Course, caller: Caller, *, kind: str, name: str, content_type: str, size_bytes: int, at: datetime
    ) -> Self:
        """Create a file whose contents are not uploaded yet. Raises FileTypeNotAllowed, FileTooLarge."""
        allowed = KINDS[kind]
        if content_type not in allowed.content_types:
            raise FileTypeNotAllowed(content_type, kind, ", ".join(allowed.content_types))
        if size_bytes > allowed.size_bytes_max:
            raise FileTooLarge(kind, str(allowed.size_bytes_max))
        return cls(
            id=new_id(), course_id=course.id, owner_id=caller.user_id, kind=kind, name=name, status="pending",
            content_type=content_type, size_bytes=size_bytes, created_at=at,
        )  # fmt: skip

    @classmethod
    def get(cls, session: Session, file_id: UUID, *, course_id: UUID | None = None, kind: str | None = None) -> "File":
        """Return a file that is not being deleted. Raises NotFound, also for another course or kind."""
        return cls._require_fit(session.get(cls, file_id), file_id, course_id, kind)

    @classmethod
    def get_for_update(cls, session: Session, file_id: UUID, *, course_id: UUID, kind: str | None = None) -> "File":
        """Return what ``get`` returns, locked: the job that deletes unused files waits or is over. Raises NotFound."""
        file = session.get(cls, file_id, with_for_update={"key_share": True}, populate_existing=True)
        return cls._require_fit(file, file_id, course_id, kind)

    @staticmethod
    def _require_fit(file: "File | None", file_id: UUID, course_id: UUID | None, kind: str | None) -> "File":
        fits = file and file.status != "deleting" and course_id in {None, file.course_id} and kind in {None, file.kind}
        if file is None or not fits:
            raise NotFound("file", str(file_id))
        return file

    @classmethod
    def require_room(cls, session: Session, course: Course) -> None:
        """Raise TooManyUploads if too many files of a course, which is locked, wait for their contents."""
        pending = select(func.count()).where(cls.course_id == course.id, cls.status == "pending")
        if session.scalars(pending).one() >= PENDING_MAX:
            raise TooManyUploads(str(PENDING_MAX))

    @classmethod
    def list_page(
        cls, session: Session, course_id: UUID, after: FileCursor | None, limit: int
    ) -> tuple[list[Self], FileCursor | None]:
        """Return up to ``limit`` files of a course, newest first, and the next cursor if there are more."""
        wanted = select(cls).where(cls.course_id == course_id, cls.status != "deleting")
        if after:
            wanted = wanted.where(tuple_(cls.created_at, cls.id) < (after.created_at, after.file_id))
        rows = list(session.scalars(wanted.order_by(cls.created_at.desc(), cls.id.desc()).limit(limit + 1)))
        if len(rows) <= limit:
            return rows, None
        last = rows[limit - 1]
        return rows[:limit], FileCursor(last.created_at, last.id)

    @classmethod
    def require_usable(
        cls,
        session: Session,
        wanted: Collection[tuple[str, str]],
        course_id: UUID | None,
        caller: Caller,
        *,
        at: datetime,
    ) -> None:
        """Raise FileNotUsable unless each (id, kind) is a ready file of the course or one that the caller has uploaded.

        Locks the files, so that the job which deletes unused ones skips them. A file of another course is kept from
        now on: that job looks for uses only in the course of a file.
        """
        if not wanted:
            return
        ids = [UUID(file_id) for file_id, _ in wanted]
        locked = select(cls).where(cls.id.in_(ids)).order_by(cls.id).with_for_update(key_share=True)
        with session.no_autoflush:  # the course that uses them is still compared with its stored values
            files = {str(file.id): file for file in session.scalars(locked.execution_options(populate_existing=True))}
        for file_id, kind in wanted:
            file = files.get(file_id)
            if file is None or (file.status, file.kind) != ("ready", kind) or not file.may_be_used(course_id, caller):
                raise FileNotUsable(file_id, kind)
        foreign = [file_id for file_id, file in files.items() if file.course_id != course_id]
        with session.no_autoflush:
            cls.keep(session, foreign, at=at)

    def may_be_used(self, course_id: UUID | None, caller: Caller) -> bool:
        return caller.admin or self.course_id == course_id or self.owner_id == caller.user_id

    @classmethod
    def list_by_id(cls, session: Session, file_ids: Collection[str]) -> dict[str, Self]:
        """Return files by their ids as text."""
        found = session.scalars(select(cls).where(cls.id.in_([UUID(each) for each in file_ids])))
        return {str(file.id): file for file in found}

    @classmethod
    def keep(cls, session: Session, file_ids: Collection[str], *, at: datetime) -> None:
        """Never delete these files."""
        if file_ids:
            unkept = select(cls.id).where(cls.id.in_([UUID(each) for each in file_ids]), cls.kept_at.is_(None))
            # In one order for all courses that share files, so that two transactions cannot deadlock.
            ids = session.scalars(unkept.order_by(cls.id).with_for_update(key_share=True)).all()
            session.execute(update(cls).where(cls.id.in_(ids)).values(kept_at=at))

    @classmethod
    def mark_unused(cls, session: Session, *, before: datetime, limit: int) -> list[UUID]:
        """Mark files that were created before this time and are used nowhere; return all that are to be deleted."""
        old = select(cls.id).where(cls.kept_at.is_(None), cls.created_at < before, ~cls._is_used())
        old = old.order_by(cls.created_at)
        locked = session.scalars(old.limit(limit).with_for_update(skip_locked=True)).all()
        # Again, in a statement of its own: it sees what was committed until the rows were locked.
        unused = select(cls.id).where(cls.id.in_(locked), ~cls._is_used())
        found = session.scalars(unused).all()
        session.execute(update(cls).where(cls.id.in_(found)).values(status="deleting"))
        return list(found)

    @classmethod
    def _is_used(cls) -> Any:
        """Return the condition that the working copy of the course uses the file."""
        text = func.concat(cls.id)
        is_cover = exists().where(Course.id == cls.course_id, func.strpos(Course.cover_url, text) > 0)
        in_files = Lesson.files.contains(func.jsonb_build_array(func.jsonb_build_object(literal("file_id"), text)))
        # The kinds are compared so that contents of other lessons, of up to 1 MB, are not read.
        is_video = and_(cls.kind == "video", Lesson.kind == "video", Lesson.content["file_id"].astext == text)
        of_course = (Lesson.section_id == Section.id) & (Section.course_id == cls.course_id)
        return or_(is_cover, exists().where(of_course, or_(in_files, is_video)))

    @classmethod
    def list_by_owner(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return all files that a user has uploaded, oldest first."""
        theirs = select(cls).where(cls.owner_id == user_id, cls.status != "deleting")
        return list(session.scalars(theirs.order_by(cls.created_at, cls.id)))

    @property
    def key(self) -> str:
        """Return the name of the contents in the store."""
        return f"courses/{self.course_id}/{self.kind}/{self.id}"

    def to_response(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "name": self.name,
            "content_type": self.content_type,
            "size_bytes": self.size_bytes,
            "status": self.status,
            "created_at": self.created_at,
        }


def files_of(lesson: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the ids of the files that a lesson uses, each with the kind that it must have."""
    used = [(each["file_id"], ROLES[each["role"]]) for each in lesson.get("files", [])]
    video = lesson["content"].get("file_id")
    return [*used, (video, "video")] if video else used


def files_of_all(lessons: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of the files that lessons use."""
    return {file_id for lesson in lessons for file_id, _ in files_of(lesson)}


def fits_content_type(content_type: str, start: bytes) -> bool:
    """Return whether contents that begin with ``start`` are of this type."""
    return _SIGNATURES["application/zip" if content_type in _ZIP_TYPES else content_type](start)


def _begins(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(prefixes)


def _is_text(start: bytes) -> bool:
    try:
        # The start may end within a character.
        text = start.decode(errors="strict") if len(start) < _START_BYTES else start[:-3].decode(errors="ignore")
    except UnicodeDecodeError:
        return False
    return "\0" not in text and not text.lstrip("\ufeff \t\r\n").startswith(("<!", "<html", "<HTML", "<script", "<svg"))


_START_BYTES = 4096
_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "image/jpeg": _begins(b"\xff\xd8\xff"),
    "image/png": _begins(b"\x89PNG\r\n\x1a\n"),
    "image/webp": lambda start: start[:4] == b"RIFF" and start[8:12] == b"WEBP",
    "application/pdf": _begins(b"%PDF-"),
    "application/zip": _begins(b"PK\x03\x04"),
    "audio/mpeg": _begins(b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"),
    "video/mp4": lambda start: start[4:8] == b"ftyp",
    "video/webm": _begins(b"\x1a\x45\xdf\xa3"),
    "text/vtt": _begins(b"WEBVTT", b"\xef\xbb\xbfWEBVTT"),
    "text/plain": _is_text,
    "text/csv": _is_text,
    "text/markdown": _is_text,
}
