"""The courses of an author: the list, new courses, copies, documents, and the archive."""

import msgspec
from coursebus import errors, models
from flask import Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client
from web.console.blueprint import page_of
from web.formats import CATEGORIES, LANGUAGE_NAMES, LEVELS
from web.language import _, current_language
from web.security import has_permission

from .blueprint import authors_only, blueprint, saved, working_copy
from .details import CourseValues
from .forms import Form

_SHOWN = 24
_NEW = ("title", "summary", "category", "level", "language", "price", "currency")


@blueprint.get("/")
@authors_only
def courses() -> str:
    """List the courses that the person owns or edits; for staff also all courses on sale."""
    status: models.OwnCourseStatus | None = "archived" if request.args.get("status") == "archived" else None
    wanted = request.args.get("q", "").strip() or None
    is_staff = has_permission("courses:admin")
    everyone = request.args.get("whose") == "all" and is_staff
    if everyone:
        found = page_of(client().list_courses(q=wanted, limit=_SHOWN, sort=None if wanted else "newest"))
    else:
        found = page_of(client().list_taught_courses(limit=_SHOWN, status=status))
    return render_template(
        "teach/courses.html", found=found, everyone=everyone, is_staff=is_staff, status=status, wanted=wanted or ""
    )


@blueprint.route("/new", methods=["GET", "POST"])
@authors_only
def new_course() -> ResponseReturnValue:
    """Create a course as a draft."""
    form = Form.of({"level": "beginner", "language": current_language(), "currency": "USD", "price": "0"})
    if request.method == "POST":
        form = Form.posted(_NEW)
        values = CourseValues(form)
        if values.price is None:
            form.problems["price"] = _("A number, such as 49.00, and the code of a currency, such as EUR.")
        else:
            try:
                return redirect(url_for("teach.outline", course_id=client().create_course(values.new()).id), 303)
            except errors.ValidationFailed as refusal:
                form.refuse(refusal, {"/price": "price"})
    page = render_template("teach/new.html", form=form, categories=CATEGORIES, levels=LEVELS, languages=LANGUAGE_NAMES)
    return page, 422 if form.problems else 200


@blueprint.post("/<course_id>/copy")
@authors_only
def copy_course(course_id: str) -> ResponseReturnValue:
    """Copy a course to a new draft of the person."""
    title = _("Copy of %(title)s") % {"title": working_copy(course_id).title}
    copied = client().duplicate_course(course_id, models.Copy(title=title[:200]))
    return saved(url_for("teach.details", course_id=copied.id), _("This is the copy."))


@blueprint.get("/<course_id>/export.json")
@authors_only
def export_course(course_id: str) -> ResponseReturnValue:
    """Return the course as a document."""
    document = msgspec.json.format(msgspec.json.encode(client().export_course(course_id)), indent=2)
    headers = {"Content-Disposition": f'attachment; filename="course-{course_id}.json"'}
    return Response(document, content_type="application/json", headers=headers)


@blueprint.route("/import", methods=["GET", "POST"])
@authors_only
def import_course() -> ResponseReturnValue:
    """Create a course from a document."""
    problems: list[str] = []
    if request.method == "POST":
        contents = request.files["document"].read() if "document" in request.files else b""
        try:
            imported = client().import_course(msgspec.json.decode(contents, type=models.CourseDocument))
            return saved(url_for("teach.details", course_id=imported.id), _("The course was imported as a draft."))
        except msgspec.DecodeError as error:
            problems = [_("This file is not a course document: %(reason)s") % {"reason": error}]
        except (errors.ValidationFailed, errors.BadRequest) as refusal:
            problems = [f"{each.get('pointer', '')}: {each['detail']}" for each in refusal.errors] or [refusal.detail]
    return render_template("teach/import.html", problems=problems), 422 if problems else 200


@blueprint.route("/<course_id>/archive", methods=["GET", "POST"])
@authors_only
def archive(course_id: str) -> ResponseReturnValue:
    """Ask once, then take the course off sale and out of the list."""
    course = working_copy(course_id)
    back = url_for("teach.publishing", course_id=course_id)
    if request.method == "GET":
        return render_template(
            "confirm.html",
            title=_("Archive this course?"),
            subject=course.title,
            text=_("It is no longer on sale. Learners keep their access. You can bring it back as a draft."),
            button=_("Archive"),
            back=back,
        )
    try:
        client().archive_course(course_id, if_match=course)
    except errors.Conflict as refusal:
        flash(str(refusal.detail), "problem")
        return redirect(back, 303)
    return saved(url_for("teach.courses"), _("The course was archived."))


@blueprint.post("/<course_id>/unarchive")
@authors_only
def unarchive(course_id: str) -> ResponseReturnValue:
    """Bring an archived course back as a draft."""
    client().unarchive_course(course_id)
    return saved(url_for("teach.details", course_id=course_id), _("The course is a draft again."))
