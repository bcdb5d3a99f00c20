import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr

import pytest

from models.base import new_id, now
from models.notifications import Contact, Delivery, Unsubscription
from ops import mails
from workers.notifications.mail import address_of, compose


def make_delivery(*, mandatory: bool = False, **data) -> Delivery:
    return Delivery(
        id=new_id(),
        user_id=new_id(),
        category="progress",
        channel="email",
        template="lesson_completed",
        mandatory=mandatory,
        data={
            "course_title": "Practical Statistics",
            "lesson_title": "Means and medians",
            "lessons_completed": 2,
            "lessons_total": 5,
            **data,
        },
        created_at=now(),
        attempts=1,
    )


def on_the_wire(delivery: Delivery, **contact) -> bytes:
    reader = Contact(**{"email": "ann@example.com", "name": "Ann", "locale": "en", "timezone": "UTC", **contact})
    return compose(delivery, reader, address_of(reader)).as_bytes()


def sent(delivery: Delivery, **contact) -> EmailMessage:
    """The mail as the other side reads it."""
    return message_from_bytes(on_the_wire(delivery, **contact), policy=default)


def test_a_mail_has_a_text_and_an_html_part_with_the_same_words():
    mail = sent(make_delivery())
    text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))

    assert mail.get_content_type() == "multipart/alternative"
    for words in ("Hello Ann,", "You have completed 2 of 5 lessons of “Practical Statistics”.", "Your Coursebus team"):
        assert words in text
        assert words in html


def test_a_mail_passes_servers_that_know_ascii_only():
    assert on_the_wire(make_delivery(), name="Анна", locale="ru").isascii()


def test_a_mail_speaks_the_language_of_its_reader():
    mail = sent(make_delivery(lesson_title="Средние"), name="Анна", locale="ru")

    assert mail["Subject"] == "Урок пройден: Средние"
    assert "Здравствуйте, Анна!" in mail.get_body(("plain",)).get_content()
    assert '<html lang="ru"' in mail.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    "name", ["Анна Ивановна Константинопольская-Рождественская", 'Ann "Q", Jr.', "Zoë <x@y>", "张伟"]
)
def test_a_name_in_any_script_comes_out_as_it_went_in(name: str):
    # Not the modern parser: Python 3.11's puts a space between two encoded words of a phrase.
    encoded, address = parseaddr(message_from_bytes(on_the_wire(make_delivery(), name=name))["To"])

    assert (str(make_header(decode_header(encoded))), address) == (name, "ann@example.com")


@pytest.mark.parametrize("line_break", ["\r\n", "\n", "\r", "\u2028", "\x85", "\x0b"])
def test_nothing_from_outside_starts_a_header_of_its_own(line_break: str):
    poison = f"Ann{line_break}Bcc: eve@example.com"
    mail = sent(make_delivery(lesson_title=poison, course_title=poison), name=poison)

    assert mail["Bcc"] is None
    assert mail["Subject"] == "Lesson complete: Ann Bcc: eve@example.com"
    assert mail["To"].addresses[0].display_name == "Ann Bcc: eve@example.com"


def test_markup_from_outside_is_text():
    mail = sent(make_delivery(course_title="<script>alert(1)</script> {{ name }}"))

    assert "&lt;script&gt;" in mail.get_body(("html",)).get_content()
    assert "<script>" not in mail.get_body(("html",)).get_content()
    assert "<script>alert(1)</script> {{ name }}" in mail.get_body(("plain",)).get_content()


def test_the_same_delivery_composed_again_is_the_same_message():
    delivery = make_delivery()
    first, second = sent(delivery), sent(delivery)

    assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])


def test_holiday_replies_are_not_asked_for():
    assert sent(make_delivery())["Auto-Submitted"] == "auto-generated"


def test_a_mail_says_in_its_headers_and_at_its_end_how_to_get_no_more_of_them():
    delivery = make_delivery()
    mail = sent(delivery)
    url = mail["List-Unsubscribe"].strip("<>")

    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert Unsubscription.of(url.rpartition("/")[2]) == Unsubscription(delivery.user_id, "progress")
    for kind in ("plain", "html"):
        assert url in mail.get_body((kind,)).get_content()


def test_a_mandatory_mail_offers_no_way_to_get_none():
    mail = sent(make_delivery(mandatory=True))

    assert mail["List-Unsubscribe"] is mail["List-Unsubscribe-Post"] is None
    assert "/v1/unsubscribe/" not in mail.as_string()


def test_the_layout_is_the_compiled_one():
    assert mails.COMPILED.read_text() == mails.compiled(), "the layout has changed: make mails"


def test_a_mail_loads_nothing_from_elsewhere():
    html = sent(make_delivery()).get_body(("html",)).get_content()

    assert not {"<img", "<link", "@import", "url("} & set(re.findall(r"<img|<link|@import|url\(", html))
