"""Printable invoices by the Accept headers. Certificates: tests/integration/progress/test_certificates.py."""

import pytest
from flask import Response
from werkzeug.exceptions import NotAcceptable

from api.content_negotiation import json_or_html
from api.payments import invoices
from tests.support.gateway import gateway

INVOICE = {
    "number": "1",
    "seller": "Coursebus",
    "issued_at": "2026-03-01T12:00:00Z",
    "lines": [{"title": "Bread & <b>salt</b>", "amount_minor": 500000}],
    "coupon": "SPRING",
    "discount_minor": 1000,
    "total_minor": 499000,
    "refunded_minor": 499000,
    "currency": "RUB",
}


def invoice_response(**headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with gateway().test_request_context(headers=named):
        return json_or_html(
            "invoice.html",
            INVOICE,
            languages=invoices._TEXTS,  # noqa: SLF001 the view needs a worker
            context=invoices._page_context,  # noqa: SLF001 as above
        )


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de, en;q=0.5", ["Invoice", "Paid March 1, 2026", "RUB\xa04,990.00", "-RUB\xa010.00", "Refunded"]),
        ("ru-RU", ["Счёт", "Оплачен 1 марта 2026", "4\xa0990,00\xa0₽", "-10,00\xa0₽", "Возвращено"]),
    ],
)
def test_invoice_page_is_in_the_preferred_language(language: str, expected: list[str]):
    response = invoice_response(Accept="text/html", Accept_Language=language)
    page = response.get_data(as_text=True)

    assert [text for text in expected if text not in page] == []
    assert "Bread &amp; &lt;b&gt;salt&lt;/b&gt;" in page
    assert response.content_type == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert response.headers["Vary"] == "Accept, Accept-Language"


def test_invoice_is_json_by_default():
    assert invoice_response(Accept_Language="ru").get_json() == INVOICE


def test_unavailable_media_type_is_not_acceptable():
    with pytest.raises(NotAcceptable):
        invoice_response(Accept="image/png")
