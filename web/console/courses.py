"""Courses of the person or of all authors: charts of their statistics, and announcements to their learners."""

from datetime import UTC, datetime, timedelta
from typing import Any

from coursebus import errors, models
from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client
from web.errors import message_of
from web.language import _, ngettext
from web.security import has_permission

from .blueprint import blueprint, optional, page_of, staff_only

COURSES = ("courses:write", "courses:admin")
_PERIODS = {"30": 30, "90": 90, "365": 365}


@blueprint.get("/courses")
@staff_only(*COURSES)
def courses() -> str:
    """List the person's own courses; all courses on sale for administrators."""
    own = page_of(client().list_taught_courses(limit=50))
    everyone = page_of(client().list_courses(limit=50, sort="newest")) if has_permission("courses:admin") else None
    return render_template("console/courses.html", own=own, everyone=everyone)


@blueprint.get("/courses/<course_id>")
@staff_only(*COURSES)
def course(course_id: str) -> str:
    """Show how a course is bought, learned and rated, and its announcements."""
    api = client()
    try:
        statistics = api.get_course_statistics(course_id, **period())
    except errors.NotFound:
        abort(404)
    return render_template(
        "console/course.html",
        course=api.get_course(course_id),
        statistics=statistics,
        announcements=optional(api.list_announcements(course_id, limit=20).page),
        learners=optional(api.list_course_learners(course_id, limit=20).page),
        template=optional(lambda: api.get_certificate_template(course_id)),
        days=request.args.get("days", "30"),
    )


@blueprint.post("/courses/<course_id>/announcements")
@staff_only(*COURSES)
def announce(course_id: str) -> ResponseReturnValue:
    """Send an announcement to the learners of a course."""
    fields = models.AnnouncementFields(
        subject=request.form.get("subject", "").strip(), body=request.form.get("body", "").replace("\r\n", "\n").strip()
    )
    try:
        sent = client().create_announcement(course_id, fields)
        flash(
            ngettext(
                "The announcement is being sent to %(num)d learner.",
                "The announcement is being sent to %(num)d learners.",
                sent.recipients_total,
            )
            % {"num": sent.recipients_total}
        )
    except (errors.Conflict, errors.ValidationFailed) as refusal:
        flash(message_of(refusal), "problem")
    return redirect(url_for("console.course", course_id=course_id), 303)


@blueprint.post("/courses/<course_id>/certificate-template")
@staff_only(*COURSES)
def change_certificate_template(course_id: str) -> ResponseReturnValue:
    """Replace the design of the certificates of a course."""
    names = ("title", "signatory_name", "signatory_title", "accent_color")
    fields = models.CertificateTemplateFields(
        **{name: request.form.get(name, "").strip() or None for name in names},
        valid_days=request.form.get("valid_days", None, int),
        revoke_on_refund={"yes": True, "no": False}.get(request.form.get("revoke_on_refund", "")),
    )
    try:
        client().replace_certificate_template(course_id, fields, if_match=request.form.get("version", 0, int))
        flash(_("The certificates were changed."))
    except (errors.PreconditionFailed, errors.ValidationFailed) as refusal:
        flash(message_of(refusal), "problem")
    return redirect(url_for("console.course", course_id=course_id), 303)


@blueprint.get("/sales")
@staff_only("payments:read", "payments:admin")
def sales() -> str:
    """Show the sales of the shop by day."""
    statistics = client().get_shop_statistics(**period())
    return render_template("console/sales.html", statistics=statistics, days=request.args.get("days", "30"))


def period() -> dict[str, Any]:
    """Return the days that the query parameter ``days`` names."""
    until = datetime.now(UTC).date()
    days = _PERIODS.get(request.args.get("days", ""), 30)
    return {"since": (until - timedelta(days=days - 1)).isoformat(), "until": until.isoformat()}
