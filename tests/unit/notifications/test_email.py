import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import getaddresses, parseaddr
from random import Random

import pytest

import settings
from core.db import new_id, utc_now
from models.notifications import Contact, Delivery, UnsubscribeLink
from ops import compile_email_templates
from workers.notifications.channels import mime
from workers.notifications.channels.addresses import Mailbox
from workers.notifications.channels.email import build_message
from workers.notifications.channels.mime import MalformedMail


def make_delivery(*, mandatory: bool = False, **data) -> Delivery:
    return Delivery(
        id=new_id(),
        user_id=new_id(),
        sort_key=new_id(),
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
        created_at=utc_now(),
        attempts=1,
    )


def raw_message(delivery: Delivery, **contact) -> bytes:
    reader = Contact(
        **{
            "email": "ann@example.com",
            "email_verified": True,
            "name": "Ann",
            "locale": "en",
            "timezone": "UTC",
            **contact,
        }
    )
    return build_message(delivery, reader, Mailbox.parse(reader.email)).raw


def raw_header_lines(raw: bytes, name: str) -> list[str]:
    """Return the raw lines of all headers with this name, including folded lines."""
    head = raw.partition(b"\r\n\r\n")[0].decode()
    return [found for found in re.split(r"\r\n(?![ \t])", head) if found.lower().startswith(f"{name.lower()}:")]


def decoded_header(raw: bytes, name: str) -> str:
    [field] = raw_header_lines(raw, name)
    return str(make_header(decode_header(re.sub(r"\r\n(?=[ \t])", "", field.partition(": ")[2]))))


def parsed_message(delivery: Delivery, **contact) -> EmailMessage:
    """Return the mail as a mail client parses it."""
    return message_from_bytes(raw_message(delivery, **contact), policy=default)


def test_mail_has_matching_text_and_html_parts():
    mail = parsed_message(make_delivery())
    text, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))

    assert mail.get_content_type() == "multipart/alternative"
    for words in ("Hello Ann,", "You have completed 2 of 5 lessons of “Practical Statistics”.", "Your Coursebus team"):
        assert words in text
        assert words in html


def test_mail_is_ascii_on_the_wire():
    assert raw_message(make_delivery(), name="Анна", locale="ru").isascii()


def test_mail_uses_recipient_language():
    mail = parsed_message(make_delivery(lesson_title="Средние"), name="Анна", locale="ru")

    assert mail["Subject"] == "Урок пройден: Средние"
    assert "Здравствуйте, Анна!" in mail.get_body(("plain",)).get_content()
    assert '<html lang="ru"' in mail.get_body(("html",)).get_content()


@pytest.mark.parametrize(
    "name", ["Анна Ивановна Константинопольская-Рождественская", 'Ann "Q", Jr.', "Zoë <x>", "张伟"]
)
def test_recipient_name_roundtrips_in_any_script(name: str):
    # The legacy parser, because the modern one of Python 3.11 puts a space between two encoded words.
    encoded, address = parseaddr(message_from_bytes(raw_message(make_delivery(), name=name))["To"])

    assert (str(make_header(decode_header(encoded))), address) == (name, "ann@example.com")


LONG_NAME = "Dr. Long Long Long Long Long Smith, evil@evil, Jr., Esquire"
INJECTION_ATTEMPTS = {
    "line break": "x\r\nBcc: eve@example.com",
    "line feed": "x\nBcc: eve@example.com",
    "carriage return": "x\rBcc: eve@example.com",
    "line separator": "x\u2028Bcc: eve@example.com",
    "next line": "x\x85Bcc: eve@example.com",
    "vertical tab": "x\x0bBcc: eve@example.com",
    "encoded word": "=?utf-8?q?x=0D=0ABcc:_eve@example.com=0D=0A=0D=0A=3Ch1=3EPay=3C/h1=3E?=",
    "encoded word, base64": "=?utf-8?b?eA0KQmNjOiBldmVAZXhhbXBsZS5jb20=?=",
    "encoded word within others": "Ünïcode =?utf-8?q?=0D=0ABcc:_x?= end",
    "half an encoded word": "=?utf-8?q?x",
    "long": LONG_NAME,
    "long without spaces": "x" * 190,
    "a fold": "x\r\n Bcc: eve@example.com",
    "a NUL": "x\0y",
}
HEADER_NAMES = [
    "Message-ID",
    "Date",
    "From",
    "To",
    "Subject",
    "Auto-Submitted",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
]
HEADER_NAMES += ["MIME-Version", "Content-Type"]


