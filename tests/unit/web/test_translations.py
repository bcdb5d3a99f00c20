"""Every text of the pages is translated: none stands in a template untranslated, and each has a Russian translation."""

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from coursebus import models
from jinja2 import Environment, nodes

from settings import ROOT
from web.console import words
from web.language import CATALOGUES

_METHODS = [("**/templates/**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
_OPTIONS = {"**/templates/**.html": {"trimmed": "true", "silent": "false"}}
_KEYWORDS = {"_": None, "mark": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2)}
_TEMPLATES = sorted((ROOT / "web" / "templates").rglob("*.html"))
_JINJA = Environment(extensions=["jinja2.ext.i18n"])  # noqa: S701 nothing is rendered
# Names and units that are the same in both languages.
_UNTRANSLATED = {"Coursebus", "© Coursebus", "· Coursebus"}
_READ_ATTRIBUTES = {"aria-label", "placeholder", "title", "alt"}
_CODE = re.compile(r"[^A-Z ]*|[A-Z_]+")  # names, classes, formats and types of events
_TRANSLATING = {"_", "gettext", "ngettext", "pgettext"}
_SHOWING = {"status_badge", "section", "bar_chart", "day_chart"}  # macros that show their first argument


class Texts(HTMLParser):
    """The texts of a template that a person reads: between the tags, and in attributes that are shown or read aloud."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data.strip())

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(value or "").strip() for name, value in attrs if name in _READ_ATTRIBUTES]


def literals(template: nodes.Template) -> Iterator[str]:
    """Yield the texts of a template that are not translated: in its HTML, and in its expressions."""
    classes = {
        id(each) for block in template.find_all(nodes.Block) if block.name == "body_class" for each in block.body
    }
    html = "".join(
        part.data if isinstance(part, nodes.TemplateData) else "{}"
        for output in template.find_all(nodes.Output)
        if id(output) not in classes
        for part in output.nodes
    )
    texts = Texts()
    texts.feed(html)
    yield from (text for text in texts.found if re.search(r"[A-Za-z]{2}", text.replace("{}", "")))
    calls = [call for call in template.find_all(nodes.Call) if isinstance(call.node, nodes.Name)]
    translated = {id(argument) for call in calls if call.node.name in _TRANSLATING for argument in call.args}
    shown = [
        call.args[0] for call in calls if call.node.name in _SHOWING and not isinstance(call.args[0], nodes.Filter)
    ]
    for constant in template.find_all(nodes.Const):
        if id(constant) in translated or not isinstance(constant.value, str):
            continue
        if not _CODE.fullmatch(constant.value.strip()):
            yield constant.value
    yield from (each.value for each in shown if isinstance(each, nodes.Const))


@pytest.mark.parametrize("path", _TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "web" / "templates")))
def test_template_has_no_untranslated_text(path: Path):
    assert set(literals(_JINJA.parse(path.read_text()))) - _UNTRANSLATED == set()


def test_every_text_is_translated_to_russian_once():
    found = extract_from_dir(ROOT / "web", method_map=_METHODS, options_map=_OPTIONS, keywords=_KEYWORDS)
    texts = {(context, text if isinstance(text, str) else text[0]) for _, _, text, _, context in found}
    catalogues = [read_po(io.BytesIO(path.read_bytes()), locale="ru") for path in CATALOGUES]

    translated = [
        (each.context, each.id if isinstance(each.id, str) else each.id[0])
        for catalogue in catalogues
        for each in catalogue
        if each.id and each.string
    ]

    assert texts - set(translated) == set()
    assert set(translated) - texts == set()  # translations of texts that no page has any more
    assert [each for each in translated if translated.count(each) > 1] == []
    assert [error for catalogue in catalogues for each in catalogue for error in each.check(catalogue)] == []


@pytest.mark.parametrize(
    ("codes", "names"),
    [
        (models.OrderStatus, words.WORDS),
        (models.PaymentStatus, words.WORDS),
        (models.RefundStatus, words.WORDS),
        (models.DisputeStatus, words.WORDS),
        (models.SubscriptionStatus, words.WORDS),
        (models.EnrollmentStatus, words.WORDS),
        (models.OperationStatus, words.WORDS),
        (models.NotificationState, words.WORDS),
        (models.NotificationChannel, words.WORDS),
        (models.WebhookDeliveryStatus, words.WORDS),
        (models.EndpointDisabledReason, words.WORDS),
        (models.DeadLetterStatus, words.WORDS),
        (models.HandlerState, words.WORDS),
        (models.CertificateStatus, words.WORDS),
        (models.AnnouncementStatus, words.WORDS),
        (models.MoneyMovementKind, words.WORDS),
        (models.PaymentProvider, words.WORDS),
        (models.Role, words.WORDS),
        (models.DeviceKind, words.WORDS),
        (models.AccessKind, words.SOURCES),
        (models.AccessState, words.REASONS),
    ],
)
def test_console_has_a_name_for_every_code_of_the_api(codes, names):
    assert set(get_args(codes)) - names.keys() == set()
