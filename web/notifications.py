"""The notifications of a person: the list, and the number on the bell."""

from coursebus import errors
from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from .api import client, is_signed_in
from .security import sign_in_required

blueprint = Blueprint("notifications", __name__)


@blueprint.get("/notifications")
@sign_in_required
def notifications() -> str:
    """List the notifications, the newest first."""
    found = client().list_own_notifications(limit=20).page(request.args.get("cursor"))
    return render_template("notifications.html", found=found)


@blueprint.post("/notifications/read")
@sign_in_required
def read_all() -> ResponseReturnValue:
    """Mark all notifications as read."""
    client().mark_all_notifications_read()
    return redirect(url_for("notifications.notifications"), 303)


@blueprint.post("/notifications/<notification_id>/archive")
@sign_in_required
def archive(notification_id: str) -> ResponseReturnValue:
    """Remove a notification from the list."""
    client().archive_notification(notification_id)
    return redirect(url_for("notifications.notifications"), 303)


@blueprint.get("/notifications/unread")
def unread() -> ResponseReturnValue:
    """Return the number of unread notifications, which the bell asks for."""
    if not is_signed_in():
        return jsonify(unread=0)
    return jsonify(unread=count_unread() or 0)


@blueprint.post("/notifications/stream")
@sign_in_required
def open_stream() -> ResponseReturnValue:
    """Return an address of the notification stream that is valid for one connection, and contains no token."""
    return jsonify(url=client().create_stream_ticket().url)


@blueprint.app_template_global()
def count_unread() -> int | None:
    """Return the number of unread notifications; None if it is unknown, because a page is worth more than its bell."""
    try:
        return client().count_unread_notifications().unread
    except (errors.ApiError, errors.ConnectionFailed):
        return None
