"""Clock for business deadlines: the current time, which a test clock can move ahead by days or months."""

from datetime import datetime, timedelta

import requests

import settings

from .base import now as present


def now() -> datetime:
    """Return the current time in UTC, plus the offset of the test clock at ``CLOCK`` (refused in production)."""
    if not settings.CLOCK:
        return present()
    response = requests.get(f"{settings.CLOCK}/__clock", timeout=2)
    response.raise_for_status()
    return present() + timedelta(seconds=response.json()["advanced_seconds"])
