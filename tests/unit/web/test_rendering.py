"""Storefront and console are shown in both languages, with much data and with none, without English in Russian."""

import re
from html.parser import HTMLParser

import pytest
from flask import Flask, url_for

import web
from tests.support.sample_client import SAMPLE_ID, SampleClient
from web.sessions import ServerSession

_ARGUMENTS = {
    "kind": "payments",  # a kind of reviews, and a job
    "action": "revoke",
    "code": "Ж-7",
    "ref": "узлы",
    "slot": "2026-11-30T03:00",
    "number": "1",
}
_QUERIES = {"console.traced_requests": {"key": "7"}, "console.access": {"course_id": "7"}}
_QUERIES |= {"checkout.checkout": {"course": "7"}}
_NO_PAGES = {"static", "sign_in", "signed_in", "set_language"}
# Names, units and codes that are the same in Russian.
_LATIN = {"Coursebus", "English", "UTC", "API", "Kafka", "Flower", "Grafana", "Stripe", "Visa", "Mastercard", "push"}
_LATIN |= {"Open", "Badge", "PDF", "RUB", "Python", "Europe", "Moscow", "https", "data", "Kassa", "Push", "payments"}


class Page(HTMLParser):
    """The texts of a page that are read or read aloud, except code and lists of names."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._skipped = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped += tag in {"code", "script", "style", "datalist"}
        self.texts += [value or "" for name, value in attrs if name in {"aria-label", "placeholder", "title", "alt"}]

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in {"code", "script", "style", "datalist"}

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.texts.append(data)


@pytest.fixture(scope="module")
def app() -> Flask:
    """The pages, seen by a member of staff with all permissions."""
    app = web.create_app()
    permissions = ["users:admin", "payments:read", "payments:admin", "payments:refund", "ops:admin"]
    permissions += ["courses:admin", "courses:write", "notifications:admin"]
    signed_in = {"token": "t", "name": "Маша", "permissions": permissions, "form_token": "t"}

    class Sessions(type(app.session_interface)):  # type: ignore[misc]  # a class that is known at run time
        def open_session(self, app, request):  # noqa: ARG002 Flask's signature
            return ServerSession("s", dict(signed_in))

        def save_session(self, app, session, response):
            pass

    app.session_interface = Sessions()
    return app


def addresses() -> list[str]:
    """Return the address of every page of storefront and console. The editor of courses needs more exact data."""
    app = web.create_app()
    found = []
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint not in _NO_PAGES and not rule.rule.startswith("/teach/"):
            arguments = {name: _ARGUMENTS.get(name, SAMPLE_ID) for name in rule.arguments}
            with app.test_request_context():
                found.append(url_for(rule.endpoint, **arguments, **_QUERIES.get(rule.endpoint, {})))
    return found


@pytest.mark.parametrize("is_empty", [False, True], ids=["full", "empty"])
@pytest.mark.parametrize("address", addresses())
def test_page_is_shown_in_both_languages(app: Flask, address: str, *, is_empty: bool):
    app.extensions["coursebus_signed_in"] = SampleClient(is_empty=is_empty)
    browser = app.test_client()

    english = browser.get(address, headers={"Accept-Language": "en"})
    russian = browser.get(address, headers={"Accept-Language": "ru"})

    assert english.status_code == russian.status_code
    assert english.status_code in {200, 302, 303}
    if russian.status_code == 200 and russian.mimetype == "text/html":
        texts = " ".join(Page(russian.text).texts)
        assert set(re.findall("[A-Za-z]{3,}", texts)) - _LATIN == set()
