"""Push messages to browsers by Web Push: encrypted per device and signed by VAPID. Imported with the first message."""

import json
from dataclasses import dataclass, field
from typing import Any

from pywebpush import WebPushException, webpush

import settings
from models.log import get_logger
from models.notifications import Device
from workers import _outbound

from .push import KEPT_SECONDS, Answer, is_push_service, is_stand_in

log = get_logger(__name__)

_GONE = (404, 410)
_TOO_MANY, _SERVER_ERROR = 429, 500
_NO_ANSWER = 599  # no HTTP response: handled like a server error


@dataclass(frozen=True)
class _Response:
    """The attributes of a response that pywebpush reads."""

    status_code: int
    reason: str
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class _Session:
    """Replacement for pywebpush's requests session that sends by ``_outbound``, which prevents SSRF."""

    def post(self, endpoint: str, *, data: bytes, headers: dict[str, str], timeout: float) -> _Response:
        reply = _outbound.post(endpoint, data, headers, timeout_seconds=timeout, loopback=is_stand_in(endpoint))
        return _Response(reply.status or _NO_ANSWER, reply.error or "")


def send(device: Device, message: dict[str, Any]) -> Answer:
    """Send ``message`` to a browser by its push service."""
    if not is_push_service(device.address):  # registered before the host was disallowed
        log.warning("push service refused", device_id=device.id)
        return Answer.GONE
    try:
        webpush(
            {"endpoint": device.address, "keys": device.keys},
            data=json.dumps(message, ensure_ascii=False),
            vapid_private_key=settings.VAPID_PRIVATE_KEY,
            vapid_claims={"sub": settings.VAPID_SUBJECT},
            ttl=KEPT_SECONDS,
            # RFC 8030, 5.4: a repeated message replaces one with the same topic that is not delivered yet.
            headers={"Topic": message["id"]},
            timeout=settings.PUSH_TIMEOUT_SECONDS,
            requests_session=_Session(),  # pywebpush calls nothing but post
        )
    except WebPushException as error:
        return _refusal(error.response)
    except (ValueError, TypeError) as error:  # invalid keys of the subscription
        log.warning("push cannot be encrypted", reason=str(error))
        return Answer.REFUSED
    return Answer.TAKEN


def _refusal(response: Any) -> Answer:
    status = response.status_code if response is not None else _SERVER_ERROR
    log.warning("push not taken", status=status, reason=response.reason if response is not None else None)
    if status in _GONE:
        return Answer.GONE
    return Answer.LATER if status == _TOO_MANY or status >= _SERVER_ERROR else Answer.REFUSED