@pytest.mark.parametrize("poison", INJECTION_ATTEMPTS.values(), ids=INJECTION_ATTEMPTS)
def test_header_injection_is_prevented(poison: str):
    raw = raw_message(make_delivery(lesson_title=poison, course_title=poison), name=poison)

    head, _, body = raw.partition(b"\r\n\r\n")
    assert re.findall(r"^([!-9;-~]+):", head.decode(), re.MULTILINE) == HEADER_NAMES
    assert body.startswith(b"--=_")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
    assert getaddresses([decoded_header(raw, "To")])[-1][1] == "ann@example.com"


def test_encoded_word_in_title_is_not_decoded():
    title = INJECTION_ATTEMPTS["encoded word"]
    raw = raw_message(make_delivery(lesson_title=title))

    assert decoded_header(raw, "Subject") == f"Lesson complete: {title}"
    assert parsed_message(make_delivery(lesson_title=title))["Subject"] == f"Lesson complete: {title}"


@pytest.mark.parametrize("name", [LONG_NAME, "Smith, evil@evil, Jr.", "x" * 60, "Ünï, " * 12, "=?utf-8?q?a,_b?="])
def test_name_with_commas_stays_one_address(name: str):
    raw = raw_message(make_delivery(), name=name.strip())
    [field] = raw_header_lines(raw, "To")
    unfolded = re.sub(r"\r\n(?=[ \t])", "", field.partition(": ")[2])

    assert [address for _, address in getaddresses([unfolded])] == ["ann@example.com"]


def random_subjects(count: int) -> list[str]:
    chance = Random(7)
    words = [
        "нейронных",
        "больших",
        "переменные",
        "café",
        "naïve",
        "and",
        "with",
        "“quoted”",
        "統計学",
        "🎓",
        "👩\u200d💻",
    ]
    words += ["a" * 30, "=?utf-8?q?x?=", "?=", "x=", "Ünï", "é" * 20, "_", "(comment)", '"']
    return [" ".join(chance.choices(words, k=chance.randint(1, 24))) for _ in range(count)]


def test_random_subjects_roundtrip():
    for subject in random_subjects(10_000):
        field = "Subject: " + mime.unstructured("Subject", subject)

        lines = field.split("\r\n")
        assert all(len(line) <= 76 and line.isascii() for line in lines)
        assert all(line.startswith(" ") for line in lines[1:])
        unfolded = "".join(lines)  # RFC 5322: unfolding removes the line break only
        assert str(make_header(decode_header(unfolded.removeprefix("Subject: ")))) == subject
        assert message_from_bytes(f"{field}\r\n\r\n".encode(), policy=default)["Subject"] == subject


def test_bidi_override_is_removed_from_subject_and_greeting():
    raw = raw_message(make_delivery(lesson_title="Means\u202e"), name="Ann\u202e")

    assert decoded_header(raw, "Subject") == "Lesson complete: Means"
    text = message_from_bytes(raw, policy=default).get_body(("plain",)).get_content()
    assert text.startswith("Hello Ann,")


@pytest.mark.parametrize(
    "name",
    [
        "Your card was charged. Cancel at http://evil.test/cancel",
        "evil.test",
        "go to www.evil.test now",
        "a/b",
        "a: b",
        "eve@evil",
        "x" * 61,
        "\u200b",
        None,
    ],
)
def test_suspicious_recipient_name_is_omitted(name: str | None):
    raw = raw_message(make_delivery(), name=name)

    assert raw_header_lines(raw, "To") == ["To: ann@example.com"]
    assert message_from_bytes(raw, policy=default).get_body(("plain",)).get_content().startswith("Hello,")


def test_user_data_is_html_escaped():
    mail = parsed_message(make_delivery(course_title="<script>alert(1)</script> {{ name }}"))

    assert "&lt;script&gt;" in mail.get_body(("html",)).get_content()
    assert "<script>" not in mail.get_body(("html",)).get_content()
    assert "<script>alert(1)</script> {{ name }}" in mail.get_body(("plain",)).get_content()


def test_rebuilt_message_keeps_message_id_and_date():
    delivery = make_delivery()
    first, second = parsed_message(delivery), parsed_message(delivery)

    assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])


def test_mail_has_auto_submitted_header():
    assert parsed_message(make_delivery())["Auto-Submitted"] == "auto-generated"


