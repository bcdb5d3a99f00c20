"""Errors of webhook endpoints and the event feed."""

from core.errors import Conflict, DomainError, Invalid


class WebhookUrlNotAllowed(Invalid):
    message = "Webhooks are not sent to this URL: {0}."


class TooManyEndpoints(Conflict):
    message = "There are already {0} webhook endpoints: delete one first."


class UnknownEventType(Invalid):
    message = "There is no event {0}; docs/asyncapi.json lists them all."


class EndpointDisabled(Conflict):
    message = "The endpoint is disabled ({0}): enable it first."


class EventsExpired(DomainError):
    status = 410
    message = "Events after {0} have expired. Start again without ``after``, and fetch the current state by the API."
