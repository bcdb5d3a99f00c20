"""Inject faults, configured by ``POST /__faults``.

Counters decrease by one each time the fault is triggered. ``delay_ms`` and the switches last until they are changed.
All are stored, so that a restarted fake continues with the same faults.
"""

from typing import Any

from ops.fakes.store import Document, Documents

COUNTS = (
    "drop_response_after_commit",  # POST: the state is committed, then the connection closes without a response
    "error_500",
    "error_429",
    "duplicate_webhooks",  # the webhook is sent twice
    "drop_webhooks",  # the webhook is not sent; see "resend"
    "pending_refunds",  # the refund stays pending until POST /__refund/{id}
    "refuse_refunds",  # the shop's balance is too low for the refund
    "cancel_receipts",  # YooKassa: receipt_registration ends as "canceled"
)
NUMBERS = ("delay_ms",)
SWITCHES = (
    "reorder_webhooks",  # webhooks are held for a second and sent newest first
    "resend",  # dropped webhooks are sent later, as real providers do
)


class UnknownFaultError(ValueError):
    """Raised for an unknown fault or a value of the wrong type."""


def current(db: Documents) -> Document:
    counts = {name: db.value(f"fault.{name}", 0) for name in COUNTS + NUMBERS}
    return counts | {name: db.value(f"fault.{name}", default=False) for name in SWITCHES}


def configure(db: Documents, wanted: Document) -> None:
    """Set the faults that ``wanted`` names. Raises UnknownFaultError."""
    for name, value in wanted.items():
        db.set_value(f"fault.{name}", _validated(name, value))


def _validated(name: str, value: Any) -> int | bool:
    if name in SWITCHES and isinstance(value, bool):
        return value
    if name in COUNTS + NUMBERS and isinstance(value, int) and value >= 0:
        return int(value)
    raise UnknownFaultError(f"no fault {name!r} with the value {value!r}")


def should_trigger(db: Documents, name: str) -> bool:
    """Return whether the counted fault ``name`` is triggered now, and decrease its counter."""
    left = int(db.value(f"fault.{name}", 0))
    if left:
        db.set_value(f"fault.{name}", left - 1)
    return left > 0


def is_enabled(db: Documents, name: str) -> bool:
    return bool(db.value(f"fault.{name}", default=False))


def delay_seconds(db: Documents) -> float:
    return float(db.value("fault.delay_ms", 0)) / 1000
