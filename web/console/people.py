"""Find a person, and see and change everything about them on one page."""

from typing import Any, cast
from uuid import UUID

from coursebus import Coursebus, models
from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client

from .blueprint import PEOPLE, Field, ask, blueprint, done, optional, page_of, staff_only

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
        client().grant_access(user_id, models.AccessChange(course_id=course_id))
        return done("Access was granted.", back)
    subject = f"{client().get_course(course_id).title} → {_named(user_id)}"
    return ask(
        "Grant access?", subject, text="Without a payment, until it is revoked.", button="Grant access", back=back
    )


@blueprint.route("/people/<user_id>/revoke/<course_id>", methods=["GET", "POST"])
@staff_only("courses:admin")
def revoke(user_id: str, course_id: str) -> ResponseReturnValue:
    """End the access that staff have given."""
    back = url_for("console.person", user_id=user_id)
    if request.method == "POST":
        client().revoke_access(user_id, models.AccessChange(course_id=course_id))
        return done("Access was revoked.", back)
    subject = f"{client().get_course(course_id).title} → {_named(user_id)}"
    text = "Ends the access that staff have given. Bought courses and subscriptions are not changed."
    return ask("Revoke access?", subject, text=text, button="Revoke access", back=back)


@blueprint.route("/people/<user_id>/certificates/<code>/<action>", methods=["GET", "POST"])
@staff_only(*PEOPLE)
def certificate(user_id: str, code: str, action: str) -> ResponseReturnValue:
    """Revoke a certificate, or reinstate it."""
    back = url_for("console.person", user_id=user_id)
    if action == "reinstate":
        if request.method == "POST":
            client().reinstate_certificate(code)
            return done("The certificate is valid again.", back)
        text = "The public page shows it as valid again."
        return ask("Reinstate the certificate?", code, text=text, button="Reinstate", back=back)
    if request.method == "POST":
        reason = request.form.get("reason", "").strip()
        client().revoke_certificate(code, models.CertificateRevocation(reason=reason))
        return done("The certificate was revoked.", back)
    text = "The public page, the API and the badge then say that it is not valid. The reason is for staff only."
    return ask(
        "Revoke the certificate?", code, text=text, button="Revoke", back=back, fields=[Field("reason", "Reason")]
    )


@blueprint.route("/people/<user_id>/roles", methods=["GET", "POST"])
@staff_only(*PEOPLE)
def roles(user_id: str) -> ResponseReturnValue:
    """Change the roles of a person."""
    back = url_for("console.person", user_id=user_id)
    person_ = client().get_user(user_id)
    if request.method == "POST":
        wanted = [each for each in request.form.get("roles", "").replace(",", " ").split() if each]
        client().set_roles(user_id, models.Roles(roles=cast("list[models.Role]", wanted)), if_match=person_)
        return done("The roles were changed. They apply from the next sign-in.", back)
    field = Field("roles", "Roles: learner, instructor, admin", " ".join(person_.roles))
    return ask(
        "Change roles?", _named(user_id), text="Replaces all roles.", button="Change roles", back=back, fields=[field]
    )


@blueprint.route("/people/<user_id>/erase", methods=["GET", "POST"])
@staff_only(*PEOPLE)
def erase_person(user_id: str) -> ResponseReturnValue:
    """Erase the personal data of a person."""
    if request.method == "POST":
        operation = client().erase_user(user_id, if_match=client().get_user(user_id))
        return done(f"The erasure has begun: operation {operation.id}.", url_for("console.people"))
    text = "Erases the personal data in every service. This cannot be undone."
    return ask(
        "Erase this person?",
        _named(user_id),
        text=text,
        button="Erase",
        back=url_for("console.person", user_id=user_id),
    )


@blueprint.route("/people/<user_id>/notifications/<notification_id>/resend", methods=["GET", "POST"])
@staff_only("notifications:admin")
def resend(user_id: str, notification_id: str) -> ResponseReturnValue:
    """Send a notification again."""
    back = url_for("console.person", user_id=user_id)
    if request.method == "POST":
        client().resend_notification(notification_id)
        return done("The notification is sent again.", back)
    return ask(
        "Send again?",
        _named(user_id),
        text="The person gets the same message a second time.",
        button="Send again",
        back=back,
    )


def _named(user_id: str) -> str:
    found = client().get_user(user_id)
    return f"{found.name or ''} {found.email or found.id}".strip()
