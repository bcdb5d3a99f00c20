"""The pages without servers: texts, redirects, headers, and forms of other sites."""

from pathlib import Path

import httpx
import pytest
from coursebus import models
from flask import render_template
from flask.testing import FlaskClient

import settings
import web
from settings import ROOT
from web import page_cache
from web.api import ForwardingTransport
from web.navigation import own_path


@pytest.fixture
def browser() -> FlaskClient:
    return web.create_app().test_client()


@pytest.mark.parametrize(
    "address", ["//evil.example", "https://evil.example", "/\\evil.example", "\t//evil.example", "evil", "", None]
)
def test_no_link_leads_to_another_host(address):
    assert own_path(address, default="/home") == "/home"
    assert own_path("/learn?page=2") == "/learn?page=2"


def test_language_of_the_browser_or_of_the_cookie_is_used(browser):
    russian = browser.get("/nothing", headers={"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.5"})
    assert "Такой страницы нет" in russian.text
    assert '<html lang="ru">' in russian.text

    chosen = browser.get("/language/en?next=//evil.example")
    assert chosen.headers["Location"] == "/"
    assert "This page does not exist" in browser.get("/nothing", headers={"Accept-Language": "ru"}).text


def test_pages_have_no_inline_script_or_style(browser):
    policy = dict(part.split(" ", 1) for part in browser.get("/livez").headers["Content-Security-Policy"].split("; "))

    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    for template in Path(ROOT / "web" / "templates").rglob("*.html"):
        assert "style=" not in template.read_text(), template
        assert "onclick" not in template.read_text(), template


def test_form_of_another_site_is_refused(browser):
    assert browser.post("/sign-out").status_code == 400
    assert browser.post("/checkout", data={"form_token": ""}).status_code == 400


def test_page_says_so_if_the_api_does_not_answer(browser):
    response = browser.get("/")  # no gateway is running

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "10"
    assert "Nothing was lost" in response.text


@pytest.mark.parametrize(
    ("proxies", "peer", "written", "named"),
    [
        (0, "203.0.113.7", "198.51.100.1", "203.0.113.7"),
        (1, "10.0.0.1", "198.51.100.1, 203.0.113.7:5678", "203.0.113.7"),
        (1, "10.0.0.1", "x" * 300, "unknown"),
        (1, "203.0.113.7", "198.51.100.1", "203.0.113.7"),  # not a proxy
        (2, "10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7, 203.0.113.7"),
    ],
)
def test_address_of_the_visitor_is_named_to_the_gateway(monkeypatch, proxies, peer, written, named):
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", proxies)
    monkeypatch.setattr(settings, "TRUSTED_PROXY_NETWORKS", ("10.0.0.0/8",))
    sent: list[httpx.Request] = []
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: sent.append(request))
    visit = {"headers": {"X-Forwarded-For": written}, "environ_base": {"REMOTE_ADDR": peer}}

    with web.create_app().test_request_context("/", **visit):
        ForwardingTransport().handle_request(httpx.Request("GET", "http://gateway.test"))

    assert sent[0].headers["X-Forwarded-For"] == named


def test_visitors_share_a_page_and_a_session_gets_its_own(browser, monkeypatch):
    monkeypatch.setattr("web.catalogue.client", lambda: 1 / 0)
    with browser.application.test_request_context("/?"):
        page_cache.same_for_all_visitors(lambda: "the kept page")()

    assert browser.get("/").text == "the kept page"
    assert browser.get("/?q=other", headers={"Accept-Language": "ru"}).status_code == 500
    page_cache.clear()


@pytest.mark.parametrize(
    ("content", "is_cross_origin"),
    [
        (models.LessonContent(url="https://store.example/v", file_id="f"), True),
        (models.LessonContent(url="https://videos.example/v"), False),  # its host may allow no other origin
    ],
)
def test_only_uploaded_videos_with_captions_are_loaded_across_origins(content, is_cross_origin):
    captions = {"role": "captions", "url": "https://store.example/c", "language": "en", "label": "English"}
    lesson = {"id": "l", "kind": "video", "content": content, "files": [captions]}
    place = {"lesson": {"id": "l", "title": "The bowline"}}
    course = {"title": "Knots", "slug": "knots", "language": "en", "sections": []}

    with web.create_app().test_request_context("/"):
        page = render_template("lesson.html", course=course, course_id="c", place=place, lesson=lesson)

    assert ('crossorigin="anonymous"' in page) is is_cross_origin
    assert f'src="{content.url}"' in page
