"""What is against sending a delivery at this moment: asked when it is sent, not when it is made."""

from datetime import datetime

from models.notifications import Contact, Delivery, Outcome, Preferences, State


def objection(
    delivery: Delivery, contact: Contact, preferences: Preferences, *, still_so: bool, at: datetime
) -> Outcome | None:
    """Why ``delivery`` is not sent at ``at``: SKIPPED for good, or HELD for a while. None where nothing is against it.

    What is mandatory passes all that a user prefers.
    """
    if not still_so:
        return Outcome(State.SKIPPED, "no_longer_so")
    if delivery.mandatory:
        return None
    if not preferences.allow(delivery.category, delivery.channel):
        return Outcome(State.SKIPPED, "preference")
    if preferences.quiet_hours and (until := preferences.quiet_hours.until(at, contact.zone)):
        return Outcome(State.HELD, "quiet_hours", due_at=until)
    return None
