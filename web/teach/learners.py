"""The learners of a course: their progress, announcements to them, and their reviews."""

from typing import Any

from coursebus import errors, models
from flask import flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from web.api import client
from web.console.blueprint import page_of
from web.errors import message_of
from web.language import _, ngettext
from web.security import has_permission

from .blueprint import authors_only, blueprint, course_page, saved, working_copy

_SHOWN = 50
PROGRESS = {
    "new": {"progress_max": 0},
    "learning": {"progress_min": 1, "progress_max": 99},
    "finished": {"progress_min": 100},
}


@blueprint.get("/<course_id>/learners")
@authors_only
def learners(course_id: str) -> str:
    """List the learners, the latest first, filtered by progress or access."""
    chosen = request.args.get("progress", "")
    query: dict[str, Any] = dict(PROGRESS.get(chosen, {}))
    if request.args.get("status") in {"active", "ended"}:
        query["status"] = request.args["status"]
    found = page_of(client().list_course_learners(course_id, limit=_SHOWN, **query))
    return course_page(
        "learners.html",
        working_copy(course_id),
        found=found,
        chosen=chosen,
        status=request.args.get("status", ""),
        may_enroll=has_permission("courses:admin"),
    )


@blueprint.get("/<course_id>/announcements")
@authors_only
def announcements(course_id: str) -> str:
    """Show the announcements that were sent, and the form of a new one."""
    return course_page(
        "announcements.html",
        working_copy(course_id),
        found=page_of(client().list_announcements(course_id, limit=20)),
        subject="",
        body="",
    )


@blueprint.post("/<course_id>/announcements")
@authors_only
def announce(course_id: str) -> ResponseReturnValue:
    """Send an announcement to everyone who has access to the course."""
    subject = request.form.get("subject", "").strip()
    body = request.form.get("body", "").replace("\r\n", "\n").strip()
    try:
        sent = client().create_announcement(course_id, models.AnnouncementFields(subject=subject, body=body))
    except (errors.Conflict, errors.ValidationFailed, errors.TooManyRequests) as refusal:
        flash(message_of(refusal), "problem")
        found = client().list_announcements(course_id, limit=20).page()
        page = course_page("announcements.html", working_copy(course_id), found=found, subject=subject, body=body)
        return page, refusal.status
    text = ngettext(
        "The announcement is being sent to %(num)d learner.",
        "The announcement is being sent to %(num)d learners.",
        sent.recipients_total,
    )
    return saved(url_for("teach.announcements", course_id=course_id), text % {"num": sent.recipients_total})


@blueprint.get("/<course_id>/reviews")
@authors_only
def reviews(course_id: str) -> str:
    """List the reviews, for staff also the hidden ones, with the forms to reply and to moderate."""
    is_staff = has_permission("courses:admin")
    hidden = is_staff and request.args.get("hidden") == "1"
    found = page_of(client().list_reviews(course_id, limit=20, hidden=hidden or None))
    return course_page("reviews.html", working_copy(course_id), found=found, is_staff=is_staff, hidden=hidden)


@blueprint.post("/<course_id>/reviews/<review_id>")
@authors_only
def answer_review(course_id: str, review_id: str) -> ResponseReturnValue:
    """Reply to a review, delete the reply; as staff hide the review or show it again."""
    action = request.form.get("action", "reply")
    back = url_for("teach.reviews", course_id=course_id)
    if action == "hide":
        client().hide_review(course_id, review_id, models.Moderation(reason=request.form.get("reason", "").strip()))
        return saved(back, _("The review is hidden."))
    if action == "show":
        client().show_review(course_id, review_id)
        return saved(back, _("The review is shown again."))
    if action == "delete":
        client().delete_review_reply(course_id, review_id)
        return saved(back, _("Your answer was deleted."))
    text = request.form.get("text", "").replace("\r\n", "\n").strip()
    client().reply_to_review(course_id, review_id, models.ReplyFields(text=text))
    return redirect(f"{back}#{review_id}", 303)
