"""How events travel to their handlers (models/events/routes.py): at once, or together with others in one message."""

# Handlers that neither give access nor show users what they did: the log of integrators, notifications, statistics.
# Their events may wait for others.
_GATHERING_SERVICES = {"integrations", "notifications"}
_GATHERING_HANDLERS = {"payments.record_access_granted"}
# A new user cannot register a device or change preferences before the notifications service knows the contact.
_CONTACT_HANDLERS = {"notifications.create_contact", "notifications.update_contact"}


def is_urgent(handler: str) -> bool:
    """Return whether an event for ``handler`` is sent at once instead of waiting for others to share its message."""
    is_gathering = handler in _GATHERING_HANDLERS or handler.partition(".")[0] in _GATHERING_SERVICES
    return handler in _CONTACT_HANDLERS or not is_gathering


# Their next events wait until one of these messages is answered, so that under load more events share a message, which
# they are handled by one call. Unlike those that are not urgent, they do not wait otherwise.
_BATCH_HANDLERS = {
    "courses.change_enrolled_version_by_event",
    "courses.update_progress_on_completion",
    "courses.update_progress_on_reopen",
}


def waits_for_replies(handler: str) -> bool:
    """Return whether an event for ``handler`` waits while SHARED_MESSAGES_IN_FLIGHT messages are not answered."""
    return handler in _BATCH_HANDLERS or not is_urgent(handler)
