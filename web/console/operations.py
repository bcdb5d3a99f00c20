"""Webhooks to integrators, dead letters, events in quarantine, and the audit."""

from coursebus import models
from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

import settings
from web.api import client
from web.language import _, ngettext

from .blueprint import OPERATIONS, ask, blueprint, done, page_of, staff_only


@blueprint.get("/webhooks")
@staff_only(*OPERATIONS)
def webhooks() -> str:
    """List the endpoints of integrators."""
    return render_template("console/webhooks.html", found=page_of(client().list_webhook_endpoints(limit=50)))


@blueprint.get("/webhooks/<endpoint_id>")
@staff_only(*OPERATIONS)
def webhook(endpoint_id: str) -> str:
    """Show an endpoint with its deliveries."""
    return render_template(
        "console/webhook.html",
        endpoint=client().get_webhook_endpoint(endpoint_id),
        found=page_of(client().list_webhook_deliveries(endpoint_id, limit=50)),
    )


@blueprint.route("/webhooks/<endpoint_id>/deliveries/<delivery_id>/resend", methods=["GET", "POST"])
@staff_only(*OPERATIONS)
def resend_delivery(endpoint_id: str, delivery_id: str) -> ResponseReturnValue:
    """Send an event to an endpoint again."""
    back = url_for("console.webhook", endpoint_id=endpoint_id)
    if request.method == "POST":
        client().resend_webhook_delivery(endpoint_id, delivery_id)
        return done(_("The delivery is sent again."), back)
    return ask(
        _("Send again?"),
        delivery_id,
        text=_("The receiver gets the event with the same id."),
        button=_("Send again"),
        back=back,
    )


@blueprint.route("/webhooks/<endpoint_id>/enabled", methods=["GET", "POST"])
@staff_only(*OPERATIONS)
def switch_webhook(endpoint_id: str) -> ResponseReturnValue:
    """Enable a disabled endpoint, or disable an enabled one."""
    back = url_for("console.webhook", endpoint_id=endpoint_id)
    endpoint = client().get_webhook_endpoint(endpoint_id)
    if request.method == "POST":
        changes = models.WebhookEndpointChanges(enabled=not endpoint.enabled)
        client().update_webhook_endpoint(endpoint_id, changes, if_match=endpoint)
        return done(_("The endpoint was changed."), back)
    return ask(
        _("Disable this endpoint?") if endpoint.enabled else _("Enable this endpoint?"),
        endpoint.url,
        text=_("Events of the time between are not sent by this."),
        button=_("Disable") if endpoint.enabled else _("Enable"),
        back=back,
    )


@blueprint.get("/dead-letters")
@staff_only(*OPERATIONS)
def dead_letters() -> str:
    """List events whose handler failed, and events that are parked behind a quarantined one."""
    status: models.DeadLetterStatus = "replayed" if request.args.get("status") == "replayed" else "open"
    return render_template(
        "console/dead_letters.html",
        found=page_of(client().list_dead_letters(status=status, limit=50)),
        quarantine=client().list_quarantined_events(limit=50).page().items,
        status=status,
    )


@blueprint.route("/dead-letters/<dead_letter_id>/replay", methods=["GET", "POST"])
@staff_only(*OPERATIONS)
def replay(dead_letter_id: str) -> ResponseReturnValue:
    """Handle the dead letters of a key again."""
    back = url_for("console.dead_letters")
    if request.method == "POST":
        result = client().replay_dead_letter(dead_letter_id)
        text = _("Replayed: %(replayed)d, left: %(left)d.") % {
            "replayed": len(result.replayed),
            "left": result.remaining,
        }
        if failed := result.failed:
            text += " " + _("%(id)s failed again: %(error)s") % {"id": failed.id, "error": failed.error}
        return done(text, back)
    text = _("All open dead letters of the same key are handled in order, until one fails.")
    return ask(_("Replay?"), dead_letter_id, text=text, button=_("Replay"), back=back)


@blueprint.route("/quarantine/<event_id>/release", methods=["GET", "POST"])
@staff_only(*OPERATIONS)
def release(event_id: str) -> ResponseReturnValue:
    """Publish a quarantined event and those parked behind it."""
    back = url_for("console.dead_letters")
    if request.method == "POST":
        released = client().release_quarantined_event(event_id).released
        text = ngettext("%(num)d event is published.", "%(num)d events are published.", released) % {"num": released}
        return done(text, back)
    text = _("The event and those parked behind it are published.")
    return ask(_("Release?"), event_id, text=text, button=_("Release"), back=back)


@blueprint.get("/audit")
@staff_only(*OPERATIONS)
def audit() -> str:
    """List what staff changed and read."""
    given = {name: request.args[name].strip() for name in ("actor", "subject_id", "command") if request.args.get(name)}
    kind: models.AuditKind | None = "read" if request.args.get("kind") == "read" else "change"
    if request.args.get("kind") == "all":
        kind = None
    entries = client().list_audit_entries(limit=50, kind=kind, **given)
    return render_template("console/audit.html", found=page_of(entries), given=given, kind=request.args.get("kind", ""))


@blueprint.get("/status")
@staff_only(*OPERATIONS)
def status() -> str:
    """Show what waits in queues and outboxes, the periodic jobs, and the latest operations."""
    return render_template(
        "console/status.html",
        services=client().get_status().services,
        jobs=client().list_jobs().jobs,
        operations=client().list_operations(everyone=True, limit=20).page().items,
        tools=[each for each in (("Flower", settings.FLOWER_URL), ("Grafana", settings.GRAFANA_URL)) if each[1]],
    )


@blueprint.route("/jobs/<kind>/<slot>/run", methods=["GET", "POST"])
@staff_only(*OPERATIONS)
def run_job(kind: str, slot: str) -> ResponseReturnValue:
    """Run a failed period of a job again."""
    back = url_for("console.status")
    if request.method == "POST":
        client().run_job_again(kind, models.JobSlot(slot=slot))
        return done(_("A worker starts the job within a minute."), back)
    text = _("The job runs for this period again.")
    return ask(_("Run again?"), f"{kind}, {slot}", text=text, button=_("Run"), back=back)
