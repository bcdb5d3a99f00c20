"""Push messages to apps by the HTTP v1 API of Firebase Cloud Messaging (FCM). Imported when the first is sent.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import json
from functools import cache
from http import HTTPStatus
from typing import Any

from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.service_account import Credentials
from requests import RequestException, Response

import settings
from core.log import get_logger
from models.notifications import Device

from .push import TTL_SECONDS, PushResult

log = get_logger(__name__)

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_UNREGISTERED_CODES = {"UNREGISTERED", "SENDER_ID_MISMATCH"}  # the app was removed, or belongs to another project


def send(device: Device, message: dict[str, Any]) -> PushResult:
    """Send ``message`` to an app by FCM."""
    # Tag and collapse id let a repeated message replace the first one on the device.
    fcm_message = {
        "token": device.address,
        "notification": {"title": message["title"], "body": message["body"]},
        "data": {"id": message["id"], **{name: _as_text(value) for name, value in message["data"].items()}},
        "android": {"ttl": f"{TTL_SECONDS}s", "notification": {"tag": message["id"]}},
        "apns": {"headers": {"apns-collapse-id": message["id"]}},
    }
    try:
        session = _session()
        response = session.post(
            f"{settings.FCM_URL}/v1/projects/{session.credentials.project_id}/messages:send",
            json={"message": fcm_message},
            timeout=settings.PUSH_TIMEOUT_SECONDS,
        )
    except (RequestException, GoogleAuthError) as error:
        log.warning("push not accepted", reason=str(error))
        return PushResult.RETRY
    return _result_of(response)


def _result_of(response: Response) -> PushResult:
    if response.ok:
        return PushResult.ACCEPTED
    code = _error_code(response)
    log.warning("push not accepted", status=response.status_code, reason=code)
    if code in _UNREGISTERED_CODES:
        return PushResult.UNREGISTERED
    return PushResult.REJECTED if response.status_code == HTTPStatus.BAD_REQUEST else PushResult.RETRY


def _error_code(response: Response) -> str | None:
    """Return FCM's error code; None if the response is not from FCM, such as the page of a proxy."""
    try:
        details = response.json()["error"]["details"]
        return next((detail["errorCode"] for detail in details if "errorCode" in detail), None)
    except (ValueError, KeyError, TypeError):
        return None


@cache
def _session() -> AuthorizedSession:
    # It obtains an access token with the first request and renews the token before it expires.
    return AuthorizedSession(
        Credentials.from_service_account_file(str(settings.FIREBASE_CREDENTIALS), scopes=[_SCOPE]),
        refresh_timeout=settings.PUSH_TIMEOUT_SECONDS,
    )


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
