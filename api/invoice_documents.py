"""An invoice as a page and as PDF, in English and Russian."""

import json
from datetime import datetime
from typing import Any

from core.localization import format_date, format_money

from .pdf_documents import compile_pdf

_BASIS_POINTS = 100  # of a percent

TEXTS = {
    "en": {
        "title": "Invoice",
        "number": "Number",
        "order": "Order",
        "issued": "Issued {day}",
        "paid": "Paid {day}",
        "seller": "Seller",
        "buyer": "Buyer",
        "tax_id": "Tax ID {id}",
        "description": "Description",
        "amount": "Amount",
        "coupon": "Coupon {code}",
        "net": "Without {tax}",
        "tax": "{tax} {rate} %, included",
        "total": "Total",
        "credit_note": "Credit note {number} of {day}",
        "void": "void",
    },
    "ru": {
        "title": "Счёт",
        "number": "Номер",
        "order": "Заказ",
        "issued": "Выставлен {day}",
        "paid": "Оплачен {day}",
        "seller": "Продавец",
        "buyer": "Покупатель",
        "tax_id": "ИНН {id}",
        "description": "Наименование",
        "amount": "Сумма",
        "coupon": "Купон {code}",
        "net": "Без {tax}",
        "tax": "{tax} {rate} %, включено в цену",
        "total": "Итого",
        "credit_note": "Кредит-нота {number} от {day}",
        "void": "аннулирована",
    },
}


def page_context(invoice: dict[str, Any], language: str) -> dict[str, Any]:
    """Return the texts of an invoice: parties, and rows, taxes, totals and credit notes, each as (text, amount)."""
    words = TEXTS[language]
    money = {"currency": invoice["currency"], "language": language}
    rows = [(line["title"], _money(line["amount_minor"], **money)) for line in invoice["lines"]]
    if invoice["discount_minor"]:
        rows.append((words["coupon"].format(code=invoice["coupon"] or ""), _money(-invoice["discount_minor"], **money)))
    taxes = []
    if invoice["tax_name"]:
        named = {"tax": invoice["tax_name"], "rate": _rate(invoice["tax_basis_points"], language)}
        taxes = [
            (words["net"].format(**named), _money(invoice["net_minor"], **money)),
            (words["tax"].format(**named), _money(invoice["tax_minor"], **money)),
        ]
    return {
        "words": words,
        "issued": words["issued"].format(day=_day(invoice["issued_at"], language)),
        "paid": words["paid"].format(day=_day(invoice["paid_at"], language)),
        "seller_lines": _lines(
            [invoice["seller"], invoice["seller_address"]], tax_id=invoice["seller_tax_id"], words=words
        ),
        "buyer_lines": _buyer_lines(invoice["buyer"], words),
        "rows": rows,
        "taxes": taxes,
        "totals": [(words["total"], _money(invoice["total_minor"], **money))],
        "notes": [_credit_note(each, words, **money) for each in invoice["credit_notes"]],
    }


def render_pdf(invoice: dict[str, Any], language: str) -> bytes:
    """Return the invoice as PDF."""
    shown = page_context(invoice, language)
    words = shown["words"]
    inputs = {
        "language": language,
        "title": words["title"],
        "number": invoice["number"],
        "issued": f"{shown['issued']} · {shown['paid']}",
        "seller": invoice["seller"],
        **{f"{name}_word": words[name] for name in ("seller", "buyer", "description", "amount", "order")},
        **{name: "\n".join(shown[name]) for name in ("seller_lines", "buyer_lines")},
        "rows": json.dumps(shown["rows"]),
        "totals": json.dumps(shown["totals"]),
        "notes": json.dumps([*shown["taxes"], *shown["notes"]]),
        "order_id": str(invoice["order_id"]),
    }
    return compile_pdf("invoice.typ", inputs, number=invoice["number"])


def _buyer_lines(buyer: dict[str, Any], words: dict[str, str]) -> list[str]:
    named = [buyer["company"], buyer["name"], buyer["address"]]
    return _lines(named, tax_id=buyer["tax_id"], words=words)


def _lines(texts: list[str | None], *, tax_id: str | None, words: dict[str, str]) -> list[str]:
    lines = [line for each in texts if each for line in each.splitlines()]
    return [*lines, words["tax_id"].format(id=tax_id)] if tax_id else lines


def _credit_note(note: dict[str, Any], words: dict[str, str], *, currency: str, language: str) -> tuple[str, str]:
    title = words["credit_note"].format(number=note["number"], day=_day(note["issued_at"], language))
    if note["voided_at"]:
        title = f"{title} ({words['void']})"
    return title, _money(-note["total_minor"], currency=currency, language=language)


def _rate(basis_points: int, language: str) -> str:
    whole, rest = divmod(basis_points, _BASIS_POINTS)
    point = "," if language == "ru" else "."
    return f"{whole}{point}{rest:02d}".rstrip("0") if rest else str(whole)


def _money(amount_minor: int, *, currency: str, language: str) -> str:
    return format_money(amount_minor, currency, language)


def _day(moment: str, language: str) -> str:
    return format_date(datetime.fromisoformat(moment), language)
