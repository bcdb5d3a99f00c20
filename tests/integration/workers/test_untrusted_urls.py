"""All clients of external URLs reject the same hostile URLs, at registration and at each call."""

import socket
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

import settings
from core.db import new_id, utc_now
from models.commands.notifications import WebPushSubscription
from models.errors import PushServiceNotAllowed, WebhookUrlNotAllowed
from models.notifications import Device
from tests.integration.notifications.factories import make_contact
from tests.support.dependencies import RecordedEnqueues, SavepointTransactions
from workers.integrations import webhook_sender
from workers.integrations.endpoints import change_endpoint, create_endpoint
from workers.notifications.channels import web_push
from workers.notifications.channels.push import PushResult
from workers.notifications.devices import register_device
from workers.runtime import safe_http

HOSTILE = [
    *("https://127.0.0.1\\.fcm.googleapis.com/x", "https://evil.test\\@fcm.googleapis.com/x", "https://evil.test\\/x"),
    *("https://fcm.googleapis.com@127.0.0.1/x", "https://user:password@fcm.googleapis.com/x", "https://@127.0.0.1/x"),
    *("https://127.0.0.1/x", "https://[::1]/x", "https://[::ffff:127.0.0.1]/x", "https://2130706433/x"),
    *("https://10.0.0.1/x", "https://169.254.169.254/latest", "https://168.63.129.16/x", "https://0x7f000001/x"),
    *("http://93.184.216.34/x", "ftp://fcm.googleapis.com/x", "//fcm.googleapis.com/x", "fcm.googleapis.com", ""),
    *("https://fcm.googleapis.com:22/x", "https://fcm.googleapis.com:99999/x", "https://fcm.googleapis.com:/x"),
    *("https://fcm.googleapis.com /x", " https://fcm.googleapis.com/x", "https://fcm.googleapis.com/x\r\nHost: evil"),
    *("https://fcm.googleapis.com\t/x", "https://fcm.googleapis.com/\0", "https://fcm.googleapis.com\uff0eevil.test/x"),
    *(
        "https://fcm.googleapis.com%2eevil.test/x",
        "https:///x",
        "https:/fcm.googleapis.com/x",
        "https:fcm.googleapis.com",
    ),
    *("javascript:alert(1)", "file:///etc/passwd", "https://[::1/x", "https://fcm.googleapis.com/ü"),
]
KEYS = {
    "p256dh": "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM",
    "auth": "tBHItJI5svbpez7KI4CCXg",
}


@pytest.fixture(autouse=True)
def no_call(monkeypatch) -> list[tuple[str, int]]:
    """Record connections; tests assert that there are none. The exception for loopback addresses is disabled."""
    called: list[tuple[str, int]] = []
    monkeypatch.setattr(settings, "WEBHOOK_ALLOW_LOOPBACK", False)
    monkeypatch.setattr(safe_http.socket, "create_connection", lambda place, **_: called.append(place))
    real = socket.getaddrinfo

    def known_names(host: str, port: int, **options):
        # Names are not looked up: each resolves to a public address.
        name = not host.replace(".", "").isdecimal() and ":" not in host and not host.startswith("0x")
        return real("93.184.216.34" if name else host, port, **options)

    monkeypatch.setattr(safe_http.socket, "getaddrinfo", known_names)
    return called


def push_to(endpoint: str) -> PushResult:
    device = Device(id=new_id(), user_id=new_id(), kind="web_push", address=endpoint, keys=KEYS, created_at=utc_now())
    return web_push.send(device, {"id": new_id().hex, "title": "x", "body": "x", "data": {}})


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_url_is_rejected_as_webhook(session: Session, no_call, url: str):
    transactions = SavepointTransactions(session)

    with pytest.raises(WebhookUrlNotAllowed):
        create_endpoint(transactions, url=url, description="", event_types=["USER_CREATED"])
    with pytest.raises(WebhookUrlNotAllowed):
        change_endpoint(
            transactions, RecordedEnqueues(), endpoint_id=new_id(), expected_version=1, changes={"url": url}
        )
    outcome = webhook_sender.post(url, {"id": "1"}, secrets=[], timeout_seconds=1)

    assert (outcome.status_code, outcome.error) == (None, "address_refused")
    assert no_call == []


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_url_is_rejected_as_push_service(session: Session, no_call, url: str):
    user_id: UUID = make_contact(session)

    with pytest.raises(PushServiceNotAllowed):
        register_device(session, user_id=user_id, subscription=WebPushSubscription(endpoint=url, keys=KEYS))

    assert push_to(url) is PushResult.UNREGISTERED  # like a URL stored before these rules existed
    assert no_call == []


def test_push_service_resolving_to_private_address_is_not_called(no_call, monkeypatch):
    address = (socket.AF_INET, 1, 6, "", ("10.0.0.1", 443))
    monkeypatch.setattr(safe_http.socket, "getaddrinfo", lambda *_, **__: [address])

    assert push_to("https://fcm.googleapis.com/x") is PushResult.RETRY
    assert no_call == []
