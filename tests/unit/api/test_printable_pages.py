"""Invoices as a page and as PDF. Certificates: tests/integration/progress/test_certificates.py."""

from typing import Any

import pytest

from api.content_negotiation import html_page
from api.invoice_documents import page_context, render_pdf
from tests.support.gateway import gateway

INVOICE: dict[str, Any] = {
    "number": "2026-000001",
    "order_id": "o-1",
    "seller": "Coursebus",
    "seller_address": "2 Quay\nBergen",
    "seller_tax_id": "NO1",
    "buyer": {"name": "Ann #image", "company": None, "address": None, "tax_id": "NL1"},
    "issued_at": "2026-03-01T12:00:00Z",
    "paid_at": "2026-03-01T12:00:00Z",
    "lines": [{"title": "Bread & <b>salt</b>", "amount_minor": 500000}],
    "coupon": "SPRING",
    "discount_minor": 1000,
    "tax_name": "VAT",
    "tax_basis_points": 810,
    "net_minor": 461610,
    "tax_minor": 37390,
    "total_minor": 499000,
    "credit_notes": [
        {"number": "CN-2026-000001", "issued_at": "2026-03-02T12:00:00Z", "voided_at": None, "total_minor": 499000}
    ],
    "currency": "RUB",
}


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "en",
            [
                *("Invoice", "Paid March 1, 2026", "RUB\xa04,990.00", "-RUB\xa010.00", "Tax ID NL1", "VAT 8.1 %"),
                "Credit note CN-2026-000001 of March 2, 2026",
            ],
        ),
        (
            "ru",
            [
                *("Счёт", "Оплачен 1 марта 2026", "4\xa0990,00\xa0₽", "-10,00\xa0₽", "ИНН NL1", "VAT 8,1 %"),
                "Кредит-нота CN-2026-000001",
            ],
        ),
    ],
)
def test_invoice_page_is_in_the_language(language: str, expected: list[str]):
    with gateway().test_request_context():
        response = html_page("invoice.html", invoice=INVOICE, language=language, **page_context(INVOICE, language))
    page = response.get_data(as_text=True)

    assert [text for text in expected if text not in page] == []
    assert "Bread &amp; &lt;b&gt;salt&lt;/b&gt;" in page
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(("language", "company"), [("en", None), ("ru", "李 #strong[x]")])
def test_invoice_is_a_pdf_in_each_language(language: str, company: str | None):
    buyer = INVOICE["buyer"] | {"company": company}

    assert render_pdf(INVOICE | {"buyer": buyer}, language).startswith(b"%PDF-")
