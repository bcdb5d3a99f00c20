"""Find a person, and see and change everything about them on one page."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args
from uuid import UUID

from coursebus import Coursebus, errors, models
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from web.api import client
from web.errors import message_of
from web.language import _

from .blueprint import PEOPLE, Field, ask, blueprint, done, optional, page_of, refused, staff_only
from .words import word

_SHOWN = 20  # rows of each list on the page of a person


@blueprint.get("/people")
@staff_only(*PEOPLE)
def people() -> ResponseReturnValue:
    """Find people by the beginning of their address, by name or by id."""
    wanted = request.args.get("q", "").strip()
    if _is_id(wanted):
        return redirect(url_for("console.person", user_id=wanted), 303)
    if "@" in wanted:
        found = page_of(client().list_users(email_prefix=wanted.lower(), limit=_SHOWN))
    else:
        found = page_of(client().list_users(q=wanted or None, limit=_SHOWN))
    return render_template("console/people.html", found=found, wanted=wanted)


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


@blueprint.get("/people/<user_id>")
@staff_only(*PEOPLE)
def person(user_id: str) -> str:
    """Show profile, orders, access with its reasons, subscriptions, notifications, devices and audit of a person."""
    api = client()
    return render_template(
        "console/person.html",
        person=api.get_user(user_id),
        orders=optional(api.list_user_orders(user_id, limit=_SHOWN).page),
        subscriptions=optional(api.list_user_subscriptions(user_id, limit=_SHOWN).page),
        enrollments=_enrollments(api, user_id),
        certificates=optional(api.list_user_certificates(user_id, limit=_SHOWN).page),
        notifications=optional(api.list_user_notifications(user_id, limit=_SHOWN).page),
        devices=optional(api.list_user_devices(user_id, limit=_SHOWN).page),
        audit=optional(api.list_audit_entries(subject_id=user_id, kind="change", limit=_SHOWN).page),
        courses=api.list_courses(limit=100).page().items,
    )


def _enrollments(api: Coursebus, user_id: str) -> list[dict[str, Any]] | None:
    found = optional(api.list_user_enrollments(user_id, limit=_SHOWN).page)
    if found is None:
        return None
    return [
        {
            "enrollment": each,
            "course": optional(lambda each=each: api.get_course(each.course_id)),  # type: ignore[misc]  # lambda
            "access": optional(lambda each=each: api.get_user_access(user_id, course_id=each.course_id)),  # type: ignore[misc]  # lambda
        }
        for each in found.items
    ]


@blueprint.get("/people/<user_id>/access")
@staff_only(*PEOPLE)
def access(user_id: str) -> str:
    """Explain why a person has access to a course, or has none."""
    course_id = request.args.get("course_id", "")
    explained = client().get_user_access(user_id, course_id=course_id)
    return render_template(
        "console/access.html",
        person=client().get_user(user_id),
        course=client().get_course(course_id),
        access=explained,
    )


@blueprint.route("/people/<user_id>/grant/<course_id>", methods=["GET", "POST"])
@staff_only("courses:admin")
def grant(user_id: str, course_id: str) -> ResponseReturnValue:
    """Give a person access to a course."""
    back = url_for("console.person", user_id=user_id)
    if request.method == "POST":
        body = models.AccessGrant(course_id=course_id, ends_at=_end_of_day(request.form.get("last_day", "")))
        try:
            client().grant_access(user_id, body)
        except errors.ValidationFailed as refusal:
            return refused(message_of(refusal), back)
        return done(_("Access was granted."), back)
    subject = f"{client().get_course(course_id).title} → {_named(user_id)}"
    return ask(
        _("Grant access?"),
        subject,
        text=_("Without a payment, until the end of this day or until it is revoked."),
        button=_("Grant access"),
        back=back,
        fields=[_last_day()],
    )


@blueprint.route("/people/<user_id>/extend/<course_id>", methods=["GET", "POST"])
@staff_only("courses:admin")
def extend(user_id: str, course_id: str) -> ResponseReturnValue:
    """Change when the access of a person ends."""
    back = url_for("console.person", user_id=user_id)
    if request.method == "POST":
        body = models.AccessEnd(ends_at=_end_of_day(request.form.get("last_day", "")))
        try:
            client().change_access_end(course_id, user_id, body, if_match=request.form.get("version", 0, int))
        except (errors.Conflict, errors.PreconditionFailed, errors.ValidationFailed) as refusal:
            return refused(message_of(refusal), back)
        return done(_("The end of the access was changed."), back)
    learner = client().get_course_learner(course_id, user_id)
    subject = f"{client().get_course(course_id).title} → {_named(user_id)}"
    return ask(
        _("Change the end of the access?"),
        subject,
        text=_("Access that has expired is given back with all progress."),
        button=_("Change"),
        back=back,
        fields=[_last_day(), Field("version", "", str(learner.version), type="hidden")],
    )


def _last_day() -> Field:
    return Field("last_day", _("Last day (UTC); empty: no end"), type="date", required=False)


def _end_of_day(day: str) -> str | None:
    """Return the end of a day in UTC; None without a day. Raises BadRequest."""
    try:
        return (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)).isoformat() if day else None
    except (ValueError, OverflowError):  # browsers without a date picker send what was typed
        raise BadRequest from None


@blueprint.route("/people/<user_id>/revoke/<course_id>", methods=["GET", "POST"])
@staff_only("courses:admin")
def revoke(user_id: str, course_id: str) -> ResponseReturnValue:
    """End the access that staff have given."""
    back = url_for("console.person", user_id=user_id)
    if request.method == "POST":
        client().revoke_access(user_id, models.AccessChange(course_id=course_id))
        return done(_("Access was revoked."), back)
    subject = f"{client().get_course(course_id).title} → {_named(user_id)}"
    text = _("Ends the access that staff have given. Bought courses and subscriptions are not changed.")
    return ask(_("Revoke access?"), subject, text=text, button=_("Revoke access"), back=back)


@blueprint.route("/people/<user_id>/certificates/<code>/<action>", methods=["GET", "POST"])
@staff_only(*PEOPLE)
def certificate(user_id: str, code: str, action: str) -> ResponseReturnValue:
    """Revoke a certificate, or reinstate it."""
    back = url_for("console.person", user_id=user_id)
    if action == "reinstate":
        if request.method == "POST":
            client().reinstate_certificate(code)
            return done(_("The certificate is valid again."), back)
        text = _("The public page shows it as valid again.")
        return ask(_("Reinstate the certificate?"), code, text=text, button=_("Reinstate"), back=back)
    if request.method == "POST":
        reason = request.form.get("reason", "").strip()
        client().revoke_certificate(code, models.CertificateRevocation(reason=reason))
        return done(_("The certificate was revoked."), back)
    text = _("The public page, the API and the badge then say that it is not valid. The reason is for staff only.")
    fields = [Field("reason", _("Reason"))]
    return ask(_("Revoke the certificate?"), code, text=text, button=_("Revoke"), back=back, fields=fields)


@blueprint.route("/people/<user_id>/roles", methods=["GET", "POST"])
@staff_only(*PEOPLE)
def roles(user_id: str) -> ResponseReturnValue:
    """Change the roles of a person."""
    back = url_for("console.person", user_id=user_id)
    person_ = client().get_user(user_id)
    if request.method == "POST":
        wanted = cast("list[models.Role]", request.form.getlist("roles"))
        client().set_roles(user_id, models.Roles(roles=wanted), if_match=person_)
        return done(_("The roles were changed. They apply from the next sign-in."), back)
    choices = {role: word(role) for role in get_args(models.Role)}
    field = Field("roles", _("Roles"), " ".join(person_.roles), type="checkbox", options=choices)
    return ask(
        _("Change roles?"),
        _named(user_id),
        text=_("Replaces all roles."),
        button=_("Change roles"),
        back=back,
        fields=[field],
    )


@blueprint.route("/people/<user_id>/erase", methods=["GET", "POST"])
@staff_only(*PEOPLE)
def erase_person(user_id: str) -> ResponseReturnValue:
    """Erase the personal data of a person."""
    if request.method == "POST":
        operation = client().erase_user(user_id, if_match=client().get_user(user_id))
        return done(_("The erasure has begun: operation %(id)s.") % {"id": operation.id}, url_for("console.people"))
    text = _("Erases the personal data in every service. This cannot be undone.")
    return ask(
        _("Erase this person?"),
        _named(user_id),
        text=text,
        button=_("Erase"),
        back=url_for("console.person", user_id=user_id),
    )


@blueprint.route("/people/<user_id>/notifications/<notification_id>/resend", methods=["GET", "POST"])
@staff_only("notifications:admin")
def resend(user_id: str, notification_id: str) -> ResponseReturnValue:
    """Send a notification again."""
    back = url_for("console.person", user_id=user_id)
    if request.method == "POST":
        client().resend_notification(notification_id)
        return done(_("The notification is sent again."), back)
    return ask(
        _("Send again?"),
        _named(user_id),
        text=_("The person gets the same message a second time."),
        button=_("Send again"),
        back=back,
    )


def _named(user_id: str) -> str:
    found = client().get_user(user_id)
    return f"{found.name or ''} {found.email or found.id}".strip()
