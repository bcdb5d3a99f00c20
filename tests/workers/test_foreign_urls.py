"""Every client that calls URLs from outside refuses the same hostile ones: when they are registered and when called."""

import socket
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

import settings
from models.base import new_id, now
from models.errors import PushServiceRefused, WebhookUrlRefused
from models.notifications import Device
from tests.notifications.conftest import OneSession, Pokes
from tests.notifications.factories import make_contact
from workers import _outbound
from workers.integrations import courier
from workers.integrations.endpoints import change_endpoint, create_endpoint
from workers.notifications import web_push
from workers.notifications.devices import Subscription, register_device
from workers.notifications.push import Answer

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
    """Places that something connected to, in spite of all. Nothing on this machine is an exception here."""
    called: list[tuple[str, int]] = []
    monkeypatch.setattr(settings, "WEBHOOK_LOOPBACK", False)
    monkeypatch.setattr(_outbound.socket, "create_connection", lambda place, **_: called.append(place))
    real = socket.getaddrinfo

    def known_names(host: str, port: int, **options):
        # Of names none is asked for: all would be public.
        name = not host.replace(".", "").isdecimal() and ":" not in host and not host.startswith("0x")
        return real("93.184.216.34" if name else host, port, **options)

    monkeypatch.setattr(_outbound.socket, "getaddrinfo", known_names)
    return called


def push_to(endpoint: str) -> Answer:
    device = Device(id=new_id(), user_id=new_id(), kind="web_push", address=endpoint, keys=KEYS, created_at=now())
    return web_push.send(device, {"id": new_id().hex, "title": "x", "body": "x", "data": {}})


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_url_is_refused_as_a_webhook(session: Session, no_call, url: str):
    sessions = OneSession(session)

    with pytest.raises(WebhookUrlRefused):
        create_endpoint(sessions, url=url, description="", event_types=["USER_CREATED"])
    with pytest.raises(WebhookUrlRefused):
        change_endpoint(sessions, Pokes(), endpoint_id=new_id(), expected_version=1, changes={"url": url})
    outcome = courier.post(url, {"id": "1"}, secrets=[], timeout_seconds=1)

    assert (outcome.status_code, outcome.error) == (None, "address_refused")
    assert no_call == []


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_url_is_refused_as_a_push_service(session: Session, no_call, url: str):
    user_id: UUID = make_contact(session)

    with pytest.raises(PushServiceRefused):
        register_device(session, user_id=user_id, subscription=Subscription(endpoint=url, keys=KEYS))

    assert push_to(url) is Answer.GONE  # as if it had been stored before the present rules
    assert no_call == []


def test_push_service_whose_name_leads_to_a_private_address_is_not_called(no_call, monkeypatch):
    place = (socket.AF_INET, 1, 6, "", ("10.0.0.1", 443))
    monkeypatch.setattr(_outbound.socket, "getaddrinfo", lambda *_, **__: [place])

    assert push_to("https://fcm.googleapis.com/x") is Answer.LATER
    assert no_call == []
