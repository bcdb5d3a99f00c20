"""Push messages to browsers by Web Push: encrypted per device and signed by VAPID. Imported with the first message."""

import json
from dataclasses import dataclass, field
from typing import Any

from pywebpush import WebPushException, webpush

import settings
from core.log import get_logger
from models.notifications import Device
from workers.runtime import safe_http

from .push import TTL_SECONDS, PushResult, is_fake, is_push_service

log = get_logger(__name__)

_GONE = (404, 410)
_TOO_MANY, _SERVER_ERROR = 429, 500
_NO_RESPONSE = 599  # no HTTP response: handled like a server error


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
        reply = safe_http.post(endpoint, data, headers, timeout_seconds=timeout, loopback=is_fake(endpoint))
        return _Response(reply.status or _NO_RESPONSE, reply.error or "")


def send(device: Device, message: dict[str, Any]) -> PushResult:
    """Send ``message`` to a browser by its push service."""
    if not is_push_service(device.address):  # registered before the host was disallowed
        log.warning("push service not allowed", device_id=device.id)
        return PushResult.UNREGISTERED
    try:
        webpush(
            {"endpoint": device.address, "keys": device.keys},
            data=json.dumps(message, ensure_ascii=False),
            vapid_private_key=settings.VAPID_PRIVATE_KEY,
            vapid_claims={"sub": settings.VAPID_SUBJECT},
            ttl=TTL_SECONDS,
            # RFC 8030, 5.4: a repeated message replaces one with the same topic that is not delivered yet.
            headers={"Topic": message["id"]},
            timeout=settings.PUSH_TIMEOUT_SECONDS,
            requests_session=_Session(),  # pywebpush calls nothing but post
        )
    except WebPushException as error:
        return _result_of_error(error.response)
    except (ValueError, TypeError) as error:  # invalid keys of the subscription
        log.warning("push cannot be encrypted", reason=str(error))
        return PushResult.REJECTED
    return PushResult.ACCEPTED


def _result_of_error(response: Any) -> PushResult:
    status = response.status_code if response is not None else _SERVER_ERROR
    log.warning("push not accepted", status=status, reason=response.reason if response is not None else None)
    if status in _GONE:
        return PushResult.UNREGISTERED
    return PushResult.RETRY if status == _TOO_MANY or status >= _SERVER_ERROR else PushResult.REJECTED
