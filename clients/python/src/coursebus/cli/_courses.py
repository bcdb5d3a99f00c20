"""Courses: list, show, publish, export to a file and import from one."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

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


class _LessonFile(msgspec.Struct, kw_only=True, omit_defaults=True):
    title: str
    kind: models.LessonKind
    content: models.Content
    duration_seconds: int | None = None
    free_preview: bool = False
    completion: models.Completion | None = None
    unlock: models.Unlock | None = None


class _SectionFile(msgspec.Struct, kw_only=True):
    title: str
    lessons: list[_LessonFile]


class CourseFile(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The format of an exported course. Prerequisites are ids, which another installation does not have."""

    format: str = "coursebus-course/1"
    course: models.CourseFields
    sections: list[_SectionFile]


@app.command("list")
def list_courses(
    context: typer.Context,
    query: Annotated[str, typer.Option("--query", "-q", help="Words to search for.")] = "",
    category: str = "",
    mine: Annotated[bool, typer.Option("--mine", help="Your own courses, drafts included.")] = False,
) -> None:
    """List the courses on sale, or your own."""
    state = state_of(context)
    if mine:
        own: list[Column] = [*_COLUMNS, ("status", lambda each: each.status)]
        state.output.items(state.client.list_own_courses(limit=100), own)
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


@app.command("export")
def export_course(
    context: typer.Context,
    course: str,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else the output.")] = None,
) -> None:
    """Write the working copy of your course, with the contents of its lessons, as JSON."""
    state = state_of(context)
    exported = _export(state, state.client.get_course(course))
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
    course = state.client.create_course((source := _read(file)).course)
    try:
        _add_contents(state, course, source)
        shown = state.client.publish_course(course.id) if publish_it else state.client.get_course(course.id)
    except BaseException:
        _remove(state.client, course.id)
        raise
    state.output.done(f"Created {shown.slug} with {shown.lessons_total} lessons.", shown)


def _export(state: State, course: models.Course) -> CourseFile:
    sections = []
    with state.output.progress("Export", course.lessons_total) as advance:
        for section in course.sections:
            lessons = []
            for listed in section.lessons:
                lessons.append(_lesson_file(state.client.get_lesson(course.id, listed.id)))
                advance(1)
            sections.append(_SectionFile(title=section.title, lessons=lessons))
    fields = {name: getattr(course, name) for name in models.CourseFields.__struct_fields__}
    return CourseFile(course=msgspec.convert(fields, models.CourseFields, from_attributes=True), sections=sections)


def _lesson_file(lesson: models.Lesson) -> _LessonFile:
    content = msgspec.to_builtins(lesson.content)
    if any("correct" not in question for question in content.get("questions", ())):
        raise CommandFailed(
            "The answers of a quiz are shown to the course's authors only.",
            "Export a course of your own, or sign in with courses:admin.",
            code="answers_hidden",
            exit_code=ExitCode.NOT_ALLOWED,
        )
    fields = {name: getattr(lesson, name) for name in _LessonFile.__struct_fields__ if name != "content"}
    return msgspec.convert(fields | {"content": content}, _LessonFile, from_attributes=True)


def _read(file: Path) -> CourseFile:
    try:
        source = msgspec.json.decode(file.read_bytes(), type=CourseFile)
    except (OSError, msgspec.DecodeError) as error:
        raise CommandFailed(
            f"{file}: {error}",
            "Give a file that coursebus courses export has written.",
            code="file_invalid",
            exit_code=ExitCode.INVALID,
        ) from error
    if source.format != CourseFile.__struct_defaults__[0]:
        raise CommandFailed(
            f"{file} has the format {source.format}.", "Update coursebus.", code="format_unknown",
            exit_code=ExitCode.INVALID,
        )  # fmt: skip
    return source


def _add_contents(state: State, course: models.Course, source: CourseFile) -> None:
    with state.output.progress("Import", sum(len(section.lessons) for section in source.sections)) as advance:
        for section in source.sections:
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
