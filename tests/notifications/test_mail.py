import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import getaddresses, parseaddr
from random import Random

import pytest

import settings
from models.base import new_id, now
from models.notifications import Contact, Delivery, Unsubscription
from ops import mails
from workers.notifications import mime
from workers.notifications.addresses import Mailbox
from workers.notifications.mail import compose
from workers.notifications.mime import MalformedMail


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
    return compose(delivery, reader, Mailbox.parse(reader.email)).raw


def lines_of(raw: bytes, name: str) -> list[str]:
    """The raw lines of a header, the folded ones included; a second header of this name would be found as well."""
    head = raw.partition(b"\r\n\r\n")[0].decode()
    return [found for found in re.split(r"\r\n(?![ \t])", head) if found.lower().startswith(f"{name.lower()}:")]


def decoded(raw: bytes, name: str) -> str:
    [field] = lines_of(raw, name)
    return str(make_header(decode_header(re.sub(r"\r\n(?=[ \t])", "", field.partition(": ")[2]))))


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
    "name", ["Анна Ивановна Константинопольская-Рождественская", 'Ann "Q", Jr.', "Zoë <x>", "张伟"]
)
def test_a_name_in_any_script_comes_out_as_it_went_in(name: str):
    # Not the modern parser: Python 3.11's puts a space between two encoded words of a phrase.
    encoded, address = parseaddr(message_from_bytes(on_the_wire(make_delivery(), name=name))["To"])

    assert (str(make_header(decode_header(encoded))), address) == (name, "ann@example.com")


LONG_NAME = "Dr. Long Long Long Long Long Smith, evil@evil, Jr., Esquire"
HOSTILE = {
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
NAMES = ["Message-ID", "Date", "From", "To", "Subject", "Auto-Submitted", "List-Unsubscribe", "List-Unsubscribe-Post"]
NAMES += ["MIME-Version", "Content-Type"]


@pytest.mark.parametrize("poison", HOSTILE.values(), ids=HOSTILE)
def test_text_from_outside_starts_neither_header_nor_body(poison: str):
    raw = on_the_wire(make_delivery(lesson_title=poison, course_title=poison), name=poison)

    head, _, body = raw.partition(b"\r\n\r\n")
    assert re.findall(r"^([!-9;-~]+):", head.decode(), re.MULTILINE) == NAMES
    assert body.startswith(b"--=_")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
    assert getaddresses([decoded(raw, "To")])[-1][1] == "ann@example.com"


def test_encoded_word_in_a_title_is_shown_as_text():
    title = HOSTILE["encoded word"]
    raw = on_the_wire(make_delivery(lesson_title=title))

    assert decoded(raw, "Subject") == f"Lesson complete: {title}"
    assert sent(make_delivery(lesson_title=title))["Subject"] == f"Lesson complete: {title}"


@pytest.mark.parametrize("name", [LONG_NAME, "Smith, evil@evil, Jr.", "x" * 60, "Ünï, " * 12, "=?utf-8?q?a,_b?="])
def test_a_name_with_commas_stays_one_address(name: str):
    raw = on_the_wire(make_delivery(), name=name.strip())
    [field] = lines_of(raw, "To")
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


def test_10000_random_subjects_decode_to_themselves():
    for subject in random_subjects(10_000):
        field = "Subject: " + mime.unstructured("Subject", subject)

        lines = field.split("\r\n")
        assert all(len(line) <= 76 and line.isascii() for line in lines)
        assert all(line.startswith(" ") for line in lines[1:])
        unfolded = "".join(lines)  # RFC 5322: unfolding takes out the line break alone
        assert str(make_header(decode_header(unfolded.removeprefix("Subject: ")))) == subject
        assert message_from_bytes(f"{field}\r\n\r\n".encode(), policy=default)["Subject"] == subject


def test_override_of_direction_is_taken_out_of_subject_and_greeting():
    raw = on_the_wire(make_delivery(lesson_title="Means\u202e"), name="Ann\u202e")

    assert decoded(raw, "Subject") == "Lesson complete: Means"
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
def test_a_name_that_could_carry_a_message_is_left_out(name: str | None):
    raw = on_the_wire(make_delivery(), name=name)

    assert lines_of(raw, "To") == ["To: ann@example.com"]
    assert message_from_bytes(raw, policy=default).get_body(("plain",)).get_content().startswith("Hello,")


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


def test_a_mail_says_in_its_headers_and_at_its_end_how_to_get_no_more_of_them(monkeypatch):
    monkeypatch.setattr(settings, "PUBLIC_URL", "https://api.a-rather-long-name-of-a-school.example.com")
    delivery = make_delivery()
    raw = on_the_wire(delivery)
    [unsubscribe], [post] = lines_of(raw, "List-Unsubscribe"), lines_of(raw, "List-Unsubscribe-Post")
    url = unsubscribe.removeprefix("List-Unsubscribe: <").removesuffix(">")

    assert post == "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
    assert url.startswith("https://api.a-rather-long-name-of-a-school.example.com/v1/unsubscribe/")
    assert Unsubscription.of(url.rpartition("/")[2]) == Unsubscription(delivery.user_id, "progress")
    for kind in ("plain", "html"):
        assert url in sent(delivery).get_body((kind,)).get_content()


@pytest.mark.parametrize("name", ["Message-ID", "Date", "List-Unsubscribe", "List-Unsubscribe-Post", "Auto-Submitted"])
def test_structured_headers_stay_on_one_line_and_are_not_encoded(name: str):
    [field] = lines_of(on_the_wire(make_delivery(lesson_title="é" * 190), name="é" * 60), name)

    assert "\r\n" not in field
    assert "=?" not in field


def test_a_mandatory_mail_offers_no_way_to_get_none():
    mail = sent(make_delivery(mandatory=True))

    assert mail["List-Unsubscribe"] is mail["List-Unsubscribe-Post"] is None
    assert "/v1/unsubscribe/" not in mail.as_string()


def test_the_layout_is_the_compiled_one():
    assert mails.COMPILED.read_text() == mails.compiled(), "the layout has changed: make mails"


def test_a_mail_loads_nothing_from_elsewhere():
    html = sent(make_delivery()).get_body(("html",)).get_content()

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
def test_message_with_other_bytes_than_meant_is_refused(raw: bytes):
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
def test_addresses_have_their_domain_in_ascii(text: str, address: str):
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
def test_what_is_no_address_is_refused(text: str):
    assert Mailbox.parse(text) is None
