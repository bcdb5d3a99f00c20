"""Clock for business deadlines: the current time, which a test clock can move ahead by days or months."""

from datetime import datetime, timedelta

import settings

from .db import utc_now


def business_now() -> datetime:
    """Return the current time in UTC, plus the offset of the test clock at ``TEST_CLOCK_URL`` (refused in
    production).
    """
    if not settings.TEST_CLOCK_URL:
        return utc_now()
    import requests  # noqa: PLC0415 takes 4 MiB, and only tests have such a clock

    response = requests.get(f"{settings.TEST_CLOCK_URL}/__clock", timeout=2)
    response.raise_for_status()
    return utc_now() + timedelta(seconds=response.json()["advanced_seconds"])
