"""How an order or subscription without a grant explains that a person has no access."""

from typing import Any

import pytest

from api.people import access

ORDER = {"id": "o", "status": "pending", "subscription_id": None, "paid_at": None}
ORDER |= {"payment_status": None, "payment_problem": None}
SUBSCRIPTION = {"id": "s", "status": "active", "ended_at": None, "ends_at": None, "problem": None}
SUBSCRIPTION |= {"cancel_at_period_end": False, "period_end": "2027-01-01"}
GRANT = {"source": "subscription", "source_id": "s", "status": "active", "state": "active", "reason": None}
GRANT |= {"starts_at": "2026-01-01", "ends_at": None}


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "payment_pending"),
        ({"payment_status": "processing"}, "payment_pending"),
        ({"payment_status": "failed"}, "payment_failed"),
        ({"status": "expired"}, "order_expired"),
        ({"status": "canceled"}, "order_canceled"),
        ({"status": "refunded"}, "refunded"),
        ({"status": "charged_back"}, "charged_back"),
        ({"status": "disputed"}, "disputed"),
        ({"status": "paid"}, "access_pending"),
        ({"status": "partially_refunded"}, "access_pending"),
    ],
)
def test_order_without_grant_is_explained(fields: dict[str, Any], state: str):
    reason = access._order_reason(ORDER | fields)  # noqa: SLF001

    assert (reason["state"], reason["gives_access"], reason["order_id"]) == (state, False, "o")


def test_problem_of_payment_is_shown():
    failed = ORDER | {"payment_status": "failed", "payment_problem": "card_declined"}

    reason = access._order_reason(failed)  # noqa: SLF001

    assert "card_declined" in reason["detail"]
    assert reason["problem"] == "card_declined"


@pytest.mark.parametrize(
    ("status", "state"),
    [("incomplete", "payment_pending"), ("expired", "subscription_ended"), ("active", "access_pending")],
)
def test_subscription_without_grant_is_explained(status: str, state: str):
    assert access._subscription_reason(SUBSCRIPTION | {"status": status})["state"] == state  # noqa: SLF001


@pytest.mark.parametrize(
    ("grant", "subscription", "state", "until"),
    [
        ({}, {}, "active", None),
        ({}, {"cancel_at_period_end": True}, "active", "2027-01-01"),
        ({}, {"ends_at": "2026-02-01"}, "active", "2026-02-01"),
        ({"state": "expired", "ends_at": "2026-01-02"}, {}, "expired", "2026-01-02"),
        ({"state": "not_started"}, {}, "not_started", None),
        ({"status": "suspended", "reason": "disputed"}, {}, "disputed", None),
        ({"status": "suspended"}, {}, "suspended", None),
        ({"status": "revoked", "reason": "a later reason"}, {}, "revoked", None),
    ],
)
def test_grant_is_explained(grant: dict[str, Any], subscription: dict[str, Any], state: str, until: str | None):
    reason = access._grant_reason(GRANT | grant, SUBSCRIPTION | subscription)  # noqa: SLF001

    assert (reason["state"], reason["until"], reason["gives_access"]) == (state, until, state == "active")