def test_mail_has_unsubscribe_headers_and_link(monkeypatch):
    monkeypatch.setattr(settings, "PUBLIC_URL", "https://api.a-rather-long-name-of-a-school.example.com")
    delivery = make_delivery()
    raw = raw_message(delivery)
    [unsubscribe], [harness] = raw_header_lines(raw, "List-Unsubscribe"), raw_header_lines(raw, "List-Unsubscribe-Post")
    url = unsubscribe.removeprefix("List-Unsubscribe: <").removesuffix(">")

    assert harness == "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
    assert url.startswith("https://api.a-rather-long-name-of-a-school.example.com/v1/unsubscribe/")
    assert UnsubscribeLink.from_token(url.rpartition("/")[2]) == UnsubscribeLink(delivery.user_id, "progress")
    for kind in ("plain", "html"):
        assert url in parsed_message(delivery).get_body((kind,)).get_content()


@pytest.mark.parametrize("name", ["Message-ID", "Date", "List-Unsubscribe", "List-Unsubscribe-Post", "Auto-Submitted"])
def test_structured_headers_are_neither_folded_nor_encoded(name: str):
    [field] = raw_header_lines(raw_message(make_delivery(lesson_title="é" * 190), name="é" * 60), name)

    assert "\r\n" not in field
    assert "=?" not in field


def test_mandatory_mail_has_no_unsubscribe_link():
    mail = parsed_message(make_delivery(mandatory=True))

    assert mail["List-Unsubscribe"] is mail["List-Unsubscribe-Post"] is None
    assert "/v1/unsubscribe/" not in mail.as_string()


def test_compiled_layout_is_up_to_date():
    assert compile_email_templates.COMPILED.read_text() == compile_email_templates.compile_layout(), (
        "the layout has changed: make mails"
    )


def test_mail_loads_no_external_resources():
    html = parsed_message(make_delivery()).get_body(("html",)).get_content()

    assert not {"<img", "<link", "@import", "url("} & set(re.findall(r"<img|<link|@import|url\(", html))


@pytest.mark.parametrize(
    "raw",
    [
        b"To: a\r\nSubject: x\r\nBcc: y\r\n\r\nbody\r\n",
        b"To: a\r\n\r\nSubject: x\r\n",
        b"To: a\r\nSubject: x\n\r\nbody\r\n",
        b"To: a\r\nSubject: x\rBcc: y\r\n\r\nbody\r\n",
        b"To: a\r\nSubject: x\r\nno header\r\n\r\nbody\r\n",
        b"To: a\r\nSubject: " + b"x" * 990 + b"\r\n\r\nbody\r\n",
        b"To: a\r\nSubject: \xc3\xa9\r\n\r\nbody\r\n",
        b"To: a\r\nSubject: x\r\n\r\nbo\0dy\r\n",
    ],
)
def test_malformed_message_is_rejected(raw: bytes):
    with pytest.raises(MalformedMail):
        mime.check(raw, names=["To", "Subject"], utf8=False)


ADDRESSES = {
    "ann@example.com": "ann@example.com",
    " ann+tag@Example.com ": "ann+tag@Example.com",
    "o'hara@example.co.uk": "o'hara@example.co.uk",
    '"ann b"@example.com': '"ann b"@example.com',
    "ann@bücher.example": "ann@xn--bcher-kva.example",
    "ann@пример.рф": "ann@xn--e1afmkfd.xn--p1ai",
    "jürgen@example.test": "jürgen@example.test",
    "用户@例子.广告": "用户@xn--fsqu00a.xn--4rr70v",
}


@pytest.mark.parametrize(("text", "address"), ADDRESSES.items())
def test_address_domain_is_converted_to_ascii(text: str, address: str):
    mailbox = Mailbox.parse(text)

    assert mailbox.address == address
    assert mailbox.needs_utf8 is not address.isascii()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "@",
            "ann",
            "ann@",
            "@example.com",
            "a b@example.com",
            "a@b c.com",
            "ann@-x.com",
            "ann@x..com",
            ".a@b.com",
        ),
        *(
            "a@b.com, c@d.com",
            "Ann <ann@example.com>",
            "a@b\r\nBcc: x@y.com",
            "a\r\n@b.com",
            "a@b.com>",
            "a\u200b@b.com",
        ),
        *(
            "a@" + "x" * 64 + ".com",
            "x" * 65 + "@example.com",
            "ann@ex_ample.com",
            "a\u202e@b.com",
            "é" * 33 + "@b.com",
        ),
    ],
)
def test_invalid_address_is_rejected(text: str):
    assert Mailbox.parse(text) is None
