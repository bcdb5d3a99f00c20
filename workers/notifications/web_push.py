"""Push messages to browsers: encrypted for each, signed by us (VAPID). Loaded with the first of them."""

import json
from typing import Any

import requests
from pywebpush import WebPushException, webpush

import settings
from models.log import get_logger
from models.notifications import Device

from .push import KEPT_SECONDS, Answer

log = get_logger(__name__)

_GONE = (404, 410)
_TOO_MANY, _SERVER_ERROR = 429, 500


def send(device: Device, message: dict[str, Any]) -> Answer:
    """Hand ``message`` to the push service of a browser."""
    try:
        webpush(
            {"endpoint": device.address, "keys": device.keys},
            data=json.dumps(message, ensure_ascii=False),
            vapid_private_key=settings.VAPID_PRIVATE_KEY,
            vapid_claims={"sub": settings.VAPID_SUBJECT},
            ttl=KEPT_SECONDS,
            # Sent again before the browser woke up, it takes the place of the first.
            headers={"Topic": message["id"]},
            timeout=settings.PUSH_TIMEOUT_SECONDS,
        )
    except WebPushException as error:
        return _refusal(error.response)
    except requests.RequestException as error:
        log.warning("push service does not answer", reason=str(error))
        return Answer.LATER
    except (ValueError, TypeError) as error:  # keys that are none
        log.warning("push cannot be encrypted", reason=str(error))
        return Answer.REFUSED
    return Answer.TAKEN


def _refusal(response: requests.Response | None) -> Answer:
    status = response.status_code if response is not None else _SERVER_ERROR
    log.warning("push not taken", status=status)
    if status in _GONE:
        return Answer.GONE
    return Answer.LATER if status == _TOO_MANY or status >= _SERVER_ERROR else Answer.REFUSED
