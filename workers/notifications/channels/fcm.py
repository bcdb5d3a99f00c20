"""Push messages to apps by Firebase Cloud Messaging (FCM). Imported when the first message is sent."""

import json
from functools import cache
from typing import Any

import firebase_admin
from firebase_admin import credentials, exceptions, messaging
from google.auth.exceptions import GoogleAuthError

import settings
from core.log import get_logger
from models.notifications import Device

from .push import TTL_SECONDS, PushResult

log = get_logger(__name__)


def send(device: Device, message: dict[str, Any]) -> PushResult:
    """Send ``message`` to an app by FCM."""
    fcm_message = messaging.Message(
        token=device.address,
        notification=messaging.Notification(title=message["title"], body=message["body"]),
        data={"id": message["id"], **{name: _as_text(value) for name, value in message["data"].items()}},
        # Tag and collapse id let a repeated message replace the first one on the device.
        android=messaging.AndroidConfig(ttl=TTL_SECONDS, notification=messaging.AndroidNotification(tag=message["id"])),
        apns=messaging.APNSConfig(headers={"apns-collapse-id": message["id"]}),
    )
    try:
        messaging.send(fcm_message, app=_firebase())
    except (messaging.UnregisteredError, messaging.SenderIdMismatchError):
        return PushResult.UNREGISTERED
    except exceptions.InvalidArgumentError as error:
        log.warning("push rejected", reason=str(error))
        return PushResult.REJECTED
    except (exceptions.FirebaseError, GoogleAuthError) as error:
        log.warning("push not accepted", reason=str(error))
        return PushResult.RETRY
    return PushResult.ACCEPTED


@cache
def _firebase() -> firebase_admin.App:
    # The SDK has no setting for the URL; it reads this constant when the first message is sent.
    messaging._MessagingService.FCM_URL = f"{settings.FCM_URL}/v1/projects/{{0}}/messages:send"  # noqa: SLF001
    account = credentials.Certificate(str(settings.FIREBASE_CREDENTIALS))
    return firebase_admin.initialize_app(account, {"httpTimeout": settings.PUSH_TIMEOUT_SECONDS}, name="coursebus")


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
