"""The account: profile, notification preferences, export and erasure of personal data."""

from zoneinfo import available_timezones

import msgspec
from coursebus import errors, models
from flask import Blueprint, Response, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from .api import client
from .language import LANGUAGES, _, mark
from .security import sign_in_required

blueprint = Blueprint("accounts", __name__)

CATEGORIES = {
    "courses": mark("Courses: access and news"),
    "announcements": mark("Announcements of your courses"),
    "progress": mark("Progress and certificates"),
    "reminders": mark("Reminders to learn"),
    "account": mark("Account"),
    "receipts": mark("Receipts (always sent by e-mail)"),
    "security": mark("Security (always sent by e-mail)"),
}
CHANNELS = {"email": mark("E-mail"), "push": mark("Push"), "in_app": mark("Here")}


@blueprint.get("/account")
@sign_in_required
def account() -> str:
    """Show the forms of the account."""
    return render_template(
        "account.html",
        profile=client().get_profile(),
        preferences=client().get_notification_preferences(),
        billing=client().get_billing_details(),
        categories=CATEGORIES,
        channels=CHANNELS,
        zones=sorted(available_timezones()),
        has_export=_export() is not None,
    )


@blueprint.post("/account/profile")
@sign_in_required
def profile() -> ResponseReturnValue:
    """Change name, language and time zone."""
    locale = request.form.get("locale", "en")
    changes = models.ProfileChanges(
        name=request.form.get("name", "").strip(),
        locale=locale if locale in LANGUAGES else "en",
        timezone=request.form.get("timezone", "UTC"),
    )
    changed = client().update_profile(changes, if_match=request.form.get("version", 0, int))
    session["name"] = changed.name or changed.email or ""
    flash(_("Your profile was saved."))
    return redirect(url_for("accounts.account"), 303)


@blueprint.post("/account/billing-details")
@sign_in_required
def billing_details() -> ResponseReturnValue:
    """Change what invoices name."""
    fields = ("name", "company", "address", "tax_id")
    body = models.BillingDetailsFields(**{name: request.form.get(name, "").strip() or None for name in fields})
    client().replace_billing_details(body, if_match=request.form.get("version", 0, int))
    flash(_("Your billing details were saved."))
    return redirect(url_for("accounts.account"), 303)


@blueprint.post("/account/preferences")
@sign_in_required
def preferences() -> ResponseReturnValue:
    """Change the channels of each category, and the quiet hours."""
    chosen = {
        name: models.Channels(**{channel: f"{name}-{channel}" in request.form for channel in CHANNELS})
        for name in CATEGORIES
    }
    start, end = request.form.get("quiet-from"), request.form.get("quiet-to")
    hours = models.QuietHours(from_=start, to=end) if start and end else None
    body = models.Preferences(categories=models.Categories(**chosen), quiet_hours=hours)
    client().replace_notification_preferences(body, if_match=request.form.get("version", 0, int))
    flash(_("Your preferences were saved."))
    return redirect(url_for("accounts.account"), 303)


@blueprint.post("/account/export")
@sign_in_required
def request_export() -> ResponseReturnValue:
    """Start the export of all personal data."""
    client().request_data_export()
    flash(_("Your data is being collected. Load this page again in a minute to download it."))
    return redirect(url_for("accounts.account"), 303)


@blueprint.get("/account/export.json")
@sign_in_required
def download_export() -> ResponseReturnValue:
    """Return the latest export as a file."""
    found = client().get_data_export()
    content = msgspec.json.format(msgspec.json.encode(found), indent=2)
    headers = {"Content-Disposition": 'attachment; filename="coursebus-export.json"'}
    return Response(content, content_type="application/json", headers=headers)


def _export() -> models.Export | None:
    try:
        return client().get_data_export()
    except (errors.NotFound, errors.Conflict):
        return None


@blueprint.route("/account/erase", methods=["GET", "POST"])
@sign_in_required
def erase() -> ResponseReturnValue:
    """Ask once, then erase the account and sign out."""
    if request.method == "GET":
        return render_template(
            "confirm.html",
            title=_("Erase your account?"),
            text=_("All your personal data is erased. You lose your courses, progress and certificates for good."),
            subject=session["name"],
            button=_("Erase my account"),
            back=url_for("accounts.account"),
            word=_("erase"),
        )
    if request.form.get("word", "").strip().lower() != _("erase"):
        flash(_("The account was not erased: type the word to confirm."), "problem")
        return redirect(url_for("accounts.erase"), 303)
    client().erase_account(if_match=client().get_profile())
    session.clear()
    return render_template("erased.html")
