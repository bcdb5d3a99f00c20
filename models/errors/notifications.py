"""Errors of notifications and devices."""

from core.errors import Conflict, Invalid, Malformed, NotFound


class UnsubscribeLinkInvalid(NotFound):
    message = "This unsubscribe link is invalid, incomplete or expired."


class NotificationNotReplayable(Conflict):
    message = "Notifications by {0} cannot be sent again."


class LastEventIdInvalid(Malformed):
    message = "The Last-Event-ID is not valid for this stream."


class TooManyDevices(Conflict):
    message = "You already have {0} devices: remove one first."


class PushServiceNotAllowed(Invalid):
    message = "{0} is not an address of a known push service."


class PushNotConfigured(Conflict):
    message = "Push notifications by {0} are not configured."
