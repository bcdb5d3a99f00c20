"""A certificate as a page and as PDF, in English and Russian."""

import io
from datetime import datetime
from typing import Any

import segno
from markupsafe import Markup

import settings
from api.pdf_documents import compile_pdf
from core.localization import format_date

ACCENT_COLOR = "#0b6e5f"  # of a template without one

TEXTS = {
    "en": {
        "title": "Certificate of completion",
        "completed": "has completed the course",
        "number": "Certificate number",
        "verify": "Verify this certificate at",
        "issued": "Issued on {day}",
        "expires": "Valid until {day}",
        "revoked": "This certificate was revoked on {day}.",
        "expired": "This certificate expired on {day}.",
    },
    "ru": {
        "title": "Сертификат выпускника",
        "completed": "Пройден курс",
        "number": "Номер сертификата",
        "verify": "Проверить сертификат:",
        "issued": "Выдан {day}",
        "expires": "Действителен до {day}",
        "revoked": "Сертификат отозван {day}.",
        "expired": "Срок действия сертификата истёк {day}.",
    },
}


def verification_url(code: str) -> str:
    """Return the short address of the page that verifies a certificate."""
    return f"{settings.WEB_URL}/c/{code}" if settings.WEB_URL else f"{settings.PUBLIC_URL}/v1/certificates/{code}"


def page_context(certificate: dict[str, Any], language: str) -> dict[str, Any]:
    """Return the variables of the page, beside the fields of the certificate."""
    words = TEXTS[language]
    status, ends = certificate["status"], {"revoked": "revoked_at", "expired": "expires_at"}
    return {
        "words": words | {"title": certificate["title"] or words["title"]},
        "accent_color": certificate["accent_color"] or ACCENT_COLOR,
        "address": certificate["verification_url"],
        "dates": _dates(certificate, language),
        "warning": words[status].format(day=_day(certificate[ends[status]], language)) if status in ends else None,
        "qr": Markup(_qr_code(certificate["verification_url"])),  # noqa: S704 drawn by segno
    }


def render_pdf(certificate: dict[str, Any], language: str) -> bytes:
    """Return the certificate as PDF."""
    words = TEXTS[language]
    shown = ("holder", "course_title", "code", "issuer", "signatory_name", "signatory_title")
    inputs = {
        **{name: words[name] for name in ("completed", "number", "verify")},
        **{name: certificate[name] or "" for name in shown},
        "title": certificate["title"] or words["title"],
        "accent_color": certificate["accent_color"] or ACCENT_COLOR,
        "address": certificate["verification_url"],
        "dates": _dates(certificate, language),
        "language": language,
        "qr": _qr_code(certificate["verification_url"]),
    }
    return compile_pdf("certificate.typ", inputs, number=certificate["code"])


def _dates(certificate: dict[str, Any], language: str) -> str:
    words = TEXTS[language]
    dates = [words["issued"].format(day=_day(certificate["issued_at"], language))]
    if certificate["expires_at"]:
        dates.append(words["expires"].format(day=_day(certificate["expires_at"], language)))
    return " · ".join(dates)


def _day(moment: str, language: str) -> str:
    return format_date(datetime.fromisoformat(moment), language)


def _qr_code(address: str) -> str:
    drawn = io.BytesIO()
    segno.make(address, error="m", micro=False).save(
        drawn, kind="svg", border=0, xmldecl=False, svgclass="qr", lineclass=None, omitsize=True
    )
    return drawn.getvalue().decode().strip()
