"""Courses: list, show, publish, export to a file and import from one."""

import json
import mimetypes
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import msgspec
import typer
from msgspec import UNSET

from coursebus import Coursebus, errors, models

from ._failures import CommandFailed, ExitCode
from ._output import Column, money
from ._state import State, state_of

app = typer.Typer(no_args_is_help=True, help="List, show, publish, export and import courses.")

_COLUMNS: list[Column] = [
    ("slug", lambda each: each.slug),
    ("title", lambda each: each.title),
    ("level", lambda each: each.level),
    ("price", lambda each: money(each.price.amount_minor, each.price.currency)),
]


_BODY_BYTES_MAX = 1024 * 1024  # of a request; a larger course is imported lesson by lesson


@app.command("list")
def list_courses(
    context: typer.Context,
    query: Annotated[str, typer.Option("--query", "-q", help="Words to search for.")] = "",
    category: str = "",
    mine: Annotated[bool, typer.Option("--mine", help="Your own courses, drafts included.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="Your own archived courses.")] = False,
) -> None:
    """List the courses on sale, or your own."""
    state = state_of(context)
    if mine or archived:
        own: list[Column] = [*_COLUMNS, ("status", lambda each: each.status)]
        state.output.items(state.client.list_taught_courses(status="archived" if archived else None, limit=100), own)
        return
    found = state.client.list_courses(q=query or None, category=category or None, limit=100)
    state.output.items(found, [*_COLUMNS, ("learners", lambda each: getattr(each, "learners", None))])


@app.command()
def show(context: typer.Context, course: str) -> None:
    """Show a course with its outline; authors see the working copy."""
    state = state_of(context)
    shown = state.client.get_course(course)
    outline = {
        f"{section.position}. {section.title}": [lesson.title for lesson in section.lessons]
        for section in shown.sections
    }
    state.output.item(
        shown,
        {
            "id": shown.id,
            "slug": shown.slug,
            "title": shown.title,
            "status": shown.status,
            "price": money(shown.price.amount_minor, shown.price.currency),
            "lessons": shown.lessons_total,
            "version": shown.version,
            **outline,
        },
    )


@app.command()
def publish(context: typer.Context, course: str) -> None:
    """Publish the working copy and put it on sale."""
    state = state_of(context)
    published = state.client.publish_course(course)
    state.output.done(f"Published {published.slug}.", published)


@app.command()
def learners(
    context: typer.Context,
    course: str,
    status: Annotated[str, typer.Option(help="active or ended")] = "",
) -> None:
    """List the learners of a course with their progress."""
    state = state_of(context)
    found = state.client.list_course_learners(state.course_id(course), status=status or None, limit=100)  # type: ignore[arg-type]
    columns: list[Column] = [
        ("person", lambda each: each.user_id),
        ("name", lambda each: each.name),
        ("status", lambda each: each.status),
        ("progress", lambda each: f"{each.progress_percent} %"),
        ("since", lambda each: each.enrolled_at),
    ]
    state.output.items(found, columns)


@app.command()
def duplicate(
    context: typer.Context, course: str, title: Annotated[str, typer.Option(help="Title of the copy.")] = ""
) -> None:
    """Copy a course of yours to a new draft, without its learners."""
    state = state_of(context)
    copy = state.client.duplicate_course(course, models.Copy(title=title or UNSET))
    state.output.done(f"Created {copy.slug}.", copy)


@app.command()
def archive(context: typer.Context, course: str) -> None:
    """Take a course off sale and hide it; its learners keep their access."""
    state = state_of(context)
    shown = state.client.get_course(course)
    state.client.archive_course(course, if_match=shown)
    state.output.done(f"Archived {shown.slug}.", shown)


@app.command()
def unarchive(context: typer.Context, course: str) -> None:
    """Return an archived course as a draft."""
    state = state_of(context)
    draft = state.client.unarchive_course(course)
    state.output.done(f"{draft.slug} is a draft.", draft)


@app.command()
def upload(
    context: typer.Context,
    course: str,
    file: Path,
    kind: Annotated[str, typer.Option(help="cover, attachment, captions or video")] = "attachment",
    content_type: Annotated[str, typer.Option(help="Media type; guessed from the name of the file.")] = "",
) -> None:
    """Upload a file of a course of yours; a cover becomes that of the working copy."""
    state = state_of(context)
    found = content_type or ("text/vtt" if file.suffix == ".vtt" else mimetypes.guess_type(file.name)[0])
    if kind not in get_args(models.FileKind) or not found or not file.is_file():
        raise CommandFailed(
            f"{file} cannot be uploaded as {kind}.",
            "Name an existing file, its kind and its --content-type.",
            code="file_invalid",
            exit_code=ExitCode.INVALID,
        )
    course_id = state.course_id(course)
    with file.open("rb") as contents:
        stored = state.client.upload_file(
            course_id, contents, kind=cast("models.FileKind", kind), name=file.name, content_type=found
        )
    if kind == "cover":
        shown = state.client.get_course(course_id)
        state.client.update_course(course_id, models.CourseChanges(cover_file_id=stored.id), if_match=shown)
    state.output.done(f"Uploaded {file.name} as {stored.id}.", stored)


@app.command("export")
def export_course(
    context: typer.Context,
    course: str,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else the output.")] = None,
) -> None:
    """Write the working copy of your course, with the contents of its lessons, as JSON."""
    state = state_of(context)
    exported = state.client.export_course(course)
    text = msgspec.json.format(msgspec.json.encode(exported), indent=2).decode() + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text)
    state.output.done(f"Wrote {output}.", {"file": str(output)})


@app.command("import")
def import_course(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that export has written.")],
    publish_it: Annotated[bool, typer.Option("--publish", help="Put the new course on sale.")] = False,
) -> None:
    """Create a new course from an exported file. If that fails, no part of the course is left."""
    state = state_of(context)
    document = _read(file)
    is_small = len(msgspec.json.encode(document)) <= _BODY_BYTES_MAX
    parts = [] if is_small else document.sections
    course = state.client.import_course(document if is_small else msgspec.structs.replace(document, sections=[]))
    try:
        _add_contents(state, course, parts)
        shown = state.client.publish_course(course.id) if publish_it else state.client.get_course(course.id)
    except BaseException:
        _remove(state.client, course.id)
        raise
    state.output.done(f"Created {shown.slug} with {shown.lessons_total} lessons.", shown)


def _read(file: Path) -> models.CourseDocument:
    try:
        return msgspec.json.decode(file.read_bytes(), type=models.CourseDocument)
    except (OSError, msgspec.DecodeError) as error:
        raise CommandFailed(
            f"{file}: {error}",
            "Give a file that coursebus courses export has written.",
            code="file_invalid",
            exit_code=ExitCode.INVALID,
        ) from error


def _add_contents(state: State, course: models.Course, sections: list[models.SectionDocument]) -> None:
    with state.output.progress("Import", sum(len(section.lessons) for section in sections)) as advance:
        for section in sections:
            created = state.client.create_section(course.id, models.SectionFields(title=section.title))
            for lesson in section.lessons:
                fields: dict[str, Any] = json.loads(msgspec.json.encode(lesson))
                body = msgspec.convert(fields | {"section_id": created.id}, models.LessonFields)
                state.client.create_lesson(course.id, body)
                advance(1)


def _remove(client: Coursebus, course_id: str) -> None:
    try:
        client.archive_course(course_id, if_match=client.get_course(course_id))
    except errors.CoursebusError:
        typer.echo(f"The incomplete course {course_id} could not be archived; archive it yourself.", err=True)
