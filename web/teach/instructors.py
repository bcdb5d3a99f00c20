"""Who teaches a course, and the public profile of an instructor."""

from uuid import UUID

from coursebus import errors, models
from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client
from web.language import _
from web.security import has_permission

from .blueprint import authors_only, blueprint, course_page, saved, working_copy
from .forms import Current, Form, save

_PROFILE = ("name", "bio", "avatar_url")


@blueprint.get("/<course_id>/instructors")
@authors_only
def instructors(course_id: str) -> str:
    """Show owner and editors, and for the owner the forms that change them."""
    course = working_copy(course_id)
    own_id = client().get_profile().id
    return course_page(
        "instructors.html",
        course,
        owner=_profile(course.instructor_id),
        editors=[_profile(each) for each in course.editor_ids or []],
        own_id=own_id,
        is_owner=own_id == course.instructor_id or has_permission("courses:admin"),
    )


def _profile(user_id: str) -> models.Instructor:
    try:
        return client().get_instructor(user_id)
    except errors.NotFound:  # no instructor any more
        return models.Instructor(id=user_id, name=None, avatar_url=None, bio=None)


@blueprint.post("/<course_id>/instructors")
@authors_only
def change_instructors(course_id: str) -> ResponseReturnValue:
    """Add or remove an editor, or give the course to one of them."""
    course = working_copy(course_id)
    back = url_for("teach.instructors", course_id=course_id)
    editors, owner = list(course.editor_ids or []), course.instructor_id
    if removed := request.form.get("remove"):
        editors = [each for each in editors if each != removed]
    elif new_owner := request.form.get("owner"):
        editors, owner = [*(each for each in editors if each != new_owner), owner], new_owner
    else:
        added = _find_user(request.form.get("person", "").strip())
        if added is None:
            flash(_("There is no such person. Enter the address of their public page, or their id."), "problem")
            return redirect(back, 303)
        editors.append(added)
    body = models.InstructorsFields(editor_ids=list(dict.fromkeys(editors)), owner_id=owner)
    try:
        client().set_instructors(course_id, body, if_match=request.form.get("version", 0, int))
    except errors.NotFound:
        flash(_("There is no such person. Enter the address of their public page, or their id."), "problem")
        return redirect(back, 303)
    if removed and removed == client().get_profile().id and not has_permission("courses:admin"):
        return saved(url_for("teach.courses"), _("You do not teach this course any more."))
    return saved(back)


def _find_user(text: str) -> str | None:
    """Return the id in an address or id; staff may enter an e-mail address."""
    if "@" in text and has_permission("users:admin"):
        found = client().list_users(email_prefix=text.lower(), limit=2).page().items
        return found[0].id if len(found) == 1 else None
    try:
        return str(UUID(text.rstrip("/").rsplit("/", 1)[-1]))
    except ValueError:
        return None


@blueprint.route("/profile", methods=["GET", "POST"])
@authors_only
def profile() -> ResponseReturnValue:
    """Show and change what everyone sees of the instructor."""
    shown = client().get_profile()
    if request.method == "GET" or request.form.get("action") == "preview":
        form = Form.of(_values(shown)) if request.method == "GET" else Form.posted(_PROFILE)
        preview = form["bio"] if request.method == "POST" else None
        return render_template("teach/profile.html", form=form, own_id=shown.id, preview=preview)
    form = Form.posted(_PROFILE)

    def read() -> Current:
        now = client().get_profile()
        return Current(now.version, _values(now))

    def write(current: Current) -> None:
        changes = models.ProfileChanges(
            name=form["name"], bio=form["bio"] or None, avatar_url=form["avatar_url"] or None
        )
        client().update_profile(changes, if_match=current.version)

    if save(form, read, write):
        return saved(url_for("teach.profile"))
    return render_template("teach/profile.html", form=form, own_id=shown.id, preview=None), 422


def _values(shown: models.OwnProfile) -> dict[str, str]:
    return {"name": shown.name or "", "bio": shown.bio or "", "avatar_url": shown.avatar_url or ""}
