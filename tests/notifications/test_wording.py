import tomllib
from datetime import UTC, datetime

import msgspec
import pytest

from models.base import new_id
from models.notifications import Contact
from tests.notifications.factories import TOLD, payment_succeeded
from workers.notifications.rules import REMINDERS, RULES
from workers.notifications.wording import LANGUAGES, TEMPLATES, language_of, words

NOTIFICATIONS = {rule.template for rule in (*RULES.values(), *REMINDERS.values())}


def reader(**contact) -> Contact:
    return Contact(**{"email_verified": True, "name": "Ann", "locale": "en", "timezone": "UTC", **contact})


def receipt(locale: str = "en", timezone: str = "UTC", **fields) -> str:
    data = msgspec.to_builtins(payment_succeeded(new_id(), **fields))
    said = words("receipt", reader(locale=locale, timezone=timezone), data)
    return "\n".join([said.lead, *said.more])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_notification_in_all_its_parts(language: str):
    texts = tomllib.loads((TEMPLATES / f"{language}.toml").read_text())

    assert {name for name, parts in texts.items() if isinstance(parts, dict)} == NOTIFICATIONS
    assert all(texts[name].keys() == {"title", "lead", "more"} for name in NOTIFICATIONS)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("make_event", TOLD.values(), ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", ["Ann", None])
def test_every_event_finds_its_words(language: str, make_event, name: str | None):
    event = make_event(new_id())
    said = words(RULES[type(event)].template, reader(name=name, locale=language), msgspec.to_builtins(event))

    assert "None" not in " ".join([said.greeting, said.title, said.lead, *said.more])


@pytest.mark.parametrize(
    ("locale", "language"), [("ru", "ru"), ("ru-RU", "ru"), ("en-GB", "en"), ("pt-BR", "en"), ("", "en")]
)
def test_who_speaks_none_of_our_languages_is_written_to_in_english(locale: str, language: str):
    assert language_of(locale) == language


@pytest.mark.parametrize(
    ("amount_minor", "currency", "locale", "said"),
    [
        (4900, "USD", "en", "49.00 USD"),
        (5, "USD", "en", "0.05 USD"),
        (499000, "RUB", "ru", "4990,00 RUB"),
        (4900, "JPY", "en", "4900 JPY"),
        (4900, "KWD", "en", "4.900 KWD"),
        (1000, "CLP", "en", "1000 CLP"),
        (12345, "OMR", "ru", "12,345 OMR"),
    ],
)
def test_a_receipt_names_the_exact_amount(amount_minor: int, currency: str, locale: str, said: str):
    assert said in receipt(locale, amount_minor=amount_minor, currency=currency)


def test_a_receipt_tells_the_time_of_its_reader():
    paid_at = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)

    assert "2026-03-02 01:30 (Europe/Moscow)" in receipt(timezone="Europe/Moscow", paid_at=paid_at)
