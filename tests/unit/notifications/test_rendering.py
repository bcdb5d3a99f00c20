import tomllib
from datetime import UTC, datetime

import msgspec
import pytest

import settings
from core.db import new_id
from models.notifications import Contact
from tests.integration.notifications.factories import EVENT_BY_HANDLER, payment_succeeded
from workers.notifications.notification_rules import REMINDER_RULES, RULES
from workers.notifications.rendering import LANGUAGES, TEMPLATES, language_of, render

TEMPLATE_NAMES = {rule.template for rule in (*RULES.values(), *REMINDER_RULES.values())}


def make_recipient(**contact) -> Contact:
    return Contact(**{"email_verified": True, "name": "Ann", "locale": "en", "timezone": "UTC", **contact})


def render_receipt(locale: str = "en", timezone: str = "UTC", **fields) -> str:
    data = msgspec.to_builtins(payment_succeeded(new_id(), **fields))
    rendered = render("receipt", make_recipient(locale=locale, timezone=timezone), data)
    return "\n".join([rendered.lead, *rendered.more])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_all_templates_and_parts(language: str):
    texts = tomllib.loads((TEMPLATES / f"{language}.toml").read_text())

    links = texts.pop("links")
    assert {name for name, parts in texts.items() if isinstance(parts, dict)} == TEMPLATE_NAMES
    assert all(texts[name].keys() - {"link"} == {"title", "lead", "more"} for name in TEMPLATE_NAMES)
    assert {parts["link"] for parts in texts.values() if "link" in parts} == links.keys()


@pytest.mark.parametrize(("web_url", "links"), [("https://shop.example", 1), ("", 0)])
def test_mail_links_to_its_order_where_the_storefront_has_an_address(monkeypatch, web_url: str, links: int):
    monkeypatch.setattr(settings, "WEB_URL", web_url)
    event = payment_succeeded(new_id())

    receipt = "\n".join(render("receipt", make_recipient(), msgspec.to_builtins(event)).more)

    assert receipt.count(f"https://shop.example/orders/{event.order_id}") == links


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("make_event", EVENT_BY_HANDLER.values(), ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["Ann", None])
def test_every_event_is_rendered_in_every_language(language: str, make_event, name: str | None):
    event = make_event(new_id())
    rendered = render(
        RULES[type(event)].template, make_recipient(name=name, locale=language), msgspec.to_builtins(event)
    )

    assert "None" not in " ".join([rendered.greeting, rendered.title, rendered.lead, *rendered.more])


@pytest.mark.parametrize(
    ("locale", "language"), [("ru", "ru"), ("ru-RU", "ru"), ("en-GB", "en"), ("pt-BR", "en"), ("", "en")]
)
def test_unsupported_locale_falls_back_to_english(locale: str, language: str):
    assert language_of(locale) == language


@pytest.mark.parametrize(
    ("amount_minor", "currency", "locale", "expected"),
    [
        (4900, "USD", "en", "$49.00"),
        (5, "USD", "en", "$0.05"),
        (499000, "RUB", "ru", "4 990,00 ₽"),
        (4900, "JPY", "en", "¥4,900"),
        (4900, "KWD", "en", "KWD 4.900"),
        (1000, "CLP", "en", "CLP 1,000"),
        (12345, "OMR", "ru", "12,345 OMR"),
    ],
)
def test_receipt_shows_exact_amount(amount_minor: int, currency: str, locale: str, expected: str):
    assert expected in render_receipt(locale, amount_minor=amount_minor, currency=currency)


@pytest.mark.parametrize(
    ("locale", "expected"),
    [("en", "March 2, 2026, 1:30 AM"), ("ru", "2 марта 2026 \N{CYRILLIC SMALL LETTER GHE}., 01:30")],
)
def test_receipt_shows_time_in_recipient_timezone(locale: str, expected: str):
    paid_at = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
    receipt = render_receipt(locale, timezone="Europe/Moscow", paid_at=paid_at)

    assert f"{expected} (Europe/Moscow)" in receipt
